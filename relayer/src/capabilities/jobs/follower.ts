// Follows escrow and evaluator: events say which of our jobs to look at and become their history, what is written of a job's state comes from
// reads at the head. A job's number is the chain's, so it too is only as good as its block: when that is gone, the hire is matched anew.
import { parseEventLogs, type Hex } from "viem";
import { jobEscrowAbi } from "../../../../sdk/src/abi/job-escrow.ts";
import { createChainFollower, logPages, overlapping, type Direction } from "../../chain/follow.ts";
import { inTransaction } from "../../db/pool.ts";
import type { Deps } from "../../deps.ts";
import { EVENT } from "../../telemetry/log.ts";
import { saveCursor, type Cursor } from "../channels/cursor-store.ts";
import { jobLogsOf, type JobLog } from "./chain-events.ts";
import * as store from "./chain-store.ts";
import { contractsStand, readJobs } from "./chain-view.ts";

export type FollowDeps = Pick<Deps, "chain" | "config" | "db" | "log">;

const CURSOR = "jobs";

type Created = { transaction: Hex; chainJobId: bigint; block: bigint };
type Happened = { created: Created[]; logs: JobLog[] };

/** @returns one pass, to be called again and again. It throws when the chain or the database cannot be reached. */
export function createJobFollower(deps: FollowDeps): () => Promise<unknown> {
  const { config, db, log } = deps;

  async function catchUp(cursor: Cursor, head: Cursor): Promise<void> {
    if (head.blockNumber > cursor.blockNumber) await write(await happenedIn(overlapping(cursor), head.blockNumber), head, "forward");
  }

  /** Hires first: what follows is told by the number they give. All of it and the cursor together. */
  async function write({ created, logs }: Happened, head: Cursor, direction: Direction, from = head.blockNumber): Promise<void> {
    const hires = await store.jobsHiredBy(db, created.map(({ transaction }) => transaction));
    const fresh = created.flatMap((one) => (hires.has(one.transaction) ? [{ ...one, jobId: hires.get(one.transaction)! }] : []));
    const known = await store.jobsNumbered(db, [...new Set(logs.map(({ chainJobId }) => chainJobId))]);
    const suspect = direction === "back" ? await store.numbersAbove(db, from) : [];
    // A number that is given to another hire now, or to none, is not to be read as the old one's.
    const stale = direction === "back" ? await store.numbersGivenAbove(db, from) : new Set<bigint>();
    for (const id of stale) known.delete(id);
    for (const { chainJobId, jobId } of fresh) known.set(chainJobId, jobId);
    const toRead = new Set([...known.keys(), ...suspect.filter((id) => !stale.has(id))]);
    // In one order in every process: their transactions write the same rows.
    const states = await readJobs(deps, [...toRead].sort((a, b) => (a < b ? -1 : 1)), head.blockNumber);
    const events = logs.flatMap(({ chainJobId, ...event }) => (known.has(chainJobId) ? [{ ...event, jobId: known.get(chainJobId)! }] : []));
    await inTransaction(db, async (client) => {
      if (direction === "back") await store.forgetAbove(client, from, events);
      for (const { jobId, chainJobId, block } of fresh) await store.saveNumber(client, jobId, chainJobId, block, states.get(chainJobId)!, head.blockNumber);
      for (const [chainJobId, state] of states) await store.saveState(client, chainJobId, state, head.blockNumber, direction);
      await store.addChainEvents(client, events);
      await saveCursor(client, CURSOR, head);
    });
    for (const { jobId, kind, transaction } of events) log.debug({ event: EVENT.jobSynced, jobId, kind, hash: transaction });
  }

  async function happenedIn(from: bigint, to: bigint): Promise<Happened> {
    const happened: Happened = { created: [], logs: [] };
    for await (const logs of logPages(deps, [config.jobs.escrow, config.jobs.disputeEvaluator], from, to)) {
      happened.logs.push(...jobLogsOf(logs));
      happened.created.push(
        ...parseEventLogs({ abi: jobEscrowAbi, logs, eventName: "JobCreated" }).map(({ transactionHash, args, blockNumber }) => ({ transaction: transactionHash, chainJobId: args.jobId, block: blockNumber })),
      );
    }
    return happened;
  }

  return createChainFollower(deps, {
    cursor: CURSOR, event: EVENT.jobSynced, stands: () => contractsStand(deps), begin: (head) => saveCursor(db, CURSOR, head), catchUp,
    rewind: async (from, head) => write(await happenedIn(from + 1n, head.blockNumber), head, "back", from),
  });
}
