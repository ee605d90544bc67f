// The table of jobs computed again from raw logs; shares nothing with indexer/src but the ABIs. Each job is the fold of its own logs.
import { decodeEventLog, zeroAddress } from "viem";
import { disputeEvaluatorAbi } from "../../sdk/src/abi/dispute-evaluator.ts";
import { jobEscrowAbi } from "../../sdk/src/abi/job-escrow.ts";
import { keyOf, writeRow, type Draft, type RawLog, type Table } from "./replay.ts";

const STATUS_AFTER: Record<string, string> = { JobFunded: "funded", JobSubmitted: "submitted", JobCompleted: "completed", JobRejected: "rejected", JobExpired: "expired" };

/** Logs of one JobEscrow and of the DisputeEvaluator over its jobs, each oldest first. */
export function replayJobs(escrow: readonly RawLog[], evaluator: readonly RawLog[]): Record<"jobs", Table> {
  const jobs = new Map<bigint, Draft>();
  for (const log of escrow) apply(jobs, log);
  for (const { topics, data, blockNumber, timestamp } of evaluator) {
    const { eventName, args } = decodeEventLog({ abi: disputeEvaluatorAbi, topics, data, strict: true });
    if (eventName !== "Disputed") continue;
    const job = jobs.get(args.jobId);
    if (job === undefined) throw new Error(`job ${args.jobId} was disputed in block ${blockNumber} and never created`);
    Object.assign(job, { disputed: "true", updatedAt: later(job["updatedAt"] as bigint, timestamp) });
  }
  return { jobs: new Map([...jobs.values()].map((job) => [keyOf("jobs", job), writeRow(job)])) };
}

function apply(jobs: Map<bigint, Draft>, { topics, data, transactionHash, blockNumber, timestamp }: RawLog): void {
  const { eventName, args } = decodeEventLog({ abi: jobEscrowAbi, topics, data, strict: true });
  if (eventName === "EIP712DomainChanged" || eventName === "FeePaid" || eventName === "PaymentReleased" || eventName === "JobDescribed" || eventName === "JobHiredByMandate") return;
  if (eventName === "JobCreated") {
    const { jobId: id, client, provider, evaluator, expiredAt } = args;
    const nothing = { status: "open", budget: 0n, submittedAt: null, paid: 0n, refunded: 0n, splitBps: null, disputed: "false" };
    return void jobs.set(id, { id, client, provider: provider === zeroAddress ? null : provider, evaluator, expiredAt, ...nothing, transactionHash, blockNumber, timestamp, updatedAt: timestamp });
  }
  const job = jobs.get(args.jobId);
  if (job === undefined) throw new Error(`a log names job ${args.jobId} before it was created: is fromBlock too high?`);
  Object.assign(job, { status: STATUS_AFTER[eventName] ?? job["status"]!, updatedAt: timestamp });
  if (eventName === "ProviderSet") job["provider"] = args.provider;
  if (eventName === "BudgetSet") job["budget"] = args.amount;
  if (eventName === "JobSubmitted") job["submittedAt"] = timestamp;
  if (eventName === "JobSplit") job["splitBps"] = args.providerBps;
  if (eventName === "Refunded") job["refunded"] = args.amount;
  // What did not go back was paid.
  if (job["status"] === "completed") job["paid"] = (job["budget"] as bigint) - (job["refunded"] as bigint);
}

const later = (a: bigint, b: bigint): bigint => (a > b ? a : b);
