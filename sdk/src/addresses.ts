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
  contracts: { SessionChannels: Address; ERC3009DepositCollector: Address; AllowanceDepositCollector: Address; MandateRegistry: Address; AuditAnchor: Address; JobEscrow: Address; DisputeEvaluator: Address; BazaarRegistry: Address };
};

/** Tallystick's contracts on public chains, by chain id. The local world has its own: see constants.ts. */
export const deployments: Record<8453 | 84532, Deployment> = {
  // base
  8453: {
    status: "predicted",
    startBlock: 0,
    contracts: {
      SessionChannels: "0x3Ab761CEfe0d2c4627e1cEd3c7BfBB3970b8e733",
      ERC3009DepositCollector: "0xff1b155A2E3F48d4726D3dB6fe37656c87B90cB5",
      AllowanceDepositCollector: "0x09487DBCa74D7aE09514576382dfDace4dF1FBdA",
      MandateRegistry: "0x2a2C0124E8Ace163E763aa00bB1B6661AbE85Ed9",
      AuditAnchor: "0xCA813b37f743367d76375dc0629b1E9F7029A52E",
      JobEscrow: "0x6778e40C47E7573C6cB156e633EB1db938Dd3Af2",
      DisputeEvaluator: "0x79c2F6a1A8b520aB30Fe9868E69C377F2927acD0",
      BazaarRegistry: "0x796A2f2f47e1eB137eC06487539ac02842f872A9",
    },
  },
  // base-sepolia
  84532: {
    status: "predicted",
    startBlock: 0,
    contracts: {
      SessionChannels: "0x3Ab761CEfe0d2c4627e1cEd3c7BfBB3970b8e733",
      ERC3009DepositCollector: "0xff1b155A2E3F48d4726D3dB6fe37656c87B90cB5",
      AllowanceDepositCollector: "0x09487DBCa74D7aE09514576382dfDace4dF1FBdA",
      MandateRegistry: "0x2a2C0124E8Ace163E763aa00bB1B6661AbE85Ed9",
      AuditAnchor: "0xCA813b37f743367d76375dc0629b1E9F7029A52E",
      JobEscrow: "0xe3e10041025f0c9Ad9d67Db63d998720B37CD226",
      DisputeEvaluator: "0xD0Be7662290F8434160f047D60f5beeEB06966E4",
      BazaarRegistry: "0x18F7fA0A7D8353eb22E3934F8c06f446c7f708dD",
    },
  },
};
