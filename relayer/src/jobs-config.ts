// The part of the configuration about jobs: which contracts hold them, and what strangers may cost the operator.
import { getAddress, isAddress, type Address } from "viem";
import { deployments } from "../../sdk/src/addresses.ts";
import type { Read } from "./fee-config.ts";

export type JobsConfig = {
  /** Where no contract stands, nobody is hired here. */
  escrow: Address;
  disputeEvaluator: Address;
  /** Jobs of one client that are hired and not over. */
  openPerClient: number;
  /** Transactions that one account has sent for it in an hour. */
  transactionsPerHour: number;
  /** Below this a job is not worth its gas, atomic units. */
  minBudget: bigint;
  deliverableBytes: number;
};

export const JOBS_KEYS = [
  { name: "RELAYER_JOB_ESCROW", about: "JobEscrow contract; empty: the published one. Where none stands, nobody is hired here", fallback: "" },
  { name: "RELAYER_DISPUTE_EVALUATOR", about: "DisputeEvaluator contract of that escrow; empty: the published one", fallback: "" },
  { name: "RELAYER_JOBS_PER_CLIENT", about: "most jobs of one client that are hired here and not over: the operator pays their gas", fallback: "20" },
  { name: "RELAYER_JOB_TRANSACTIONS_PER_HOUR", about: "most transactions about jobs that one account has sent for it in an hour", fallback: "60" },
  { name: "RELAYER_JOB_MIN_BUDGET", about: "least budget of a job that is hired here, atomic units", fallback: "100000" },
  { name: "RELAYER_JOB_DELIVERABLE_BYTES", about: "largest deliverable, and largest file of a dispute", fallback: "5242880" },
];

export function readJobsConfig({ parse, integer }: Read, chainId: number): JobsConfig {
  const published = deployments[chainId === 8453 ? 8453 : 84532].contracts;
  const address = (name: string, fallback: Address) => parse<Address | "">(name, readOptionalAddress, "a 20-byte address", "") || fallback;
  return {
    escrow: address("RELAYER_JOB_ESCROW", published.JobEscrow),
    disputeEvaluator: address("RELAYER_DISPUTE_EVALUATOR", published.DisputeEvaluator),
    openPerClient: integer("RELAYER_JOBS_PER_CLIENT", 1, 100_000),
    transactionsPerHour: integer("RELAYER_JOB_TRANSACTIONS_PER_HOUR", 1, 1_000_000),
    minBudget: parse("RELAYER_JOB_MIN_BUDGET", (value) => (/^\d{1,28}$/.test(value) ? BigInt(value) : undefined), "atomic units", 0n),
    deliverableBytes: integer("RELAYER_JOB_DELIVERABLE_BYTES", 1, 1 << 26),
  };
}

function readOptionalAddress(value: string): Address | "" | undefined {
  if (value === "") return "";
  return isAddress(value, { strict: false }) ? getAddress(value) : undefined;
}
