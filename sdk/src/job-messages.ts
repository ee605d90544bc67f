// What the people of a job sign: clients, providers and evaluators for JobEscrow, parties, verifiers and arbitrators for
// DisputeEvaluator; and the bytes that both contracts take. Amounts are atomic USDC, times Unix seconds, shares basis points.
import { encodeAbiParameters, getAbiItem, hashTypedData, keccak256, type Address, type Hex, type TypedDataDomain } from "viem";
import { mandateRegistryAbi } from "./abi/mandate-registry.ts";
import type { SpendOrder } from "./mandate-messages.ts";

/** Everything that is fixed when a job is hired in one call. */
export type HireTerms = {
  provider: Address;
  evaluator: Address;
  /** Zero: none. */
  hook: Address;
  expiredAt: bigint;
  budget: bigint;
  description: string;
  /** For the hook; for DisputeEvaluator, disputeTermsData. */
  optParams: Hex;
};

/** The rules of a job's disputes. Windows in seconds, shares in basis points. */
export type DisputeTerms = {
  reviewWindow: number;
  commitWindow: number;
  revealWindow: number;
  escalationWindow: number;
  /** n of the first panel; 0 with an arbitrator. */
  panelSize: number;
  /** m: fewer votes count as silence. */
  quorum: number;
  /** The provider's share when panel or arbitrator is silent. */
  defaultBps: number;
  disputeBond: bigint;
  arbitrator: Address;
  /** May act for the client; zero: nobody. */
  clientAgent: Address;
};

export const jobHireTypes = {
  JobHire: [
    { name: "client", type: "address" },
    { name: "provider", type: "address" },
    { name: "evaluator", type: "address" },
    { name: "hook", type: "address" },
    { name: "expiredAt", type: "uint256" },
    { name: "budget", type: "uint256" },
    { name: "description", type: "string" },
    { name: "optParams", type: "bytes" },
  ],
} as const;

export const jobSubmissionTypes = {
  JobSubmission: [
    { name: "jobId", type: "uint256" },
    { name: "deliverable", type: "bytes32" },
    { name: "optParams", type: "bytes" },
    { name: "deadline", type: "uint256" },
  ],
} as const;

const verdict = [
  { name: "jobId", type: "uint256" },
  { name: "reason", type: "bytes32" },
  { name: "optParams", type: "bytes" },
  { name: "deadline", type: "uint256" },
] as const;
export const jobCompletionTypes = { JobCompletion: verdict } as const;
export const jobRejectionTypes = { JobRejection: verdict } as const;

export const disputeTypes = {
  Dispute: [
    { name: "jobId", type: "uint256" },
    { name: "party", type: "address" },
    { name: "evidence", type: "bytes32" },
  ],
} as const;

export const escalationTypes = {
  Escalation: [
    { name: "jobId", type: "uint256" },
    { name: "party", type: "address" },
  ],
} as const;

export const concessionTypes = {
  Concession: [
    { name: "jobId", type: "uint256" },
    { name: "party", type: "address" },
    { name: "deadline", type: "uint256" },
  ],
} as const;

export const voteCommitmentTypes = {
  VoteCommitment: [
    { name: "jobId", type: "uint256" },
    { name: "round", type: "uint256" },
    { name: "seat", type: "uint256" },
    { name: "commitment", type: "bytes32" },
    { name: "deadline", type: "uint256" },
  ],
} as const;

export const rulingTypes = {
  Ruling: [
    { name: "jobId", type: "uint256" },
    { name: "providerBps", type: "uint16" },
    { name: "reason", type: "bytes32" },
    { name: "deadline", type: "uint256" },
  ],
} as const;

/** Domain of every JobEscrow signature. */
export function jobEscrowDomain(chainId: number, verifyingContract: Address) {
  return { name: "Tallystick Job Escrow", version: "1", chainId, verifyingContract } as const satisfies TypedDataDomain;
}

/** Domain of every DisputeEvaluator signature. */
export function disputeEvaluatorDomain(chainId: number, verifyingContract: Address) {
  return { name: "Tallystick Dispute Evaluator", version: "1", chainId, verifyingContract } as const satisfies TypedDataDomain;
}

export type JobEscrowDomain = ReturnType<typeof jobEscrowDomain>;
export type DisputeEvaluatorDomain = ReturnType<typeof disputeEvaluatorDomain>;

// ---------------------------------------------------------------- JobEscrow

/** Names a job before it exists: bound by the nonce of an ERC-3009 hire, and by `terms` of the mandate of a hire by mandate. */
export function jobHireDigest(domain: JobEscrowDomain, client: Address, terms: HireTerms): Hex {
  return hashTypedData({ domain, types: jobHireTypes, primaryType: "JobHire", message: { client, ...terms } });
}

export type Submission = { jobId: bigint; deliverable: Hex; optParams: Hex; deadline: bigint };
export type Verdict = { jobId: bigint; reason: Hex; optParams: Hex; deadline: bigint };

export function jobSubmissionDigest(domain: JobEscrowDomain, message: Submission): Hex {
  return hashTypedData({ domain, types: jobSubmissionTypes, primaryType: "JobSubmission", message });
}

export function jobCompletionDigest(domain: JobEscrowDomain, message: Verdict): Hex {
  return hashTypedData({ domain, types: jobCompletionTypes, primaryType: "JobCompletion", message });
}

export function jobRejectionDigest(domain: JobEscrowDomain, message: Verdict): Hex {
  return hashTypedData({ domain, types: jobRejectionTypes, primaryType: "JobRejection", message });
}

/** Nonce of the ReceiveWithAuthorization that pays for what `digest` names: a job (jobHireDigest), or the bond of a dispute or escalation. */
export function jobAuthorizationNonce(digest: Hex, salt: Hex): Hex {
  return keccak256(encodeAbiParameters([{ type: "bytes32" }, { type: "bytes32" }], [digest, salt]));
}

/** `order` of hireByMandate. Its first mandate: delegate the escrow, limit the budget, terms jobHireDigest of the principal. */
export function jobMandateOrder(order: SpendOrder): Hex {
  return encodeAbiParameters(getAbiItem({ abi: mandateRegistryAbi, name: "spend" }).inputs, [order]);
}

// ---------------------------------------------------------------- DisputeEvaluator

/** optParams of a job whose evaluator and hook is DisputeEvaluator. */
export function disputeTermsData(terms: DisputeTerms): Hex {
  return encodeAbiParameters([{ type: "tuple", components: disputeTermsComponents }], [terms]);
}

const disputeTermsComponents = [
  { name: "reviewWindow", type: "uint32" },
  { name: "commitWindow", type: "uint32" },
  { name: "revealWindow", type: "uint32" },
  { name: "escalationWindow", type: "uint32" },
  { name: "panelSize", type: "uint8" },
  { name: "quorum", type: "uint8" },
  { name: "defaultBps", type: "uint16" },
  { name: "disputeBond", type: "uint96" },
  { name: "arbitrator", type: "address" },
  { name: "clientAgent", type: "address" },
] as const;

export function disputeDigest(domain: DisputeEvaluatorDomain, message: { jobId: bigint; party: Address; evidence: Hex }): Hex {
  return hashTypedData({ domain, types: disputeTypes, primaryType: "Dispute", message });
}

export function escalationDigest(domain: DisputeEvaluatorDomain, message: { jobId: bigint; party: Address }): Hex {
  return hashTypedData({ domain, types: escalationTypes, primaryType: "Escalation", message });
}

export function concessionDigest(domain: DisputeEvaluatorDomain, message: { jobId: bigint; party: Address; deadline: bigint }): Hex {
  return hashTypedData({ domain, types: concessionTypes, primaryType: "Concession", message });
}

export function voteCommitmentDigest(
  domain: DisputeEvaluatorDomain,
  message: { jobId: bigint; round: bigint; seat: bigint; commitment: Hex; deadline: bigint },
): Hex {
  return hashTypedData({ domain, types: voteCommitmentTypes, primaryType: "VoteCommitment", message });
}

export function rulingDigest(domain: DisputeEvaluatorDomain, message: { jobId: bigint; providerBps: number; reason: Hex; deadline: bigint }): Hex {
  return hashTypedData({ domain, types: rulingTypes, primaryType: "Ruling", message });
}

export type Vote = { jobId: bigint; round: bigint; verifier: Address; providerBps: number; reason: Hex; salt: Hex };

/** What a verifier commits to; the salt keeps the vote secret, so it must not be guessable. */
export function voteCommitment({ jobId, round, verifier, providerBps, reason, salt }: Vote): Hex {
  const types = [{ type: "uint256" }, { type: "uint256" }, { type: "address" }, { type: "uint16" }, { type: "bytes32" }, { type: "bytes32" }] as const;
  return keccak256(encodeAbiParameters(types, [jobId, round, verifier, providerBps, reason, salt]));
}
