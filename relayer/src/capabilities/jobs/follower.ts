// Follows escrow and evaluator: events say which of our jobs to look at and become their history, what is written of a job's state comes from
// reads at the head. A job's number is the chain's, so it too is only as good as its block: when that is gone, the hire is matched anew.
import { parseEventLogs, type Hex, type Log } from "viem";
import { jobEscrowAbi } from "../../../../sdk/src/abi/job-escrow.ts";
import { headOf, readChain } from "../../chain/client.ts";
import { inTransaction } from "../../db/pool.ts";
import type { Deps } from "../../deps.ts";
import { EVENT } from "../../telemetry/log.ts";
import { findCursor, saveCursor, type Cursor } from "../channels/cursor-store.ts";
import { jobLogsOf, type JobLog } from "./chain-events.ts";
import * as store from "./chain-store.ts";
import { contractsStand, readJobs } from "./chain-view.ts";

export type FollowDeps = Pick<Deps, "chain" | "config" | "db" | "log">;

const CURSOR = "jobs";
/** Blocks in one eth_getLogs; public nodes refuse more than a few thousand. */
const LOG_PAGE_BLOCKS = 2_000n;
/** Blocks read again in every pass: a node may have been asked before it had indexed their logs. */
const OVERLAP_BLOCKS = 4n;
const REORG_BLOCKS = 256n;
/** Passes in a row that must see a chain shorter than ours before that counts as a reorganisation, not as a slow node. */
const SHORT_CHAIN_PASSES = 3;

type Direction = "forward" | "back";
type Created = { transaction: Hex; chainJobId: bigint; block: bigint };
type Happened = { created: Created[]; logs: JobLog[] };

/** @returns one pass, to be called again and again. It throws when the chain or the database cannot be reached. */
export function createJobFollower(deps: FollowDeps): () => Promise<void> {
  const { chain, config, db, log } = deps;
  let stands = false;
  let shortPasses = 0;

  async function follow(): Promise<void> {
    stands ||= await contractsStand(deps);
    if (!stands) return;
    // The head's hash is taken before anything is read below it: if the chain changes meanwhile, the next pass sees that.
    const head = await blockAt(await headOf(chain));
    const cursor = await findCursor(db, CURSOR);
    if (cursor === undefined) await saveCursor(db, CURSOR, head);
    else if (await isReorged(cursor, head)) await rewind(cursor, head);
    else if (head.blockNumber > cursor.blockNumber) await catchUp(cursor, head);
  }

  async function isReorged(cursor: Cursor, head: Cursor): Promise<boolean> {
    if (head.blockNumber >= cursor.blockNumber) {
      shortPasses = 0;
      return (await blockAt(cursor.blockNumber)).blockHash !== cursor.blockHash;
    }
    shortPasses += 1;
    return shortPasses >= SHORT_CHAIN_PASSES;
  }

  async function catchUp(cursor: Cursor, head: Cursor): Promise<void> {
    await write(await happenedIn(below(cursor.blockNumber, OVERLAP_BLOCKS), head.blockNumber), head, "forward");
  }

  async function rewind(cursor: Cursor, head: Cursor): Promise<void> {
    const from = below(cursor.blockNumber < head.blockNumber ? cursor.blockNumber : head.blockNumber, REORG_BLOCKS);
    log.warn({ event: EVENT.jobSynced, reorg: true, cursor: String(cursor.blockNumber), head: String(head.blockNumber), from: String(from) });
    await write(await happenedIn(from + 1n, head.blockNumber), head, "back", from);
    shortPasses = 0;
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
    for (let start = from; start <= to; start += LOG_PAGE_BLOCKS) {
      const end = start + LOG_PAGE_BLOCKS - 1n < to ? start + LOG_PAGE_BLOCKS - 1n : to;
      const logs: Log[] = await readChain(() => chain.client.getLogs({ address: [config.jobs.escrow, config.jobs.disputeEvaluator], fromBlock: start, toBlock: end }));
      happened.logs.push(...jobLogsOf(logs));
      happened.created.push(
        ...parseEventLogs({ abi: jobEscrowAbi, logs, eventName: "JobCreated" }).map(({ transactionHash, args, blockNumber }) => ({ transaction: transactionHash, chainJobId: args.jobId, block: blockNumber })),
      );
    }
    return happened;
  }

  async function blockAt(blockNumber: bigint): Promise<Cursor> {
    const { hash: blockHash } = await readChain(() => chain.client.getBlock({ blockNumber }));
    return { blockNumber, blockHash };
  }

  return follow;
}

const below = (block: bigint, blocks: bigint): bigint => (block > blocks ? block - blocks : 0n);
