// SQL of statements: sums of the books, and what happened on chain.
import type { Address, Hex } from "viem";
import { toBytes, toHex } from "../../db/codec.ts";
import type { Queryable } from "../../db/pool.ts";
import type { Earned, Period, Refunded } from "./logic.ts";

/** Whose statement, and of what; `to` is exclusive. */
export type Subject = Period & { receiver: Address; token: Address };

const valuesOf = ({ receiver, token, from, to }: Subject): unknown[] => [toBytes(receiver), toBytes(token), from, to];
/** Of a timestamp column, $3 and $4 being days. */
const within = (column: string): string => `${column} >= $3::date::timestamp AT TIME ZONE 'UTC' AND ${column} < $4::date::timestamp AT TIME ZONE 'UTC'`;

export async function earned(db: Queryable, subject: Subject, limit: number): Promise<Earned[]> {
  const { rows } = await db.query<{ on_day: string; service: string; calls: bigint; gross: bigint; fees: bigint }>(
    `SELECT day::text AS on_day, service, sum(calls)::bigint AS calls, sum(gross_atomic) AS gross, sum(fee_atomic) AS fees FROM booked_day
     WHERE receiver = $1 AND token = $2 AND day >= $3::date AND day < $4::date GROUP BY day, service ORDER BY day, service LIMIT $5`,
    [...valuesOf(subject), limit],
  );
  return rows.map(({ on_day: day, service, calls, gross, fees }) => ({ day, service, calls: Number(calls), gross, fees }));
}

export async function refunded(db: Queryable, subject: Subject, limit: number): Promise<Refunded[]> {
  const { rows } = await db.query<{ on_day: string; service: string; amount: bigint }>(
    `SELECT (at AT TIME ZONE 'UTC')::date::text AS on_day, service, sum(amount) AS amount FROM provider_refund
     WHERE receiver = $1 AND token = $2 AND ${within("at")} GROUP BY 1, 2 ORDER BY 1, 2 LIMIT $5`,
    [...valuesOf(subject), limit],
  );
  return rows.map(({ on_day: day, service, amount }) => ({ day, service, amount }));
}

export type Flows = { channelBefore: bigint; channelWithin: bigint; directWithin: bigint; settledBefore: bigint; settledWithin: bigint; unclaimedNow: bigint };

export async function flows(db: Queryable, subject: Subject): Promise<Flows> {
  const { rows } = await db.query<Record<"channel_before" | "channel_within" | "direct_within" | "settled_before" | "settled_within" | "unclaimed", bigint>>(
    `SELECT b.*, s.*, (SELECT coalesce(sum(charged - total_claimed), 0) FROM channel WHERE receiver = $1 AND token = $2 AND charged > total_claimed) AS unclaimed
     FROM (
       SELECT coalesce(sum(gross_atomic) FILTER (WHERE scheme = 'batch-settlement' AND day < $3::date), 0) AS channel_before,
         coalesce(sum(gross_atomic) FILTER (WHERE scheme = 'batch-settlement' AND day >= $3::date), 0) AS channel_within,
         coalesce(sum(gross_atomic) FILTER (WHERE scheme <> 'batch-settlement' AND day >= $3::date), 0) AS direct_within
       FROM booked_day WHERE receiver = $1 AND token = $2 AND day < $4::date) b,
     (
       SELECT coalesce(sum(amount) FILTER (WHERE at < $3::date::timestamp AT TIME ZONE 'UTC'), 0) AS settled_before,
         coalesce(sum(amount) FILTER (WHERE at >= $3::date::timestamp AT TIME ZONE 'UTC'), 0) AS settled_within
       FROM settled_event WHERE receiver = $1 AND token = $2 AND at < $4::date::timestamp AT TIME ZONE 'UTC') s`,
    valuesOf(subject),
  );
  const row = rows[0]!;
  return {
    channelBefore: row.channel_before, channelWithin: row.channel_within, directWithin: row.direct_within,
    settledBefore: row.settled_before, settledWithin: row.settled_within, unclaimedNow: row.unclaimed,
  };
}

export type Transaction = { kind: "claim" | "settlement" | "refund"; at: Date; hash: Hex; block: bigint | undefined; amount: bigint };

/** In order of time. Claims are what this relayer claimed; settlements are the contract's events, whoever caused them. */
export async function transactions(db: Queryable, subject: Subject, limit: number): Promise<Transaction[]> {
  const { rows } = await db.query<{ kind: Transaction["kind"]; at: Date; hash: Buffer; block: bigint | null; amount: bigint }>(
    `SELECT 'claim' AS kind, b.resolved_at AS at, t.hash::bytea AS hash, t.block_number AS block, sum(r.claimed_atomic) AS amount
     FROM settlement_batch b JOIN chain_tx t USING (tx_id) JOIN settlement_row r USING (batch_id)
     WHERE b.receiver = $1 AND b.token = $2 AND b.state = 'done' AND r.state = 'claimed' AND r.claimed_atomic > 0 AND ${within("b.resolved_at")} GROUP BY b.batch_id, t.tx_id
     UNION ALL
     SELECT 'claim', f.resolved_at, t.hash::bytea, t.block_number, f.claimed_atomic
     FROM refund f JOIN channel c USING (channel_id) JOIN chain_tx t USING (tx_id) WHERE c.receiver = $1 AND c.token = $2 AND f.state = 'done' AND f.claimed_atomic > 0 AND ${within("f.resolved_at")}
     UNION ALL
     SELECT 'settlement', at, tx_hash::bytea, block_number, amount FROM settled_event WHERE receiver = $1 AND token = $2 AND ${within("at")}
     UNION ALL
     SELECT 'refund', at, tx_hash::bytea, NULL, amount FROM provider_refund WHERE receiver = $1 AND token = $2 AND ${within("at")}
     ORDER BY at, kind, hash LIMIT $5`,
    [...valuesOf(subject), limit],
  );
  return rows.map(({ kind, at, hash, block, amount }) => ({ kind, at, hash: toHex(hash), block: block ?? undefined, amount }));
}
