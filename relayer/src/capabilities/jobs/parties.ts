// Who has a part in a job, and so may read it or act in it.
import { isAddressEqual, type Address } from "viem";
import type { Deps } from "../../deps.ts";
import { notAllowed, unknownJob, wrongState } from "./faults.ts";
import { findJob, listQuotes } from "./store.ts";
import type { ChainState, JobRecord } from "./types.ts";

/** A job that is on the chain. */
export type LiveJob = JobRecord & { chainJobId: bigint; chain: ChainState; hired: NonNullable<JobRecord["hired"]> };

export const isClientSide = ({ client, postedBy, clientAgent }: JobRecord, caller: Address): boolean => isOneOf(caller, [client, postedBy, clientAgent]);
export const isProvider = ({ provider }: JobRecord, caller: Address): boolean => provider !== undefined && isAddressEqual(provider, caller);

export function isJudge({ chain, rules, brief }: JobRecord, caller: Address): boolean {
  const validator = brief.releaseCondition.type === "outcome" ? [brief.releaseCondition.outcomeValidator.address] : [];
  const panels = chain?.rounds.flatMap(({ panel }) => panel.map(({ verifier }) => verifier)) ?? [];
  return isOneOf(caller, [...panels, ...(chain !== undefined && chain.rounds.length > 0 ? [rules.arbitrator] : []), ...validator]);
}

const isOneOf = (caller: Address, accounts: readonly Address[]): boolean => accounts.some((account) => isAddressEqual(account, caller));

/** Parties, judges, those who quoted, and anybody while it waits for quotes. @throws TallystickError 404 `job_unknown`. */
export async function jobFor({ db }: Pick<Deps, "db">, jobId: string, caller: Address): Promise<JobRecord> {
  const job = await findJob(db, jobId);
  if (job === undefined) throw unknownJob(jobId);
  const waitsForQuotes = job.provider === undefined && job.hired === undefined && job.isOpen && job.withdrawnAt === undefined;
  if (waitsForQuotes || hasPart(job, caller)) return job;
  const quoted = job.hired === undefined && (await listQuotes(db, jobId)).some(({ provider }) => isAddressEqual(provider, caller));
  if (quoted) return job;
  throw unknownJob(jobId);
}

export const hasPart = (job: JobRecord, caller: Address): boolean => isClientSide(job, caller) || isProvider(job, caller) || isJudge(job, caller);

/** @throws TallystickError 404 `job_unknown`, 409 `job_state`: it is not on the chain. */
export async function liveJobFor(deps: Pick<Deps, "db">, jobId: string, caller: Address): Promise<LiveJob> {
  const job = await jobFor(deps, jobId, caller);
  return liveOr(job);
}

export function liveOr(job: JobRecord): LiveJob {
  if (job.chain !== undefined && job.chainJobId !== undefined && job.hired !== undefined) return job as LiveJob;
  throw wrongState(job.hired === undefined ? "The job is not hired." : "The hire is not mined yet.");
}

/** @throws TallystickError 403 `job_forbidden`. */
export function requireClientSide(job: JobRecord, caller: Address): void {
  if (!isClientSide(job, caller)) throw notAllowed("Only the job's client, or the agent that acts for it, may do this.");
}

/** @throws TallystickError 403 `job_forbidden`. */
export function requireProvider(job: JobRecord, caller: Address): void {
  if (!isProvider(job, caller)) throw notAllowed("Only the job's provider may do this.");
}
