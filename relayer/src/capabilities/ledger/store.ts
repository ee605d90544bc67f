// SQL of payments and answers. Each function is one statement, so it happens whole or not at all; conditional updates in
// Postgres decide, never memory, so any relayer process may serve any channel.
import type { Hex } from "viem";
import { toAddress, toBytes, toHex } from "../../db/codec.ts";
import type { Queryable } from "../../db/pool.ts";
import type { Refusal } from "./logic.ts";
import type { Answer, Delivery, Payment, PaymentRequest } from "./types.ts";

type Row = {
  payment_id: string; channel_id: Buffer; payer: Buffer; ceiling: bigint; signature: Buffer; service: string; request_hash: Buffer;
  client_id: string | null; price_atomic: bigint; charged_atomic: bigint | null; charged_cumulative: bigint | null;
  deposit_tx: Buffer | null; deposit_atomic: bigint | null; state: Payment["state"]; request_number: bigint | null;
  resource: string; output_hash: Buffer | null; started_at: Date | null; ended_at: Date | null;
};

function paymentFromRow(row: Row): Payment {
  return {
    paymentId: row.payment_id,
    channelId: toHex(row.channel_id),
    payer: toAddress(row.payer),
    ceiling: row.ceiling,
    signature: toHex(row.signature),
    service: row.service,
    resource: row.resource,
    price: row.price_atomic,
    requestHash: toHex(row.request_hash),
    clientId: row.client_id ?? undefined,
    deposit: row.deposit_tx === null || row.deposit_atomic === null ? undefined : { hash: toHex(row.deposit_tx), amount: row.deposit_atomic },
    state: row.state,
    charged: row.charged_atomic ?? undefined,
    chargedCumulative: row.charged_cumulative ?? undefined,
    requestNumber: row.request_number ?? undefined,
    outputHash: row.output_hash === null ? undefined : toHex(row.output_hash),
    startedAt: row.started_at ?? undefined,
    endedAt: row.ended_at ?? undefined,
  };
}

/**
 * Sets the price aside when the voucher covers it; money rule 3 as one conditional update.
 * @returns false when the channel does not allow it (logic.ts says why).
 * @throws a violation of `payment_voucher`, `payment_client_id` or `payment_pkey` when the payment is known.
 */
export async function reserve(db: Queryable, payment: PaymentRequest, leaseMs: number): Promise<boolean> {
  const { rowCount } = await db.query({
    name: "payment_reserve",
    text: `WITH held AS (
             UPDATE channel SET reserved = reserved + $4
             WHERE channel_id = $2 AND charged + reserved + $4 <= $3 AND $3 <= balance AND withdraw_initiated_at = 0
               AND frozen_by IS NULL AND payer_authorizer <> '\\x0000000000000000000000000000000000000000'
             RETURNING channel_id, payer)
           INSERT INTO payment (payment_id, channel_id, payer, ceiling, signature, service, request_hash, client_id, price_atomic,
             deposit_tx, deposit_atomic, reserved_until, resource)
           SELECT $1, channel_id, payer, $3, $5, $6, $7, $8, $4, $9, $10, now() + $11 * interval '1 millisecond', $12 FROM held`,
    values: [payment.paymentId, toBytes(payment.channelId), payment.ceiling, payment.price, toBytes(payment.signature), payment.service,
      toBytes(payment.requestHash), payment.clientId ?? null, payment.deposit === undefined ? null : toBytes(payment.deposit.hash),
      payment.deposit?.amount ?? null, leaseMs, payment.resource],
  });
  return rowCount === 1;
}

export type Charged = { chargedCumulative: bigint; requestNumber: bigint };

/**
 * Charges the payment and stores its answer, together. The commit is durable before this returns.
 * @returns undefined when the reservation is gone (its lease ran out): then nothing was charged and nothing may be delivered.
 */
export async function charge(db: Queryable, paymentId: string, { amount, answer, startedAt, endedAt }: Delivery, outputHash: Hex, ttlS: number): Promise<Charged | undefined> {
  const { rows } = await db.query<{ charged: bigint; request_count: bigint }>({
    name: "payment_charge",
    text: `WITH held AS (
             SELECT payment_id, channel_id, price_atomic, ceiling, signature FROM payment
             WHERE payment_id = $1 AND state = 'reserved' AND $2 <= price_atomic FOR UPDATE),
           moved AS (
             UPDATE channel SET reserved = reserved - held.price_atomic, charged = charged + $2, request_count = request_count + 1,
               signed_signature = CASE WHEN held.ceiling > signed_ceiling THEN held.signature ELSE signed_signature END,
               signed_ceiling = GREATEST(signed_ceiling, held.ceiling)
             FROM held WHERE channel.channel_id = held.channel_id
             RETURNING channel.charged, channel.request_count),
           resolved AS (
             UPDATE payment SET state = 'charged', charged_atomic = $2, charged_cumulative = moved.charged,
               request_number = moved.request_count, resolved_at = now(), output_hash = $7, started_at = $8, ended_at = $9
             FROM moved WHERE payment.payment_id = $1),
           kept AS (
             INSERT INTO answer (payment_id, status, headers, body, expires_at)
             SELECT $1, $3, $4, $5, now() + $6 * interval '1 second' FROM moved)
           SELECT charged, request_count FROM moved`,
    values: [paymentId, amount, answer.status, JSON.stringify(answer.headers), answer.body, ttlS, toBytes(outputHash), startedAt, endedAt],
  });
  return rows[0] === undefined ? undefined : { chargedCumulative: rows[0].charged, requestNumber: rows[0].request_count };
}

/** Gives a reservation back; nothing is charged. @returns false when it was resolved already. */
export async function release(db: Queryable, paymentId: string, reason: string): Promise<boolean> {
  const { rowCount } = await db.query({
    name: "payment_release",
    text: `WITH freed AS (
             UPDATE payment SET state = 'released', release_reason = $2, resolved_at = now()
             WHERE payment_id = $1 AND state = 'reserved' RETURNING channel_id, price_atomic),
           back AS (
             UPDATE channel SET reserved = reserved - freed.price_atomic FROM freed WHERE channel.channel_id = freed.channel_id)
           SELECT 1 FROM freed`,
    values: [paymentId, reason],
  });
  return rowCount === 1;
}

/** Payments whose process died or hung: their lease ran out. */
export async function findExpired(db: Queryable, limit: number): Promise<string[]> {
  const { rows } = await db.query<{ payment_id: string }>({
    name: "payment_expired",
    text: "SELECT payment_id FROM payment WHERE state = 'reserved' AND reserved_until < now() ORDER BY reserved_until LIMIT $1",
    values: [limit],
  });
  return rows.map((row) => row.payment_id);
}

/** What a voucher bought or is buying; one that was charged nothing is free for another request. */
export async function findByVoucher(db: Queryable, channelId: Hex, ceiling: bigint): Promise<Payment | undefined> {
  const { rows } = await db.query<Row>({
    name: "payment_by_voucher",
    text: "SELECT * FROM payment WHERE channel_id = $1 AND ceiling = $2 AND state <> 'released' AND (charged_atomic IS NULL OR charged_atomic > 0)",
    values: [toBytes(channelId), ceiling],
  });
  return rows[0] === undefined ? undefined : paymentFromRow(rows[0]);
}

export async function findByClientId(db: Queryable, channelId: Hex, clientId: string): Promise<Payment | undefined> {
  const { rows } = await db.query<Row>({
    name: "payment_by_client_id",
    text: "SELECT * FROM payment WHERE channel_id = $1 AND client_id = $2 AND state <> 'released'",
    values: [toBytes(channelId), clientId],
  });
  return rows[0] === undefined ? undefined : paymentFromRow(rows[0]);
}

export async function findPayment(db: Queryable, paymentId: string): Promise<Payment | undefined> {
  const { rows } = await db.query<Row>({ name: "payment_find", text: "SELECT * FROM payment WHERE payment_id = $1 AND channel_id IS NOT NULL", values: [paymentId] });
  return rows[0] === undefined ? undefined : paymentFromRow(rows[0]);
}

export async function findAnswer(db: Queryable, paymentId: string): Promise<Answer | undefined> {
  const { rows } = await db.query<{ status: number; headers: Answer["headers"]; body: Buffer }>({
    name: "answer_find",
    text: "SELECT status, headers, body FROM answer WHERE payment_id = $1 AND expires_at > now()",
    values: [paymentId],
  });
  return rows[0];
}

/** Of a payment without an answer: its stream is under way, or was paid at a fixed price and broke off. See streams/README.md. */
export async function findStreamState(db: Queryable, paymentId: string): Promise<"open" | "owed" | undefined> {
  const { rows } = await db.query<{ state: "open" | "owed" }>({
    name: "stream_state",
    text: `SELECT CASE WHEN state = 'open' THEN 'open' ELSE 'owed' END AS state FROM stream
           WHERE payment_id = $1 AND (state = 'open' OR (unit_price_atomic IS NULL AND state IN ('upstream_broken', 'relayer_lost')))`,
    values: [paymentId],
  });
  return rows[0]?.state;
}

export async function deleteExpiredAnswers(db: Queryable, limit: number): Promise<number> {
  const { rowCount } = await db.query({
    name: "answer_expire",
    text: "DELETE FROM answer WHERE payment_id IN (SELECT payment_id FROM answer WHERE expires_at < now() LIMIT $1)",
    values: [limit],
  });
  return rowCount ?? 0;
}

/** Upstream runs of a payer in the last minute that ended without a charge. */
export async function countUnbilledRuns(db: Queryable, payer: Hex): Promise<number> {
  const { rows } = await db.query<{ runs: bigint }>({
    name: "payment_unbilled",
    text: `SELECT count(*) AS runs FROM payment
           WHERE payer = $1 AND state = 'released' AND resolved_at > now() - interval '1 minute'`,
    values: [toBytes(payer)],
  });
  return Number(rows[0]?.runs ?? 0n);
}

export type AuditEntry = { paymentId: string; channelId: Hex | undefined; payer: Hex; service: string; code: Refusal | string; detail: Record<string, unknown> };

/** Records that a payment with a valid signature was refused and moved nothing. */
export async function insertAudit(db: Queryable, entry: AuditEntry): Promise<void> {
  await db.query({
    name: "audit_insert",
    text: "INSERT INTO audit (payment_id, channel_id, payer, service, code, detail) VALUES ($1, $2, $3, $4, $5, $6)",
    values: [entry.paymentId, entry.channelId === undefined ? null : toBytes(entry.channelId), toBytes(entry.payer), entry.service, entry.code, JSON.stringify(entry.detail)],
  });
}
