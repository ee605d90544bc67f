// The mandate: what a person signs to bound what an agent may spend. Its id is its typed-data hash, so nothing of it can be changed.
import { hashTypedData, zeroHash, type Address, type Hex, type TypedDataDomain } from "viem";

export const mandateTypes = {
  Mandate: [
    { name: "principal", type: "address" },
    { name: "delegate", type: "address" },
    { name: "token", type: "address" },
    { name: "limit", type: "uint128" },
    { name: "periodLimit", type: "uint128" },
    { name: "paymentLimit", type: "uint128" },
    { name: "period", type: "uint40" },
    { name: "validAfter", type: "uint40" },
    { name: "validUntil", type: "uint40" },
    { name: "epoch", type: "uint32" },
    { name: "payeesRoot", type: "bytes32" },
    { name: "capability", type: "bytes32" },
    { name: "parent", type: "bytes32" },
    { name: "terms", type: "bytes32" },
    { name: "salt", type: "bytes32" },
  ],
} as const;

/** Amounts are atomic token units, times Unix seconds. */
export type Mandate = {
  /** Whose tokens are spent. A sub-mandate names its root's principal. */
  principal: Address;
  /** The agent. It may spend, and sign sub-mandates that name this mandate as their parent. */
  delegate: Address;
  token: Address;
  /** Most that may be spent in all. */
  limit: bigint;
  /** Most in one period; 0 when there are no periods. */
  periodLimit: bigint;
  /** Most in one payment. */
  paymentLimit: bigint;
  /** Seconds; period n begins at validAfter + n * period. 0: none. */
  period: number;
  /** First second in which it is valid. */
  validAfter: number;
  /** Last second in which it is valid. */
  validUntil: number;
  /** The principal's epoch it was signed for; a bump of the epoch ends it. */
  epoch: number;
  /** Merkle root of the payees (payeesRoot), or zero: any. */
  payeesRoot: Hex;
  /** keccak256 of the one capability tag it may buy, or zero: any. Checked where services are known: off chain. */
  capability: Hex;
  /** Mandate it narrows, signed by that one's delegate; zero: a root, signed by the principal. */
  parent: Hex;
  /** Hash of the off-chain terms (an AP2 mandate), or zero. */
  terms: Hex;
  salt: Hex;
};

/** Domain of every MandateRegistry signature; it binds chain and contract. */
export function mandateRegistryDomain(chainId: number, verifyingContract: Address) {
  return { name: "Tallystick Mandate Registry", version: "1", chainId, verifyingContract } as const satisfies TypedDataDomain;
}

export type MandateRegistryDomain = ReturnType<typeof mandateRegistryDomain>;

/** The mandate's id, and the digest that its grantor signs. */
export function mandateIdOf(domain: MandateRegistryDomain, mandate: Mandate): Hex {
  return hashTypedData({ domain, types: mandateTypes, primaryType: "Mandate", message: mandate });
}

/** True for a mandate that the principal itself grants. */
export const isRoot = ({ parent }: Pick<Mandate, "parent">): boolean => parent === zeroHash;
