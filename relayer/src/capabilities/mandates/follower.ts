// Follows the registry: who revoked, who began a new epoch, what was spent there. As with channels (channels/follower.ts), events only say what
// to look at, what is written comes from reads at the head, and a revocation counts from its block on. When the block that holds the
// cursor is gone, everything that was read lately is read again: a revocation that vanished is taken back.
import { parseEventLogs, type Address, type Hex } from "viem";
import { mandateRegistryAbi as abi } from "../../../../sdk/src/abi/mandate-registry.ts";
import { headOf, readChain } from "../../chain/client.ts";
import type { Deps } from "../../deps.ts";
import { EVENT } from "../../telemetry/log.ts";
import { findCursor, saveCursor, type Cursor } from "../channels/cursor-store.ts";
import { readEpochs, readMandates, registryStands } from "./chain-view.ts";
import { registered, saveEpoch, saveView, dueAbove, type Seen } from "./chain-store.ts";

export type FollowDeps = Pick<Deps, "chain" | "config" | "db" | "log" | "reached">;

const CURSOR = "mandates";
/** Blocks in one eth_getLogs; public nodes refuse more than a few thousand. */
const LOG_PAGE_BLOCKS = 2_000n;
/** Blocks read again in every pass: a node may have been asked before it had indexed their logs. */
const OVERLAP_BLOCKS = 4n;
const REORG_BLOCKS = 256n;
/** Passes in a row that must see a chain shorter than ours before that counts as a reorganisation, not as a slow node. */
const SHORT_CHAIN_PASSES = 3;

/** @returns one pass, to be called again and again. It throws when the chain or the database cannot be reached. */
export function createMandateFollower(deps: FollowDeps): () => Promise<void> {
  const { chain, config, db, log } = deps;
  let stands = false;
  let shortPasses = 0;

  async function follow(): Promise<void> {
    stands ||= await registryStands(deps);
    if (!stands) return;
    // The head's hash is taken before anything is read below it: if the chain changes meanwhile, the next pass sees that.
    const head = await blockAt(await headOf(chain));
    const cursor = await findCursor(db, CURSOR);
    if (cursor === undefined) await begin(head);
    else if (await isReorged(cursor, head)) await rewind(cursor, head);
    else if (head.blockNumber >= cursor.blockNumber) await catchUp(cursor, head);
  }

  /** What was registered before anything was followed is read once. */
  async function begin(head: Cursor): Promise<void> {
    await readAgain(await dueAbove(db, -1n), head.blockNumber, "forward");
    await saveCursor(db, CURSOR, head);
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
    // Views above the cursor were read when they were registered, of blocks nobody has followed: they may be of blocks that are gone.
    const due = await dueAbove(db, cursor.blockNumber);
    if (head.blockNumber === cursor.blockNumber) return readAgain(due, head.blockNumber, "forward");
    const touched = await touchedIn(below(cursor.blockNumber, OVERLAP_BLOCKS), head.blockNumber);
    await readAgain(both(due, touched), head.blockNumber, "forward");
    deps.reached("mandates.synced");
    await saveCursor(db, CURSOR, head);
    deps.reached("cursor.saved");
  }

  async function rewind(cursor: Cursor, head: Cursor): Promise<void> {
    const from = below(cursor.blockNumber < head.blockNumber ? cursor.blockNumber : head.blockNumber, REORG_BLOCKS);
    log.warn({ event: EVENT.mandateSynced, reorg: true, cursor: String(cursor.blockNumber), head: String(head.blockNumber), from: String(from) });
    // Logs that vanished cannot be asked for: every view above `from` is read again, whatever happened to it.
    await readAgain(both(await dueAbove(db, from), await touchedIn(from, head.blockNumber)), head.blockNumber, "back");
    await saveCursor(db, CURSOR, head);
    shortPasses = 0;
  }

  async function touchedIn(from: bigint, to: bigint): Promise<Seen> {
    const ids = new Set<Hex>();
    const principals = new Set<Address>();
    for (let start = from; start <= to; start += LOG_PAGE_BLOCKS) {
      const end = start + LOG_PAGE_BLOCKS - 1n < to ? start + LOG_PAGE_BLOCKS - 1n : to;
      const logs = await readChain(() => chain.client.getLogs({ address: config.mandateRegistry, fromBlock: start, toBlock: end }));
      for (const { args } of parseEventLogs({ abi, logs, eventName: ["MandateApproved", "MandateSpent", "MandateRevoked"] })) ids.add(args.mandateId);
      for (const { args } of parseEventLogs({ abi, logs, eventName: "EpochBumped" })) principals.add(args.principal);
    }
    return registered(db, [...ids], [...principals]);
  }

  async function readAgain({ mandates, principals }: Seen, block: bigint, direction: "forward" | "back"): Promise<void> {
    const saving = (seen: bigint | undefined) => ({ followed: true, replaced: direction === "back" ? seen : undefined });
    for (const [id, view] of await readMandates(deps, [...mandates.keys()], block)) {
      await saveView(db, id, view, saving(mandates.get(id)));
      log.debug({ event: EVENT.mandateSynced, mandateId: id, block: String(block), revoked: view.revoked, spent: String(view.spent) });
    }
    for (const [principal, epoch] of await readEpochs(deps, [...principals.keys()], block)) await saveEpoch(db, principal, epoch, block, saving(principals.get(principal)));
  }

  async function blockAt(blockNumber: bigint): Promise<Cursor> {
    const { hash: blockHash } = await readChain(() => chain.client.getBlock({ blockNumber }));
    return { blockNumber, blockHash };
  }

  return follow;
}

const below = (block: bigint, blocks: bigint): bigint => (block > blocks ? block - blocks : 0n);
const both = (a: Seen, b: Seen): Seen => ({ mandates: new Map([...a.mandates, ...b.mandates]), principals: new Map([...a.principals, ...b.principals]) });
