import type { Address, Hex } from "viem";
import type { JobBrief, JobRules } from "../../../../sdk/src/jobs/brief.ts";
import type { HireTerms } from "../../../../sdk/src/job-messages.ts";

/** IERC8183.JobStatus. */
export const STATUS = { open: 0, funded: 1, submitted: 2, completed: 3, rejected: 4, expired: 5 } as const;
/** IDisputeEvaluator.Phase. */
export const PHASE = { none: 0, hired: 1, review: 2, disputed: 3, closed: 4 } as const;

/** A round of a dispute as the chain has it; times Unix seconds. */
export type RoundState = {
  startedAt: number; endedAt: number; seedBlock: number; seats: number; committed: number; revealed: number; drawn: boolean; released: boolean; resultBps: number; payer: Address; bondAtomic: string;
  panel: { verifier: Address; providerBps: number; revealed: boolean; committed: boolean }[];
};

/** What the chain says of a job. As JSON in the database, so without bigints. */
export type ChainState = {
  client: Address; provider: Address; evaluator: Address; hook: Address; budgetAtomic: string; expiredAt: number; status: number;
  phase: number; submittedAt: number; round: number; rounds: RoundState[];
};

export type Draft = {
  postedBy: Address;
  client: Address;
  /** Who acts for the client under DisputeEvaluator; zero: nobody. */
  clientAgent: Address;
  provider: Address | undefined;
  brief: JobBrief;
  briefHash: Hex;
  rules: JobRules;
  deliverWithinS: number;
  budget: bigint | undefined;
};

export type JobRecord = Draft & {
  jobId: string;
  bodyHash: Hex;
  createdAt: Date;
  openUntil: Date;
  isOpen: boolean;
  withdrawnAt: Date | undefined;
  hired: { terms: HireTerms; at: Date; transaction: Hex; txState: string } | undefined;
  chainJobId: bigint | undefined;
  chain: ChainState | undefined;
  chainBlock: bigint | undefined;
  over: boolean;
};

export type Quote = { provider: Address; budget: bigint; deliverWithinS: number; note: string; validUntil: Date; quotedAt: Date; isValid: boolean };

export type JobEvent = { eventId: bigint; kind: string; at: Date; by: Address | undefined; data: Record<string, unknown>; block: bigint | undefined; transaction: Hex | undefined };

export type JobFile = { sha256: Hex; kind: "deliverable" | "statement" | "attachment" | "log"; mediaType: string; size: number; by: Address; at: Date };

export type Action = { verb: string; key: string; by: Address | undefined };
export type SentAction = Action & { txId: bigint; hash: Hex; txState: string; at: Date };
