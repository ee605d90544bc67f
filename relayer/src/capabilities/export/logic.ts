// Where a reader of the export stands. Pure.
import type { Hex } from "viem";
import { TallystickError } from "../../../../sdk/src/errors.ts";
import type { Page, Position } from "./store.ts";

export const BEGINNING: Position = { xid: 0n, channelId: undefined };

export const cursorOf = ({ xid, channelId }: Position): string => (channelId === undefined ? `${xid}` : `${xid}-${channelId.slice(2)}`);

/** @throws TallystickError 400 `cursor_malformed`. */
export function readCursor(cursor: string): Position {
  const [, xid, channelId] = /^(\d{1,19})(?:-([0-9a-f]{64}))?$/.exec(cursor) ?? [];
  if (xid !== undefined) return { xid: BigInt(xid), channelId: channelId === undefined ? undefined : (`0x${channelId}` as Hex) };
  throw new TallystickError({ code: "cursor_malformed", status: 400, retry: "never", field: "after", detail: "A cursor is what an earlier answer gave: a number, perhaps with a dash and 64 hex digits." });
}

export type Step = {
  /** Where the next page begins. */
  next: Position;
  /** Where a reader that has this page may resume later, at any process, without missing anything. */
  resume: Position;
  /** More is there now. */
  more: boolean;
};

/**
 * A row written by a transaction that began late can be visible before one of an earlier transaction that still runs, so a reader
 * never resumes above the oldest running one: what lies above is read again, and costs a repetition, never a gap.
 * @param held where an earlier page of the same pass had to stop.
 */
export function stepAfter({ states, settledBelow }: Page, pageSize: number, held: Position | undefined): Step {
  const last = states.at(-1);
  const more = states.length === pageSize && last !== undefined;
  const horizon = held ?? { xid: settledBelow, channelId: undefined };
  const next = more ? { xid: last.xid, channelId: last.channelId } : horizon;
  const isSettled = held === undefined && more && last.xid < settledBelow;
  return { next, resume: isSettled ? next : horizon, more };
}
