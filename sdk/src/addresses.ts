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
      SessionChannels: "0x46bbb26EC95581e5D9d8CA8F4878AFF61A62dF83",
      ERC3009DepositCollector: "0x907dC0cdB3CBB4cab7a46042FEaC4a222E65FCd4",
      AllowanceDepositCollector: "0x00b5d54ADa190479f252ADfC5c7b538C2F60f8f0",
    },
  },
  // base-sepolia
  84532: {
    status: "predicted",
    startBlock: 0,
    contracts: {
      SessionChannels: "0x46bbb26EC95581e5D9d8CA8F4878AFF61A62dF83",
      ERC3009DepositCollector: "0x907dC0cdB3CBB4cab7a46042FEaC4a222E65FCd4",
      AllowanceDepositCollector: "0x00b5d54ADa190479f252ADfC5c7b538C2F60f8f0",
    },
  },
};
