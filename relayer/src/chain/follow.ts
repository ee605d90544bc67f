// How a contract is followed: from a cursor to the head in passes, and back when the block that holds the cursor is gone. What is read of the
// blocks, and written, is the follower's own (mandates/follower.ts, agents/follower.ts, jobs/follower.ts).
import type { Address, Log } from "viem";
import { findCursor, type Cursor } from "../capabilities/channels/cursor-store.ts";
import type { Deps } from "../deps.ts";
import type { EVENT } from "../telemetry/log.ts";
import { headOf, readChain } from "./client.ts";

type ChainDeps = Pick<Deps, "chain" | "db" | "log">;

export type Direction = "forward" | "back";

/** Each of the last three writes what it found and saves the cursor, at the head, in whatever transactions it needs. */
export type Followed = {
  /** Name of its cursor. */
  cursor: string;
  /** Under which a reorganisation is logged. */
  event: (typeof EVENT)[keyof typeof EVENT];
  /** Whether its contracts are there; asked until they are. */
  stands(): Promise<boolean>;
  /** Nothing was followed yet. */
  begin(head: Cursor): Promise<void>;
  /** The head is the cursor's block, or a later one. */
  catchUp(cursor: Cursor, head: Cursor): Promise<void>;
  /** What was read of blocks above `from` may be of blocks that are gone. */
  rewind(from: bigint, head: Cursor): Promise<void>;
};

/** Blocks in one eth_getLogs; public nodes refuse more than a few thousand. */
export const LOG_PAGE_BLOCKS = 2_000n;
/** Blocks read again in every pass: a node may have been asked before it had indexed their logs. */
const OVERLAP_BLOCKS = 4n;
const REORG_BLOCKS = 256n;
/** Passes in a row that must see a chain shorter than ours before that counts as a reorganisation, not as a slow node. */
const SHORT_CHAIN_PASSES = 3;

/**
 * @returns one pass, to be called again and again. It tells up to where it read and where it had been, and undefined when it learned nothing: the
 * contracts are not there, or the node lags. It throws when the chain or the database cannot be reached.
 */
export function createChainFollower({ chain, db, log }: ChainDeps, followed: Followed): () => Promise<{ head: Cursor; cursor: Cursor | undefined } | undefined> {
  let stands = false;
  let shortPasses = 0;

  async function follow(): Promise<{ head: Cursor; cursor: Cursor | undefined } | undefined> {
    stands ||= await followed.stands();
    if (!stands) return undefined;
    // The head's hash is taken before anything is read below it: if the chain changes meanwhile, the next pass sees that.
    const head = await blockAt(await headOf(chain));
    const cursor = await findCursor(db, followed.cursor);
    if (cursor === undefined) await followed.begin(head);
    else if (await isReorged(cursor, head)) await rewind(cursor, head);
    else if (head.blockNumber >= cursor.blockNumber) await followed.catchUp(cursor, head);
    else return undefined;
    return { head, cursor };
  }

  async function isReorged(cursor: Cursor, head: Cursor): Promise<boolean> {
    if (head.blockNumber >= cursor.blockNumber) {
      shortPasses = 0;
      return (await blockAt(cursor.blockNumber)).blockHash !== cursor.blockHash;
    }
    shortPasses += 1;
    return shortPasses >= SHORT_CHAIN_PASSES;
  }

  async function rewind(cursor: Cursor, head: Cursor): Promise<void> {
    const from = below(cursor.blockNumber < head.blockNumber ? cursor.blockNumber : head.blockNumber, REORG_BLOCKS);
    log.warn({ event: followed.event, reorg: true, cursor: String(cursor.blockNumber), head: String(head.blockNumber), from: String(from) });
    await followed.rewind(from, head);
    shortPasses = 0;
  }

  async function blockAt(blockNumber: bigint): Promise<Cursor> {
    const { hash: blockHash } = await readChain(() => chain.client.getBlock({ blockNumber }));
    return { blockNumber, blockHash };
  }

  return follow;
}

/** Where reading goes on after a cursor. */
export const overlapping = ({ blockNumber }: Cursor): bigint => below(blockNumber, OVERLAP_BLOCKS);

const below = (block: bigint, blocks: bigint): bigint => (block > blocks ? block - blocks : 0n);

/** Logs of these contracts in blocks `from` to `to`, both included, a page after the other, oldest first. */
export async function* logPages({ chain }: Pick<Deps, "chain">, address: Address | Address[], from: bigint, to: bigint): AsyncGenerator<Log[]> {
  for (let start = from; start <= to; start += LOG_PAGE_BLOCKS) {
    const end = start + LOG_PAGE_BLOCKS - 1n < to ? start + LOG_PAGE_BLOCKS - 1n : to;
    yield await readChain(() => chain.client.getLogs({ address, fromBlock: start, toBlock: end }));
  }
}
