// SQL of the books: which payments became final, what they earned by day, and the fee of each. Set-based: a pass costs a handful of
// statements however many payments it takes in.
import type { Address } from "viem";
import { toBytes } from "../../db/codec.ts";
import type { Queryable } from "../../db/pool.ts";

/** Everything up to here is booked. */
export type BookPosition = { xid: bigint; paymentId: string };

/** The books' position, locked until the transaction ends; undefined while another process keeps them. */
export async function lockBooks(client: Queryable): Promise<BookPosition | undefined> {
  const { rows } = await client.query<{ xid: string; payment_id: string }>("SELECT xid::text, payment_id FROM fee_cursor FOR UPDATE SKIP LOCKED");
  return rows[0] && { xid: BigInt(rows[0].xid), paymentId: rows[0].payment_id };
}

/** The same, waiting for whoever keeps them. */
export async function waitForBooks(client: Queryable): Promise<BookPosition> {
  const { rows } = await client.query<{ xid: string; payment_id: string }>("SELECT xid::text, payment_id FROM fee_cursor FOR UPDATE");
  return { xid: BigInt(rows[0]!.xid), paymentId: rows[0]!.payment_id };
}

/**
 * The last of the next `limit` final payments, and how many they are. Below the oldest running transaction nothing new can appear, so what
 * is between two positions never changes: a slow transaction is waited for, not skipped.
 */
export async function nextEnd(client: Queryable, after: BookPosition, limit: number): Promise<{ end: BookPosition; payments: number } | undefined> {
  const { rows } = await client.query<{ last_xid: string; payment_id: string; payments: bigint }>(
    // Not named final_xid: ORDER BY would take the text, and 1000 comes before 999 there.
    `SELECT final_xid::text AS last_xid, payment_id, count(*) OVER () AS payments FROM (
       SELECT final_xid, payment_id FROM payment
       WHERE (final_xid, payment_id) > ($1::text::xid8, $2) AND final_xid < pg_snapshot_xmin(pg_current_snapshot())
       ORDER BY final_xid, payment_id LIMIT $3) AS next
     ORDER BY final_xid DESC, payment_id DESC LIMIT 1`,
    [String(after.xid), after.paymentId, limit],
  );
  const [row] = rows;
  return row === undefined ? undefined : { end: { xid: BigInt(row.last_xid), paymentId: row.payment_id }, payments: Number(row.payments) };
}

export type Batch = { after: BookPosition; end: BookPosition; /** Pays itself no fee. */ feeReceiver: Address; period: "day" | "month" };

/** The payments of a batch with what the terms of their time take of them. $1 to $4: positions; $5: fee receiver; $6: period. */
const BATCH = `
  SELECT b.*, div(b.charged_atomic * b.bps, 10000) AS fee, date_trunc($6::text, b.at AT TIME ZONE 'UTC') AT TIME ZONE 'UTC' AS period_from,
    (date_trunc($6::text, b.at AT TIME ZONE 'UTC') + ('1 ' || $6::text)::interval) AT TIME ZONE 'UTC' AS period_to
  FROM (
    SELECT p.payment_id, p.service, p.scheme, p.charged_atomic::numeric AS charged_atomic, p.resolved_at AS at, who.receiver, who.token,
      CASE WHEN who.receiver = $5::bytea THEN 0 ELSE coalesce(
        (SELECT t.fee_bps FROM fee_terms t WHERE t.receiver = who.receiver AND t.from_at <= p.resolved_at ORDER BY t.from_at DESC LIMIT 1),
        (SELECT t.fee_bps FROM fee_terms t WHERE t.receiver = '\\x0000000000000000000000000000000000000000'::bytea AND t.from_at <= p.resolved_at ORDER BY t.from_at DESC LIMIT 1),
        0) END AS bps
    FROM payment p LEFT JOIN channel c USING (channel_id)
      CROSS JOIN LATERAL (SELECT coalesce(p.receiver, c.receiver)::bytea AS receiver, coalesce(p.token, c.token)::bytea AS token) who
    WHERE (p.final_xid, p.payment_id) > ($1::text::xid8, $2) AND (p.final_xid, p.payment_id) <= ($3::text::xid8, $4)) b`;

const valuesOf = ({ after, end, feeReceiver, period }: Batch) => [String(after.xid), after.paymentId, String(end.xid), end.paymentId, toBytes(feeReceiver), period];

/** A draft invoice for whoever owes a fee of this batch and has none for its period. */
export async function ensureDrafts(client: Queryable, batch: Batch): Promise<void> {
  await client.query(
    `INSERT INTO invoice (receiver, token, period_from, period_to)
     SELECT DISTINCT receiver, token, period_from, period_to FROM (${BATCH}) batch WHERE bps > 0
     ON CONFLICT (receiver, token, period_from, period_to) WHERE state = 'draft' DO NOTHING`,
    valuesOf(batch),
  );
}

/** Books the batch: a line for each fee, the sums of the days, the drafts' totals, and the new position. One statement. */
export async function bookBatch(client: Queryable, batch: Batch): Promise<void> {
  await client.query(
    `WITH batch AS MATERIALIZED (${BATCH}),
     lines AS (
       INSERT INTO fee_line (payment_id, invoice_id, at, service, charged_atomic, fee_bps, fee_atomic)
       SELECT b.payment_id, i.invoice_id, b.at, b.service, b.charged_atomic, b.bps, b.fee
       FROM batch b JOIN invoice i ON i.state = 'draft' AND i.receiver = b.receiver AND i.token = b.token AND i.period_from = b.period_from AND i.period_to = b.period_to
       WHERE b.bps > 0
       RETURNING invoice_id, charged_atomic, fee_atomic),
     totals AS (
       UPDATE invoice SET calls = invoice.calls + s.calls, gross_atomic = invoice.gross_atomic + s.gross, fee_atomic = invoice.fee_atomic + s.fee
       FROM (SELECT invoice_id, count(*) AS calls, sum(charged_atomic) AS gross, sum(fee_atomic) AS fee FROM lines GROUP BY invoice_id) s
       WHERE invoice.invoice_id = s.invoice_id),
     days AS (
       INSERT INTO booked_day (receiver, token, day, service, scheme, fee_bps, calls, gross_atomic, fee_atomic)
       SELECT receiver, token, (at AT TIME ZONE 'UTC')::date, service, scheme, bps, count(*), sum(charged_atomic), sum(fee) FROM batch GROUP BY 1, 2, 3, 4, 5, 6
       ON CONFLICT (receiver, token, day, service, scheme, fee_bps) DO UPDATE SET calls = booked_day.calls + EXCLUDED.calls,
         gross_atomic = booked_day.gross_atomic + EXCLUDED.gross_atomic, fee_atomic = booked_day.fee_atomic + EXCLUDED.fee_atomic)
     UPDATE fee_cursor SET xid = $3::text::xid8, payment_id = $4`,
    valuesOf(batch),
  );
}

/** Everything that was final is in the books. */
export async function markBooked(client: Queryable): Promise<void> {
  await client.query("UPDATE fee_cursor SET booked_at = clock_timestamp()");
}

export async function bookedAt(db: Queryable): Promise<Date | undefined> {
  const { rows } = await db.query<{ booked_at: Date | null }>("SELECT booked_at FROM fee_cursor");
  return rows[0]?.booked_at ?? undefined;
}

/**
 * A database that was restored into a younger cluster: its payments carry transaction numbers that are still to come there. What was not
 * booked is numbered again; what was, never comes up again. @returns whether that was needed.
 */
export async function renumber(client: Queryable, position: BookPosition): Promise<boolean> {
  const { rows } = await client.query<{ younger: boolean }>("SELECT $1::text::xid8 >= pg_snapshot_xmax(pg_current_snapshot()) AS younger", [String(position.xid)]);
  if (!rows[0]!.younger) return false;
  await client.query(
    "UPDATE payment SET final_xid = CASE WHEN (final_xid, payment_id) > ($1::text::xid8, $2) THEN pg_current_xact_id() END WHERE final_xid IS NOT NULL",
    [String(position.xid), position.paymentId],
  );
  await client.query("UPDATE fee_cursor SET xid = '0', payment_id = ''");
  return true;
}
