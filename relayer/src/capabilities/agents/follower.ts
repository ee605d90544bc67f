// Follows the registry: whose terms or status changed there. As with mandates (mandates/follower.ts), events only say what to look at and bring
// the terms in full; what is written comes from reads at the head. When the block that holds the cursor is gone, everything that was read lately
// is read again, and what the chain went back to is found among the terms that were ever seen.
import { parseEventLogs, type Hex } from "viem";
import { bazaarRegistryAbi as abi } from "../../../../sdk/src/abi/bazaar-registry.ts";
import type { ServiceTerms } from "../../../../sdk/src/bazaar.ts";
import { headOf } from "../../chain/client.ts";
import { createChainFollower, LOG_PAGE_BLOCKS, logPages, overlapping, type Direction } from "../../chain/follow.ts";
import type { Deps } from "../../deps.ts";
import { EVENT } from "../../telemetry/log.ts";
import { findCursor, saveCursor, type Cursor } from "../channels/cursor-store.ts";
import { dueAbove, followOwner, identityOwned, known, saveReadAt, saveView, type Seen } from "./chain-store.ts";
import { readServices, registryStands } from "./chain-view.ts";
import { adoptListing, keepTerms } from "./terms-store.ts";

export type FollowDeps = Pick<Deps, "chain" | "config" | "db" | "log" | "reached"> & { catalog: { changed(name: string): void } };

const CURSOR = "bazaar";
/** How far the blocks before those that are followed were read; and that all of them were. */
const PAST = "bazaar.past";
const PAST_READ = "bazaar.past_read";
/** Pages of it in one pass: what happens now comes first. */
const PAST_PAGES = 5n;
/** Identities change hands without a word of the registry. What their owners do here asks the chain anyway. */
const OWNERS_EVERY_MS = 60_000;
/** Terms of one service that are kept of the chain: each costs its owner a transaction. */
const MOST_SEEN_TERMS = 10_000;

/** @returns one pass, to be called again and again. It throws when the chain or the database cannot be reached. */
export function createListingFollower(deps: FollowDeps): () => Promise<void> {
  const { chain, config, db, log } = deps;
  const pass = createChainFollower(deps, { cursor: CURSOR, event: EVENT.listingSynced, stands: () => registryStands(deps), begin, catchUp, rewind });
  let pastIsRead = false;
  let ownersReadAt = Number.NEGATIVE_INFINITY;

  async function follow(): Promise<void> {
    const read = await pass();
    if (read === undefined) return;
    const { head, cursor } = read;
    await saveReadAt(db);
    if (performance.now() - ownersReadAt >= OWNERS_EVERY_MS) {
      await readAgain(await identityOwned(db), head.blockNumber, "forward");
      ownersReadAt = performance.now();
    }
    if (!pastIsRead) pastIsRead = await readPast(cursor ?? head);
  }

  /** Services and terms of before this database followed the registry, a few pages a pass. @returns whether all of it was read. */
  async function readPast(followed: Cursor): Promise<boolean> {
    if ((await findCursor(db, PAST_READ)) !== undefined) return true;
    const { fromBlock } = config.bazaar;
    const read = (await findCursor(db, PAST))?.blockNumber;
    const from = read === undefined || read < fromBlock ? fromBlock : read + 1n;
    const to = least(from + PAST_PAGES * LOG_PAGE_BLOCKS - 1n, followed.blockNumber);
    await readAgain(await touchedIn(from, to), await headOf(chain), "forward");
    // Read again when the chain was reorganised: by the follower, whose step back is longer than any of Base's.
    await saveCursor(db, PAST, { blockNumber: to, blockHash: followed.blockHash });
    log.info({ event: EVENT.listingSynced, past: String(to), followed: String(followed.blockNumber) }, "the registry's past was read this far");
    if (to < followed.blockNumber) return false;
    await saveCursor(db, PAST_READ, followed);
    return true;
  }

  async function begin(head: Cursor): Promise<void> {
    await readAgain(await dueAbove(db, -1n), head.blockNumber, "forward");
    await saveCursor(db, CURSOR, head);
  }

  async function catchUp(cursor: Cursor, head: Cursor): Promise<void> {
    // Views above the cursor were read when something was sent, of blocks nobody has followed: they may be of blocks that are gone.
    const due = await dueAbove(db, cursor.blockNumber);
    if (head.blockNumber === cursor.blockNumber) return readAgain(due, head.blockNumber, "forward");
    const touched = await touchedIn(overlapping(cursor), head.blockNumber);
    await readAgain(new Map([...due, ...touched]), head.blockNumber, "forward");
    await saveCursor(db, CURSOR, head);
  }

  async function rewind(from: bigint, head: Cursor): Promise<void> {
    // Logs that vanished cannot be asked for: every view above `from` is read again, whatever happened to it.
    await readAgain(new Map([...(await dueAbove(db, from)), ...(await touchedIn(from, head.blockNumber))]), head.blockNumber, "back");
    await saveCursor(db, CURSOR, head);
  }

  /** Services that something happened to; those that were listed there, and terms that are new, are kept. */
  async function touchedIn(from: bigint, to: bigint): Promise<Seen> {
    const ids = new Set<Hex>();
    const terms: [Hex, ServiceTerms][] = [];
    for await (const logs of logPages(deps, config.bazaar.registry, from, to)) {
      for (const { eventName, args } of parseEventLogs({ abi, logs, eventName: ["ServiceListed", "ServiceUpdated", "ServiceStatusChanged"] })) {
        const { serviceId } = args;
        ids.add(serviceId);
        // A text that the database cannot hold stays unknown, and what is sold under unknown terms is refused.
        if (eventName === "ServiceStatusChanged" || args.terms.offer.uri.includes("\0")) continue;
        terms.push([serviceId, args.terms]);
        if (eventName === "ServiceListed") await adoptListing(db, { serviceId, owner: args.owner, key: args.key, terms: args.terms });
      }
    }
    // Also of services that are not known yet: their listing may lie in a past that is read later.
    for (const [serviceId, seenTerms] of terms) await keepTerms(db, serviceId, seenTerms, { proposed: false }, MOST_SEEN_TERMS);
    return known(db, [...ids]);
  }

  async function readAgain(seen: Seen, block: bigint, direction: Direction): Promise<void> {
    if (seen.size === 0) return;
    for (const [id, view] of await readServices(deps, new Map([...seen].map(([serviceId, { key }]) => [serviceId, key])), block)) {
      const changed = await saveView(db, id, view, { followed: true, replaced: direction === "back" ? seen.get(id)?.block : undefined });
      if (changed !== undefined) deps.catalog.changed(changed);
      const moved = seen.get(id)!.key.agent === 0n ? undefined : await followOwner(db, id);
      if (moved !== undefined) deps.catalog.changed(moved);
      log.debug({ event: EVENT.listingSynced, serviceId: id, block: String(block), status: view.status, version: view.version, revision: view.revision });
    }
  }

  return follow;
}

const least = (a: bigint, b: bigint): bigint => (a < b ? a : b);
