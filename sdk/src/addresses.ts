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
  contracts: { SessionChannels: Address; ERC3009DepositCollector: Address; AllowanceDepositCollector: Address; MandateRegistry: Address; BazaarRegistry: Address };
};

/** Tallystick's contracts on public chains, by chain id. The local world has its own: see constants.ts. */
export const deployments: Record<8453 | 84532, Deployment> = {
  // base
  8453: {
    status: "predicted",
    startBlock: 0,
    contracts: {
      SessionChannels: "0xBA4C14Ffe1E7382D685350839873dF24B04F19F7",
      ERC3009DepositCollector: "0xeB7C3ED81c9D4Be6FF1eD64d74a31617c2cE9207",
      AllowanceDepositCollector: "0xB8E8B0e1a613498eB51C3034806AF85589E78c26",
      MandateRegistry: "0x9c46ED0d49d8B7511F646505a263bF8a3C5EE338",
      BazaarRegistry: "0xC659006Acb41d917261dAc4497ce1Cd30F37553C",
    },
  },
  // base-sepolia
  84532: {
    status: "predicted",
    startBlock: 0,
    contracts: {
      SessionChannels: "0xBA4C14Ffe1E7382D685350839873dF24B04F19F7",
      ERC3009DepositCollector: "0xeB7C3ED81c9D4Be6FF1eD64d74a31617c2cE9207",
      AllowanceDepositCollector: "0xB8E8B0e1a613498eB51C3034806AF85589E78c26",
      MandateRegistry: "0x9c46ED0d49d8B7511F646505a263bF8a3C5EE338",
      BazaarRegistry: "0x16547c8FeEf31af0ee3d2Bf7313A6715ad47C6C2",
    },
  },
};
