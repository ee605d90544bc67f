// Follows the event log for one reader: everything of a party after a position, then what comes, in order, without gap or repetition.
import { setTimeout as sleep } from "node:timers/promises";
import type { Address } from "viem";
import { TallystickError } from "../../../../sdk/src/errors.ts";
import type { Deps } from "../../deps.ts";
import { deleteOld, eventsAfter, newestPosition, type Position, type StoredEvent } from "./store.ts";

const PAGE = 200;
const POLL_MS = 250;
const KEPT_S = 7 * 86_400;
const DELETE_BATCH = 5_000;

export const idOf = ({ xid, eventId }: Position): string => `${xid}-${eventId}`;

/** @throws TallystickError 400 `last_event_id_malformed`. */
export function readPosition(id: string): Position {
  const [, xid, eventId] = /^(\d{1,19})-(\d{1,19})$/.exec(id) ?? [];
  if (xid !== undefined && eventId !== undefined) return { xid: BigInt(xid), eventId: BigInt(eventId) };
  throw new TallystickError({ code: "last_event_id_malformed", status: 400, retry: "never", field: "Last-Event-ID", detail: "Last-Event-ID is the id of an event of this stream: two numbers with a dash." });
}

/** From a position on, or from now when there is none. Ends when the signal aborts. */
export async function* follow({ db }: Pick<Deps, "db">, party: Address, from: Position | undefined, signal: AbortSignal): AsyncGenerator<StoredEvent[]> {
  let position = from ?? (await newestPosition(db));
  while (!signal.aborted) {
    const events = await eventsAfter(db, party, position, PAGE);
    position = events.at(-1) ?? position;
    yield events;
    if (events.length < PAGE) await sleep(POLL_MS, undefined, { signal }).catch(() => {}); // aborted: the loop ends
  }
}

export async function sweepEvents({ db }: Pick<Deps, "db">): Promise<void> {
  await deleteOld(db, KEPT_S, DELETE_BATCH);
}
