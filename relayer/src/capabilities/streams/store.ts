// SQL of streams. Each function is one statement: a step is charged and its bytes are stored together, or neither. Rows are locked
// in one order everywhere: stream, payment, channel.
import type { Address, Hex } from "viem";
import { toAddress, toBytes, toHex } from "../../db/codec.ts";
import type { Queryable } from "../../db/pool.ts";
import type { Answer } from "../ledger/types.ts";
import type { EndReason, Funds } from "./logic.ts";

/** A stream as it begins. */
export type StreamHead = {
  paymentId: string;
  /** Undefined: fixed price. */
  unitPrice: bigint | undefined;
  status: number;
  headers: Answer["headers"];
  startedAt: Date;
};

/** How a stream stands: its payment's money, and the channel's cumulative charge after its last step. */
export type Standing = Funds & { cumulative: bigint };

type FundsRow = { price_atomic: bigint; charged_atomic: bigint; charged_cumulative: bigint };
const standingOf = (row: FundsRow | undefined): Standing | undefined =>
  row === undefined ? undefined : { allowance: row.price_atomic, charged: row.charged_atomic, cumulative: row.charged_cumulative };

/** Begins a metered stream: nothing is charged yet, and the reservation stands until `leaseMs` from now. @returns false when it is gone. */
export async function beginMetered(db: Queryable, head: StreamHead, leaseMs: number): Promise<boolean> {
  const { rowCount } = await db.query({
    name: "stream_begin_metered",
    text: `WITH held AS (
             UPDATE payment SET reserved_until = now() + $6 * interval '1 millisecond', started_at = $5
             WHERE payment_id = $1 AND state = 'reserved' RETURNING ceiling, signature)
           INSERT INTO stream (payment_id, unit_price_atomic, status, headers, ceiling, signature, started_at, open_until)
           SELECT $1, $2, $3, $4, ceiling, signature, $5, now() + $6 * interval '1 millisecond' FROM held`,
    values: [head.paymentId, head.unitPrice, head.status, JSON.stringify(head.headers), head.startedAt, leaseMs],
  });
  return rowCount === 1;
}

/** Begins a stream at a fixed price: charges it. @returns undefined when the reservation is gone: nothing was charged. */
export async function beginFixed(db: Queryable, head: StreamHead, amount: bigint, leaseMs: number): Promise<Standing | undefined> {
  const { rows } = await db.query<FundsRow>({
    name: "stream_begin_fixed",
    text: `WITH held AS (
             SELECT payment_id, channel_id, price_atomic, ceiling, signature FROM payment
             WHERE payment_id = $1 AND state = 'reserved' AND $2 <= price_atomic FOR UPDATE),
           moved AS (
             UPDATE channel SET reserved = reserved - held.price_atomic, charged = charged + $2, request_count = request_count + 1,
               signed_signature = CASE WHEN held.ceiling > signed_ceiling THEN held.signature ELSE signed_signature END,
               signed_ceiling = GREATEST(signed_ceiling, held.ceiling)
             FROM held WHERE channel.channel_id = held.channel_id
             RETURNING channel.charged, channel.request_count),
           begun AS (
             INSERT INTO stream (payment_id, status, headers, ceiling, signature, started_at, open_until)
             SELECT $1, $3, $4, held.ceiling, held.signature, $5, now() + $6 * interval '1 millisecond' FROM held)
           UPDATE payment SET state = 'charged', charged_atomic = $2, charged_cumulative = moved.charged, request_number = moved.request_count,
             started_at = $5, resolved_at = now()
           FROM moved WHERE payment.payment_id = $1
           RETURNING price_atomic, charged_atomic, charged_cumulative`,
    values: [head.paymentId, amount, head.status, JSON.stringify(head.headers), head.startedAt, leaseMs],
  });
  return standingOf(rows[0]);
}

/**
 * Opens a broken stream at a fixed price once more: it is paid, and its answer is still owed. What the broken run left is dropped.
 * @returns false when it is not broken, the service broke it off `most` times already, or it is too old.
 */
export async function reopenFixed(db: Queryable, paymentId: string, most: number, ttlS: number, leaseMs: number): Promise<boolean> {
  const { rowCount } = await db.query(
    `WITH again AS (
       UPDATE stream SET state = 'open', runs = runs + CASE WHEN state = 'upstream_broken' THEN 1 ELSE 0 END, ended_at = NULL, open_until = now() + $4 * interval '1 millisecond'
       WHERE payment_id = $1 AND unit_price_atomic IS NULL AND (state = 'relayer_lost' OR (state = 'upstream_broken' AND runs < $2))
         AND started_at > now() - $3 * interval '1 second'
       RETURNING payment_id),
     dropped AS (DELETE FROM stream_chunk USING again WHERE stream_chunk.payment_id = again.payment_id)
     SELECT 1 FROM again`,
    [paymentId, most, ttlS, leaseMs],
  );
  return rowCount === 1;
}

/** A rerun's upstream may answer with another status and other headers than the run before. */
export async function replaceHead(db: Queryable, head: StreamHead): Promise<void> {
  await db.query("UPDATE stream SET status = $2, headers = $3 WHERE payment_id = $1 AND state = 'open'", [head.paymentId, head.status, JSON.stringify(head.headers)]);
}

/** Stores bytes of a stream at a fixed price, before they leave. @returns false when somebody else ended the stream. */
export async function keep(db: Queryable, paymentId: string, sealed: Uint8Array, leaseMs: number): Promise<boolean> {
  const { rowCount } = await db.query({
    name: "stream_keep",
    text: `WITH held AS (
             UPDATE stream SET open_until = now() + $3 * interval '1 millisecond' WHERE payment_id = $1 AND state = 'open' RETURNING payment_id)
           INSERT INTO stream_chunk (payment_id, body, sealed) SELECT payment_id, $2, true FROM held`,
    values: [paymentId, sealed, leaseMs],
  });
  return rowCount === 1;
}

/** One step of a metered stream: charges `amount` for `units` and stores the bytes that cost it. */
export type Step = { amount: bigint; units: number; sealed: Uint8Array };

/**
 * @returns undefined when the stream is over or its money does not cover the step: nothing was charged, nothing may leave.
 */
export async function charge(db: Queryable, paymentId: string, { amount, units, sealed }: Step, leaseMs: number): Promise<Standing | undefined> {
  const { rows } = await db.query<FundsRow>({
    name: "stream_charge",
    text: `WITH open_stream AS (
             UPDATE stream SET open_until = now() + $5 * interval '1 millisecond', units = units + $3 WHERE payment_id = $1 AND state = 'open'
             RETURNING ceiling, signature),
           held AS (
             SELECT p.channel_id, p.state AS was, o.ceiling, o.signature FROM payment p, open_stream o
             WHERE p.payment_id = $1 AND p.state IN ('reserved', 'charged') AND coalesce(p.charged_atomic, 0) + $2 <= p.price_atomic FOR UPDATE OF p),
           moved AS (
             UPDATE channel SET reserved = reserved - $2, charged = charged + $2,
               request_count = request_count + CASE WHEN held.was = 'reserved' AND $2 > 0 THEN 1 ELSE 0 END,
               signed_signature = CASE WHEN $2 > 0 AND held.ceiling > signed_ceiling THEN held.signature ELSE signed_signature END,
               signed_ceiling = CASE WHEN $2 > 0 THEN GREATEST(signed_ceiling, held.ceiling) ELSE signed_ceiling END
             FROM held WHERE channel.channel_id = held.channel_id
             RETURNING channel.charged, channel.request_count, held.was),
           kept AS (INSERT INTO stream_chunk (payment_id, body, sealed) SELECT $1, $4, true FROM moved)
           UPDATE payment SET reserved_until = now() + $5 * interval '1 millisecond',
             state = CASE WHEN $2 > 0 THEN 'charged' ELSE state END,
             charged_atomic = CASE WHEN $2 > 0 THEN coalesce(charged_atomic, 0) + $2 ELSE charged_atomic END,
             charged_cumulative = CASE WHEN $2 > 0 THEN moved.charged ELSE charged_cumulative END,
             request_number = CASE WHEN $2 > 0 AND moved.was = 'reserved' THEN moved.request_count ELSE request_number END,
             resolved_at = CASE WHEN $2 > 0 THEN now() ELSE resolved_at END
           FROM moved WHERE payment.payment_id = $1
           RETURNING price_atomic, coalesce(charged_atomic, 0) AS charged_atomic, coalesce(charged_cumulative, moved.charged) AS charged_cumulative`,
    values: [paymentId, amount, units, sealed, leaseMs],
  });
  return standingOf(rows[0]);
}

/** What a metered stream has and had. Undefined when it is over. */
export async function standing(db: Queryable, paymentId: string): Promise<Standing | undefined> {
  const { rows } = await db.query<FundsRow>({
    name: "stream_standing",
    text: `SELECT p.price_atomic, coalesce(p.charged_atomic, 0) AS charged_atomic, coalesce(p.charged_cumulative, c.charged) AS charged_cumulative
           FROM stream s JOIN payment p USING (payment_id) JOIN channel c USING (channel_id)
           WHERE s.payment_id = $1 AND s.state = 'open' AND p.state IN ('reserved', 'charged')`,
    values: [paymentId],
  });
  return standingOf(rows[0]);
}

/** What a stream at a fixed price was charged. */
export async function fixedStanding(db: Queryable, paymentId: string): Promise<Standing | undefined> {
  const { rows } = await db.query<FundsRow>("SELECT price_atomic, charged_atomic, charged_cumulative FROM payment WHERE payment_id = $1 AND state = 'charged'", [paymentId]);
  return standingOf(rows[0]);
}

/**
 * Lets a stream take `amount` more (all the headroom when undefined) under a new voucher; money rule 3 as one conditional update.
 * @returns the stream's allowance afterwards; undefined when the channel or the stream does not allow it.
 * @throws a violation of `stream_voucher_pkey` when this voucher extended this stream before.
 */
export async function extend(db: Queryable, paymentId: string, voucher: { ceiling: bigint; signature: Hex }, amount: bigint | undefined): Promise<bigint | undefined> {
  const { rows } = await db.query<{ price_atomic: bigint }>({
    name: "stream_extend",
    text: `WITH held AS (
             SELECT p.payment_id, p.channel_id FROM stream s JOIN payment p USING (payment_id)
             WHERE s.payment_id = $1 AND s.state = 'open' AND s.unit_price_atomic IS NOT NULL AND p.state IN ('reserved', 'charged') FOR UPDATE OF s, p),
           room AS (
             SELECT c.channel_id, coalesce($4::numeric, $2::numeric - c.charged - c.reserved) AS added FROM channel c, held
             WHERE c.channel_id = held.channel_id AND c.charged + c.reserved + coalesce($4::numeric, 1) <= $2::numeric AND $2::numeric <= c.balance
               AND c.withdraw_initiated_at = 0 AND c.frozen_by IS NULL FOR UPDATE OF c),
           moved AS (UPDATE channel SET reserved = reserved + room.added FROM room WHERE channel.channel_id = room.channel_id RETURNING room.added),
           noted AS (
             INSERT INTO stream_voucher (payment_id, ceiling, added_atomic) SELECT $1, $2, added FROM moved RETURNING added_atomic),
           newest AS (
             UPDATE stream SET signature = CASE WHEN $2::numeric > ceiling THEN $3 ELSE signature END, ceiling = GREATEST(ceiling, $2::numeric)
             FROM noted WHERE stream.payment_id = $1)
           UPDATE payment SET price_atomic = price_atomic + noted.added_atomic FROM noted WHERE payment.payment_id = $1 RETURNING price_atomic`,
    values: [paymentId, voucher.ceiling, toBytes(voucher.signature), amount ?? null],
  });
  return rows[0]?.price_atomic;
}

/** True when this voucher extended this stream before. */
export async function knowsVoucher(db: Queryable, paymentId: string, ceiling: bigint): Promise<boolean> {
  const { rows } = await db.query("SELECT 1 FROM stream_voucher WHERE payment_id = $1 AND ceiling = $2", [paymentId, ceiling]);
  return rows.length > 0;
}

export type StreamRow = {
  paymentId: string;
  channelId: Hex;
  payer: Address;
  payerAuthorizer: Address;
  service: string;
  unitPrice: bigint | undefined;
  state: "open" | EndReason;
  runs: number;
  status: number;
  headers: Answer["headers"];
};

export async function findStream(db: Queryable, paymentId: string): Promise<StreamRow | undefined> {
  const { rows } = await db.query<{
    channel_id: Buffer; payer: Buffer; payer_authorizer: Buffer; service: string; unit_price_atomic: bigint | null; state: StreamRow["state"]; runs: number; status: number; headers: Answer["headers"];
  }>({
    name: "stream_find",
    text: `SELECT p.channel_id, p.payer, c.payer_authorizer, p.service, s.unit_price_atomic, s.state, s.runs, s.status, s.headers
           FROM stream s JOIN payment p USING (payment_id) JOIN channel c USING (channel_id) WHERE s.payment_id = $1`,
    values: [paymentId],
  });
  const [row] = rows;
  if (row === undefined) return undefined;
  return {
    paymentId, channelId: toHex(row.channel_id), payer: toAddress(row.payer), payerAuthorizer: toAddress(row.payer_authorizer), service: row.service,
    unitPrice: row.unit_price_atomic ?? undefined, state: row.state, runs: row.runs, status: row.status, headers: row.headers,
  };
}

/** The stream, locked so that nobody charges it until the transaction ends; undefined when it is over. */
export async function lockOpen(client: Queryable, paymentId: string): Promise<StreamRow | undefined> {
  const { rowCount } = await client.query("SELECT 1 FROM stream WHERE payment_id = $1 AND state = 'open' FOR UPDATE", [paymentId]);
  return rowCount === 1 ? findStream(client, paymentId) : undefined;
}

/** What was committed of a stream, in order. */
export async function committed(db: Queryable, paymentId: string): Promise<{ body: Buffer; sealed: boolean }[]> {
  const { rows } = await db.query<{ body: Buffer; sealed: boolean }>("SELECT body, sealed FROM stream_chunk WHERE payment_id = $1 ORDER BY chunk_id", [paymentId]);
  return rows;
}

/** What a stream leaves: its end, and its answer where there is one to fetch. */
export type Ending = { reason: EndReason; endedAt: Date; answer: { sealed: Buffer; outputHash: Hex } | undefined };

/**
 * Ends a stream: gives back what it may not take any more, and stores what was committed as its answer. A reserved payment that
 * delivered something for nothing becomes charged with 0; one that delivered nothing is released.
 * @returns false when somebody else ended it.
 */
export async function end(db: Queryable, paymentId: string, { reason, endedAt, answer }: Ending, ttlS: number): Promise<boolean> {
  const { rowCount } = await db.query({
    name: "stream_end",
    text: `WITH ended AS (
             UPDATE stream SET state = $2, ended_at = $3 WHERE payment_id = $1 AND state = 'open' RETURNING unit_price_atomic, status, headers),
           held AS (
             SELECT p.channel_id, p.state AS was, CASE WHEN e.unit_price_atomic IS NULL THEN 0 ELSE p.price_atomic - coalesce(p.charged_atomic, 0) END AS unspent
             FROM payment p, ended e WHERE p.payment_id = $1 AND p.state IN ('reserved', 'charged') FOR UPDATE OF p),
           moved AS (
             UPDATE channel SET reserved = reserved - held.unspent,
               request_count = request_count + CASE WHEN held.was = 'reserved' AND $4::bytea IS NOT NULL THEN 1 ELSE 0 END
             FROM held WHERE channel.channel_id = held.channel_id RETURNING channel.charged, channel.request_count, held.was),
           resolved AS (
             UPDATE payment SET output_hash = $5, ended_at = $3, resolved_at = now(),
               state = CASE WHEN moved.was = 'charged' OR $4::bytea IS NOT NULL THEN 'charged' ELSE 'released' END,
               release_reason = CASE WHEN moved.was = 'reserved' AND $4::bytea IS NULL THEN $2 END,
               charged_atomic = CASE WHEN moved.was = 'reserved' AND $4::bytea IS NOT NULL THEN 0 ELSE charged_atomic END,
               charged_cumulative = CASE WHEN moved.was = 'reserved' AND $4::bytea IS NOT NULL THEN moved.charged ELSE charged_cumulative END,
               request_number = CASE WHEN moved.was = 'reserved' AND $4::bytea IS NOT NULL THEN moved.request_count ELSE request_number END
             FROM moved WHERE payment.payment_id = $1),
           kept AS (
             INSERT INTO answer (payment_id, status, body, sealed, expires_at)
             SELECT $1, e.status, $4, true, now() + $6 * interval '1 second' FROM ended e, moved WHERE $4::bytea IS NOT NULL),
           dropped AS (DELETE FROM stream_chunk USING ended WHERE payment_id = $1)
           SELECT 1 FROM ended`,
    values: [paymentId, reason, endedAt, answer?.sealed ?? null, answer === undefined ? null : toBytes(answer.outputHash), ttlS],
  });
  return rowCount === 1;
}

/** Streams whose process is gone. */
export async function findAbandoned(db: Queryable, limit: number): Promise<string[]> {
  const { rows } = await db.query<{ payment_id: string }>({
    name: "stream_abandoned",
    text: "SELECT payment_id FROM stream WHERE state = 'open' AND open_until < now() ORDER BY open_until LIMIT $1",
    values: [limit],
  });
  return rows.map((row) => row.payment_id);
}
