// What is signed under a mandate, and how a lineage reaches the MandateRegistry. The domain of all is mandateRegistryDomain.
import { encodeAbiParameters, keccak256, type AbiParameterToPrimitiveType, type Address, type Hex } from "viem";
import { mandateRegistryAbi } from "./abi/mandate-registry.ts";
import type { Mandate } from "./mandate.ts";
import type { ChannelConfig } from "./typed-data.ts";

/** A delegate's consent to one payment, for `spendWithSignature`. */
export const mandateSpendTypes = {
  MandateSpend: [
    { name: "mandateId", type: "bytes32" },
    { name: "payee", type: "address" },
    { name: "amount", type: "uint128" },
    { name: "nonce", type: "uint256" },
    { name: "deadline", type: "uint256" },
  ],
} as const;

/** A delegate's consent to one deposit into a channel, for `collect`. */
export const mandateDepositTypes = {
  MandateDeposit: [
    { name: "mandateId", type: "bytes32" },
    { name: "channelId", type: "bytes32" },
    { name: "amount", type: "uint128" },
    { name: "nonce", type: "uint256" },
    { name: "deadline", type: "uint256" },
  ],
} as const;

/** The principal's, or the parent's delegate's, order to revoke; it never expires. */
export const mandateRevocationTypes = { MandateRevocation: [{ name: "mandateId", type: "bytes32" }] } as const;
