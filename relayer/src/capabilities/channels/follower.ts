// Keeps the cached view of known channels up to date. Events only say which channels to look at; what is written comes
// from reads. The cursor survives restarts; when the cursor's block is gone, the follower goes back and reads again.
import type { Hex } from "viem";
import { setTimeout as sleep } from "node:timers/promises";
import { headOf, readChain } from "../../chain/client.ts";
import { EVENT } from "../../telemetry/log.ts";
import { readViewAt } from "./chain-view.ts";
import { findCursor, saveCursor, type Cursor } from "./cursor-store.ts";
import { resolveRefunds } from "./refund.ts";
import type { ChannelDeps } from "./service.ts";
import type { Deps } from "../../deps.ts";
import { channelsSyncedAbove, channelsToRead, knownChannels, rewindChainView, updateChainView } from "./store.ts";
import type { ChainRecord } from "./watch-store.ts";
import { BEGUN, compareNext, lookUpHistories, record, recordAgain, recordsOf } from "./watch.ts";

export type Follower = {
  /** When the chain was last read to the end, or undefined before the first time. Payments are refused when it is too old. */
  lastReadAt(): Date | undefined;
  /** One pass; throws when the chain or the database cannot be reached. */
  tick(): Promise<void>;
  start(): Promise<void>;
  stop(): Promise<void>;
};

const CURSOR = "channels";
/** Blocks in one eth_getLogs; public nodes refuse more than a few thousand. */
const LOG_PAGE_BLOCKS = 2_000n;
/** Blocks read again in every pass: a node may have been asked before it had indexed their logs. */
const OVERLAP_BLOCKS = 4n;
/** How far back views are read again after a reorganisation. */
const REORG_BLOCKS = 256n;
/** Passes in a row that must see a chain shorter than ours before that counts as a reorganisation, not as a slow node. */
const SHORT_CHAIN_PASSES = 3;

export function createFollower(deps: ChannelDeps & Pick<Deps, "metrics">): Follower {
  const { config, db, chain, log, metrics, now } = deps;
  const stopping = new AbortController();
  const createdAt = now();
  let readAt: Date | undefined;
  let shortPasses = 0;
  let aheadPasses = 0;
  let lastWatched: bigint | undefined;
  let loop: Promise<void> | undefined;
  let pass: Promise<void> | undefined;

  /** Passes never overlap: a caller that comes during one waits for it, then has its own. */
  async function tick(): Promise<void> {
    while (pass !== undefined) await pass.catch(() => {});
    pass = follow();
    try {
      await pass;
    } finally {
      pass = undefined;
    }
  }

  async function follow(): Promise<void> {
    // The head's hash is taken before anything is read below it: if the chain changes meanwhile, the next pass sees that.
    const head = await blockAt(await headOf(chain));
    const cursor = await findCursor(db, CURSOR);
    if (cursor === undefined) await begin(head);
    else if (await isReorged(cursor, head.blockNumber)) await rewind(cursor, head);
    else if (head.blockNumber >= cursor.blockNumber) await catchUp(cursor, head);
    await lowerViews(head.blockNumber);
    await resolveRefunds(deps);
    readAt = now();
    metrics.chainLagSeconds.set(0);
    await watch(head.blockNumber);
  }

  /** Where nothing was followed yet, what happened to channels we know of is not in any log we shall ask for. */
  async function begin(head: Cursor): Promise<void> {
    await sync(await channelsSyncedAbove(db, -1n), head.blockNumber, "forward");
    await saveCursor(db, BEGUN, head);
    await saveCursor(db, CURSOR, head);
  }

  async function isReorged(cursor: Cursor, head: bigint): Promise<boolean> {
    if (head >= cursor.blockNumber) {
      shortPasses = 0;
      return (await blockAt(cursor.blockNumber)).blockHash !== cursor.blockHash;
    }
    shortPasses += 1;
    return shortPasses >= SHORT_CHAIN_PASSES;
  }

  /** Reads every touched channel, every channel that somebody read at a block we had not followed to, and those that wait for depth. */
  async function catchUp(cursor: Cursor, head: Cursor): Promise<void> {
    if (head.blockNumber === cursor.blockNumber) return;
    const due = await channelsToRead(db, cursor.blockNumber);
    const from = cursor.blockNumber > OVERLAP_BLOCKS ? cursor.blockNumber - OVERLAP_BLOCKS : 0n;
    const { touched, records } = await happenedIn(from, head.blockNumber);
    await sync(new Map([...touched, ...due]), head.blockNumber, "forward");
    await record(deps, records);
    deps.reached("views.synced");
    await saveCursor(db, CURSOR, head);
    deps.reached("cursor.saved");
  }

  async function rewind(cursor: Cursor, { blockNumber: head, blockHash }: Cursor): Promise<void> {
    const lowest = cursor.blockNumber < head ? cursor.blockNumber : head;
    const from = lowest > REORG_BLOCKS ? lowest - REORG_BLOCKS : 0n;
    log.warn({ event: EVENT.channelSynced, reorg: true, cursor: String(cursor.blockNumber), head: String(head), from: String(from) });
    // Logs that vanished cannot be asked for: every channel read above `from` is read again, whatever happened to it.
    const suspect = await channelsSyncedAbove(db, from);
    const { touched, records } = await happenedIn(from, head);
    await sync(new Map([...touched, ...suspect]), head, "back");
    await recordAgain(deps, records, from);
    await saveCursor(db, CURSOR, { blockNumber: head, blockHash });
    shortPasses = 0;
  }

  /**
   * A view above the head is of a faster node, or of a block that was reorganised away above the cursor. The guard of
   * updateChainView would keep the second kind until the chain is as long again; so when it lasts, it is replaced.
   */
  async function lowerViews(head: bigint): Promise<void> {
    const ahead = await channelsSyncedAbove(db, head);
    aheadPasses = ahead.size === 0 ? 0 : aheadPasses + 1;
    if (aheadPasses < SHORT_CHAIN_PASSES) return;
    await sync(ahead, head, "back");
    aheadPasses = 0;
  }

  async function sync(channels: Map<Hex, bigint>, head: bigint, direction: "forward" | "back"): Promise<void> {
    for (const [channelId, view] of await readViewAt(deps, [...channels.keys()], head)) {
      const changed = direction === "forward" ? await updateChainView(db, channelId, view) : await rewindChainView(db, channelId, view, channels.get(channelId)!);
      if (changed) log.debug({ event: EVENT.channelSynced, channelId, block: String(head), balance: String(view.balance), totalClaimed: String(view.totalClaimed) });
    }
  }

  /** What is not urgent: one process does it, and views count as read without it. */
  async function watch(head: bigint): Promise<void> {
    if (config.role === "server" || (lastWatched ?? -1n) >= head) return;
    await lookUpHistories(deps, head);
    await compareNext(deps, head);
    lastWatched = head;
  }

  /** What happened to channels we know, and the block of their views. */
  async function happenedIn(from: bigint, to: bigint): Promise<{ touched: Map<Hex, bigint>; records: ChainRecord[] }> {
    const touched = new Map<Hex, bigint>();
    const records: ChainRecord[] = [];
    for (let start = from; start <= to; start += LOG_PAGE_BLOCKS) {
      const end = start + LOG_PAGE_BLOCKS - 1n < to ? start + LOG_PAGE_BLOCKS - 1n : to;
      const page = recordsOf(await readChain(() => chain.client.getLogs({ address: config.sessionChannels, fromBlock: start, toBlock: end })));
      const known = page.length === 0 ? new Map<Hex, bigint>() : await knownChannels(db, [...new Set(page.map(({ channelId }) => channelId))]);
      for (const [channelId, block] of known) touched.set(channelId, block);
      for (const one of page) if (known.has(one.channelId)) records.push(one);
    }
    return { touched, records };
  }

  async function blockAt(blockNumber: bigint): Promise<Cursor> {
    const { hash: blockHash } = await readChain(() => chain.client.getBlock({ blockNumber }));
    return { blockNumber, blockHash };
  }

  async function run(): Promise<void> {
    while (!stopping.signal.aborted) {
      await sleep(config.chainPollMs, undefined, { signal: stopping.signal }).catch(() => {});
      if (!stopping.signal.aborted) await tryTick();
    }
  }

  async function tryTick(): Promise<void> {
    try {
      await tick();
    } catch (error) {
      const lagS = (now().getTime() - (readAt ?? createdAt).getTime()) / 1000;
      metrics.chainLagSeconds.set(lagS);
      log.warn({ event: EVENT.chainLag, lagS, err: error });
    }
  }

  return {
    lastReadAt: () => readAt,
    tick,
    async start() {
      await tryTick();
      loop = run();
    },
    async stop() {
      stopping.abort();
      await loop;
    },
  };
}
