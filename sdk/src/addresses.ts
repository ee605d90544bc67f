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
      SessionChannels: "0x458FF9D2B3cf4DCa96c65920ec27383A1E8a0164",
      ERC3009DepositCollector: "0xAf1FdDaF59118723978d32c2D0566BaF697fA4FA",
      AllowanceDepositCollector: "0x51d7D03CcCdcB5b39eb4E6Af260f834CA3AAddc6",
    },
  },
  // base-sepolia
  84532: {
    status: "predicted",
    startBlock: 0,
    contracts: {
      SessionChannels: "0x458FF9D2B3cf4DCa96c65920ec27383A1E8a0164",
      ERC3009DepositCollector: "0xAf1FdDaF59118723978d32c2D0566BaF697fA4FA",
      AllowanceDepositCollector: "0x51d7D03CcCdcB5b39eb4E6Af260f834CA3AAddc6",
    },
  },
};
