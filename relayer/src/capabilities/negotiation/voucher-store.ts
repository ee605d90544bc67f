// SQL of vouchers that agents left for their sessions (migration 0027).
import type { Hex } from "viem";
import { toBytes, toHex } from "../../db/codec.ts";
import type { Queryable } from "../../db/pool.ts";
import type { SessionRefusal } from "./refusals.ts";

export type StandingVoucher = { channelId: Hex; ceiling: bigint; signature: Hex };
export type Kept = "kept" | "below" | "above_balance" | "above_budget" | "voucher_used" | SessionRefusal;

/** Durable when it returns. */
export async function keepVoucher(db: Queryable, sessionId: Hex, { channelId, ceiling, signature }: StandingVoucher): Promise<Kept> {
  const { rows } = await db.query<{ outcome: Kept }>("SELECT keep_session_voucher($1, $2, $3, $4) AS outcome", [toBytes(sessionId), toBytes(channelId), ceiling, toBytes(signature)]);
  return rows[0]!.outcome;
}

/** The highest that was left. */
export async function findVoucher(db: Queryable, sessionId: Hex): Promise<StandingVoucher | undefined> {
  const { rows } = await db.query<{ channel_id: Buffer; ceiling: bigint; signature: Buffer }>({
    name: "session_voucher", text: "SELECT channel_id, ceiling, signature FROM session_voucher WHERE session_id = $1::bytea ORDER BY ceiling DESC LIMIT 1", values: [toBytes(sessionId)],
  });
  return rows[0] === undefined ? undefined : { channelId: toHex(rows[0].channel_id), ceiling: rows[0].ceiling, signature: toHex(rows[0].signature) };
}
