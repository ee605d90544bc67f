// Where readers stand, and what a decision came to. Pure.
import { TallystickError } from "../../../../sdk/src/errors.ts";
import type { EntryPosition, SealPosition } from "./read-store.ts";

export const sealCursor = ({ xid, epochNo, number }: SealPosition): string => `s${xid}-${epochNo}-${number}`;
export const entryCursor = ({ at, epochNo, seq }: EntryPosition): string => `e${at.getTime()}-${epochNo}-${seq}`;

/** @throws TallystickError 400 `cursor_malformed`. */
export function readSealCursor(cursor: string): SealPosition {
  const [, xid, epochNo, number] = /^s(\d{1,19})-(\d{1,19})-(\d{1,19})$/.exec(cursor) ?? [];
  if (xid === undefined) throw malformed();
  return { xid: BigInt(xid), epochNo: BigInt(epochNo!), number: BigInt(number!) };
}

/** @throws TallystickError 400 `cursor_malformed`. */
export function readEntryCursor(cursor: string): EntryPosition {
  const [, ms, epochNo, seq] = /^e(\d{1,14})-(\d{1,19})-(\d{1,19})$/.exec(cursor) ?? [];
  if (ms === undefined) throw malformed();
  return { at: new Date(Number(ms)), epochNo: BigInt(epochNo!), seq: BigInt(seq!) };
}

function malformed(): TallystickError {
  return new TallystickError({ code: "cursor_malformed", status: 400, retry: "never", field: "after", detail: "A cursor is what the end line of an earlier export, or an earlier page, gave." });
}
