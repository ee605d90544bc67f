// Jobs beside what the escrow itself keeps.
import { zeroAddress, type Address, type PublicClient } from "viem";
import { jobEscrowAbi } from "../../sdk/src/abi/job-escrow.ts";
import { compareRow, type Difference } from "./reconcile.ts";
import type { Table } from "./replay.ts";

/** What GraphQL is asked for. */
export const JOB_COLUMNS = { jobs: "id client provider evaluator status budget expiredAt submittedAt paid refunded splitBps disputed transactionHash blockNumber timestamp updatedAt" };

const STATUS = ["open", "funded", "submitted", "completed", "rejected", "expired"];

/** Parties, budget and status of every job, and that there is no other. */
export async function compareJobs(client: PublicClient, address: Address, { jobs }: Record<"jobs", Table>, blockNumber: bigint): Promise<Difference[]> {
  // No code, no jobs: not every chain has an escrow.
  if (jobs.size === 0 && (await client.getCode({ address, blockNumber })) === undefined) return [];
  const read = { address, abi: jobEscrowAbi, blockNumber } as const;
  const count = await client.readContract({ ...read, functionName: "jobCount" });
  const perJob = [...jobs.values()].map(async (row) => {
    const { provider, status, ...state } = await client.readContract({ ...read, functionName: "stateOf", args: [BigInt(row["id"]!)] });
    const chain = { client: state.client, evaluator: state.evaluator, budget: state.budget, expiredAt: state.expiredAt, provider: provider === zeroAddress ? null : provider, status: STATUS[status]! };
    return compareRow(`stateOf(${row["id"]})`, chain, row);
  });
  return [...compareRow("jobCount", { count }, { count: String(jobs.size) }), ...(await Promise.all(perJob)).flat()];
}
