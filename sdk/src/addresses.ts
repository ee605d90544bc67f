// Generated from ignition/deployments and ignition/parameters by scripts/generate.ts (npm run build). Do not edit.
import type { Address } from "viem";

export type Deployment = {
  /**
   * `deployed`: the addresses are those of the deployment's journal. `predicted`: nothing stands there yet; this is where
   * today's code would come to stand, and a change of the code moves it.
   */
  status: "deployed" | "predicted";
  /** Block from which an indexer has to read; 0 when it is not known. */
  startBlock: number;
  contracts: { SessionChannels: Address; ERC3009DepositCollector: Address; AllowanceDepositCollector: Address };
};

/** Tallystick's contracts on public chains, by chain id. The local world has its own: see constants.ts. */
export const deployments: Record<8453 | 84532, Deployment> = {
  // base
  8453: {
    status: "predicted",
    startBlock: 0,
    contracts: {
      SessionChannels: "0x859FeA117506382C67738B150CB844713042dE92",
      ERC3009DepositCollector: "0x2fC5345cD2395FEC4C19c5eF622bDf9bf0422F60",
      AllowanceDepositCollector: "0x31F8Aa52189Fd1627Ec7223bA5ae8CdD641F29Ea",
    },
  },
  // base-sepolia
  84532: {
    status: "predicted",
    startBlock: 0,
    contracts: {
      SessionChannels: "0x859FeA117506382C67738B150CB844713042dE92",
      ERC3009DepositCollector: "0x2fC5345cD2395FEC4C19c5eF622bDf9bf0422F60",
      AllowanceDepositCollector: "0x31F8Aa52189Fd1627Ec7223bA5ae8CdD641F29Ea",
    },
  },
};
