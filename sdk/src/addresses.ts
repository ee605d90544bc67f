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
      JobEscrow: "0xa574F43e2c7eEc4e56Ef887c658F079724ceBa2C",
      DisputeEvaluator: "0x996d6E74794c16C5e789C40a38036B74a2E5446f",
      BazaarRegistry: "0x3814BB157B341284b0256597E12F504a7E594a2C",
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
      JobEscrow: "0x813251a34cb40dCa77519cC059b0BC8F2Ba7A6D7",
      DisputeEvaluator: "0x057947a9F383CF3F66f176ce240420255015Af96",
      BazaarRegistry: "0x7AaE3fCD897da7753d358995A4d117375924Be7e",
    },
  },
};
