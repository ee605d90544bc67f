// What a job is about and under which rules, and the terms that follow from it: computed alike by whoever signs a hire and by the relayer
// that carries it. The chain holds only the hash of the brief. Amounts are atomic units, times Unix seconds, shares basis points.
import { keccak256, sha256, stringToBytes, zeroAddress, type Address, type Hex } from "viem";
import { canonicalJson } from "../audit/canonical.ts";
import { disputeTermsData, type DisputeTerms, type HireTerms } from "../job-messages.ts";
import type { JsonSchema } from "./schema-check.ts";

/** What has to happen before the provider is paid. Whatever it is, after expiry the client may be refunded. */
export type ReleaseCondition =
  /** The client accepts, or lets the review window end in silence. */
  | { type: "manual" }
  /** Nobody is expected to look: the end of the review window pays. */
  | { type: "timeout" }
  /** The relayer accepts at once what has this hash, or is JSON that conforms to this schema. */
  | { type: "automatic"; sha256?: Hex | undefined; schema?: JsonSchema | undefined }
  /** Only the validator's signed verdict pays or refunds: it is the job's evaluator. */
  | { type: "outcome"; outcomeValidator: { address: Address; url: string } };

export type JobBrief = { title: string; description: string; releaseCondition: ReleaseCondition };

/** The rules of disputes, but for who acts for the client. Unused by jobs with an outcomeValidator. */
export type JobRules = Omit<DisputeTerms, "clientAgent">;

/** Under which a mandate for one capability alone may hire: that of `createMandate({ capability: "job" })`. */
export const JOB_CAPABILITY: Hex = keccak256(stringToBytes("job"));

export type HirePlan = {
  client: Address;
  /** Who acts for the client under DisputeEvaluator; zero: nobody. */
  clientAgent: Address;
  provider: Address;
  budget: bigint;
  expiredAt: bigint;
  brief: JobBrief;
  rules: JobRules;
  disputeEvaluator: Address;
};

/** Content address of a document: SHA-256 of its canonical JSON (RFC 8785). */
export function documentHash(document: unknown): Hex {
  return sha256(stringToBytes(canonicalJson(document)));
}

/** What the chain stores of a brief. */
export const onChainDescription = (briefHash: Hex): string => `sha256:${briefHash.slice(2)}`;

/** All that is fixed when the job is hired; what the client signs is the hash of this. */
export function hireTermsOf(plan: HirePlan): HireTerms {
  const { provider, budget, expiredAt, brief, rules, clientAgent, disputeEvaluator } = plan;
  const common = { provider, budget, expiredAt, description: onChainDescription(documentHash(brief)) };
  if (brief.releaseCondition.type === "outcome") return { ...common, evaluator: brief.releaseCondition.outcomeValidator.address, hook: zeroAddress, optParams: "0x" };
  return { ...common, evaluator: disputeEvaluator, hook: disputeEvaluator, optParams: disputeTermsData({ ...rules, clientAgent }) };
}

/** Seconds from submission until nothing is left to be ruled, with the margin: IDisputeEvaluator.spanOf. */
export function disputeSpan({ reviewWindow, commitWindow, revealWindow, escalationWindow, arbitrator }: JobRules, minWindow: number): number {
  const round = commitWindow + revealWindow;
  return reviewWindow + (arbitrator === zeroAddress ? 2 * round + escalationWindow : round) + minWindow;
}

export type Attachment = { name: string; mediaType: string; sha256: Hex; size: number };

/** What a party says in a dispute; its hash is the evidence on chain. */
export type DisputeStatement = { jobId: string; party: Address; description: string; attachments: readonly Attachment[]; logs: readonly Attachment[] };
