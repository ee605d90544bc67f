// What is signed under a mandate, and the forms in which its lineage reaches the MandateRegistry. A lineage is the mandate, then
// its parent, up to the root. The domain of every signature here is mandateRegistryDomain.
import { encodeAbiParameters, getAbiItem, hashTypedData, keccak256, type Address, type Hex } from "viem";
import { mandateRegistryAbi } from "./abi/mandate-registry.ts";
import { mandateIdOf, type Mandate, type MandateRegistryDomain } from "./mandate.ts";
import { channelConfigTypes, type ChannelConfig } from "./typed-data.ts";

/** A delegate's consent to one payment. */
export const mandateSpendTypes = {
  MandateSpend: [
    { name: "mandateId", type: "bytes32" },
    { name: "payee", type: "address" },
    { name: "amount", type: "uint128" },
    { name: "nonce", type: "uint256" },
    { name: "deadline", type: "uint256" },
  ],
} as const;

/** A delegate's consent to one deposit into a channel. */
export const mandateDepositTypes = {
  MandateDeposit: [
    { name: "mandateId", type: "bytes32" },
    { name: "channelId", type: "bytes32" },
    { name: "amount", type: "uint128" },
    { name: "nonce", type: "uint256" },
    { name: "deadline", type: "uint256" },
  ],
} as const;

/** The order to revoke, by the principal or the parent's delegate. It never expires. */
export const mandateRevocationTypes = { MandateRevocation: [{ name: "mandateId", type: "bytes32" }] } as const;

/** One payment, as the contract takes it. Amounts are atomic units. */
export type SpendOrder = {
  lineage: readonly Mandate[];
  /** One a mandate of the lineage, from the first; what is missing is the empty proof. See payeeProof. */
  proofs: readonly (readonly Hex[])[];
  /** Grantors' signatures of those mandates of the lineage that are not approved yet; "0x" for the others. May be shorter. */
  approvals: readonly Hex[];
  payee: Address;
  amount: bigint;
  /** "0x": by the principal's allowance to the registry. Else erc3009Authorization. */
  authorization: Hex;
};

/** A payment with the delegate's consent; single-use nonces of a mandate are low and consecutive where they can be. */
export type SignedSpendOrder = { order: SpendOrder; nonce: bigint; deadline: bigint; signature: Hex };

/** The payment with the terms a caller leaves out: nothing to prove, nothing to approve, by allowance. */
export function spendOrder(order: Pick<SpendOrder, "lineage" | "payee" | "amount"> & Partial<SpendOrder>): SpendOrder {
  return { proofs: [], approvals: [], authorization: "0x", ...order };
}

/** What the delegate signs so that anyone may send the payment. */
export function mandateSpendDigest(domain: MandateRegistryDomain, { order, nonce, deadline }: Omit<SignedSpendOrder, "signature">): Hex {
  const message = { mandateId: mandateIdOf(domain, firstOf(order)), payee: order.payee, amount: order.amount, nonce, deadline };
  return hashTypedData({ domain, types: mandateSpendTypes, primaryType: "MandateSpend", message });
}

/** What the delegate signs so that anyone may send the deposit. */
export function mandateDepositDigest(domain: MandateRegistryDomain, channelId: Hex, { order, nonce, deadline }: Omit<SignedSpendOrder, "signature">): Hex {
  const message = { mandateId: mandateIdOf(domain, firstOf(order)), channelId, amount: order.amount, nonce, deadline };
  return hashTypedData({ domain, types: mandateDepositTypes, primaryType: "MandateDeposit", message });
}

export function mandateRevocationDigest(domain: MandateRegistryDomain, mandateId: Hex): Hex {
  return hashTypedData({ domain, types: mandateRevocationTypes, primaryType: "MandateRevocation", message: { mandateId } });
}

/** `collectorData` of a deposit whose collector is the registry; the row's signature is of mandateDepositDigest. */
export function mandateDepositData(config: ChannelConfig, row: SignedSpendOrder): Hex {
  const [spendRow] = getAbiItem({ abi: mandateRegistryAbi, name: "spendWithSignature" }).inputs;
  const type = { type: "tuple", components: [{ ...channelConfigParameter, name: "config" }, { ...spendRow, name: "row" }] } as const;
  return encodeAbiParameters([type], [{ config, row }]);
}

/** Nonce of the ReceiveWithAuthorization (to the registry, of exactly the amount) that pays one order below the root mandate. */
export function mandateAuthorizationNonce(rootId: Hex, salt: Hex): Hex {
  return keccak256(encodeAbiParameters([{ type: "bytes32" }, { type: "bytes32" }], [rootId, salt]));
}

/** `authorization` of an order that is paid by that ERC-3009 signature; times are Unix seconds, exclusive. */
export function erc3009Authorization(signed: { validAfter: bigint; validBefore: bigint; salt: Hex; signature: Hex }): Hex {
  const types = [{ type: "uint256" }, { type: "uint256" }, { type: "bytes32" }, { type: "bytes" }] as const;
  return encodeAbiParameters(types, [signed.validAfter, signed.validBefore, signed.salt, signed.signature]);
}

const channelConfigParameter = { type: "tuple", components: channelConfigTypes.ChannelConfig } as const;

function firstOf({ lineage }: SpendOrder): Mandate {
  const [mandate] = lineage;
  if (mandate === undefined) throw new RangeError("a lineage holds at least the mandate itself");
  return mandate;
}
