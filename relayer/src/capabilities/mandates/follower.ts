// Follows the registry: who revoked, who began a new epoch, what was spent there. As with channels (channels/follower.ts), events only say what
// to look at, what is written comes from reads at the head, and a revocation counts from its block on. When the block that holds the
// cursor is gone, everything that was read lately is read again: a revocation that vanished is taken back.
import { parseEventLogs, type Address, type Hex } from "viem";
import { mandateRegistryAbi as abi } from "../../../../sdk/src/abi/mandate-registry.ts";
import { createChainFollower, logPages, overlapping, type Direction } from "../../chain/follow.ts";
import type { Deps } from "../../deps.ts";
import { EVENT } from "../../telemetry/log.ts";
import { saveCursor, type Cursor } from "../channels/cursor-store.ts";
import { readEpochs, readMandates, registryStands } from "./chain-view.ts";
import { registered, saveEpoch, saveView, dueAbove, type Seen } from "./chain-store.ts";

export type FollowDeps = Pick<Deps, "chain" | "config" | "db" | "log" | "reached">;

const CURSOR = "mandates";

/** @returns one pass, to be called again and again. It throws when the chain or the database cannot be reached. */
export function createMandateFollower(deps: FollowDeps): () => Promise<unknown> {
  const { config, db, log } = deps;

  /** What was registered before anything was followed is read once. */
  async function begin(head: Cursor): Promise<void> {
    await readAgain(await dueAbove(db, -1n), head.blockNumber, "forward");
    await saveCursor(db, CURSOR, head);
  }

  async function catchUp(cursor: Cursor, head: Cursor): Promise<void> {
    // Views above the cursor were read when they were registered, of blocks nobody has followed: they may be of blocks that are gone.
    const due = await dueAbove(db, cursor.blockNumber);
    if (head.blockNumber === cursor.blockNumber) return readAgain(due, head.blockNumber, "forward");
    const touched = await touchedIn(overlapping(cursor), head.blockNumber);
    await readAgain(both(due, touched), head.blockNumber, "forward");
    deps.reached("mandates.synced");
    await saveCursor(db, CURSOR, head);
    deps.reached("cursor.saved");
  }

  async function rewind(from: bigint, head: Cursor): Promise<void> {
    // Logs that vanished cannot be asked for: every view above `from` is read again, whatever happened to it.
    await readAgain(both(await dueAbove(db, from), await touchedIn(from, head.blockNumber)), head.blockNumber, "back");
    await saveCursor(db, CURSOR, head);
  }

  async function touchedIn(from: bigint, to: bigint): Promise<Seen> {
    const ids = new Set<Hex>();
    const principals = new Set<Address>();
    for await (const logs of logPages(deps, config.mandateRegistry, from, to)) {
      for (const { args } of parseEventLogs({ abi, logs, eventName: ["MandateApproved", "MandateSpent", "MandateRevoked"] })) ids.add(args.mandateId);
      for (const { args } of parseEventLogs({ abi, logs, eventName: "EpochBumped" })) principals.add(args.principal);
    }
    return registered(db, [...ids], [...principals]);
  }

  async function readAgain({ mandates, principals }: Seen, block: bigint, direction: Direction): Promise<void> {
    const saving = (seen: bigint | undefined) => ({ followed: true, replaced: direction === "back" ? seen : undefined });
    for (const [id, view] of await readMandates(deps, [...mandates.keys()], block)) {
      await saveView(db, id, view, saving(mandates.get(id)));
      log.debug({ event: EVENT.mandateSynced, mandateId: id, block: String(block), revoked: view.revoked, spent: String(view.spent) });
    }
    for (const [principal, epoch] of await readEpochs(deps, [...principals.keys()], block)) await saveEpoch(db, principal, epoch, block, saving(principals.get(principal)));
  }

  return createChainFollower(deps, { cursor: CURSOR, event: EVENT.mandateSynced, stands: () => registryStands(deps), begin, catchUp, rewind });
}

const both = (a: Seen, b: Seen): Seen => ({ mandates: new Map([...a.mandates, ...b.mandates]), principals: new Map([...a.principals, ...b.principals]) });
