// SQL of payments. Each function is one statement, so it happens whole or not at all; Postgres decides, never memory, so any relayer process
// may serve any channel. The three that move money take many payments at once: functions of migration 0011.
import { zeroHash, type Hex } from "viem";
import { NONE_AGREED, type Agreed } from "../../../../sdk/src/receipt.ts";
import { toAddress, toBytes, toHex } from "../../db/codec.ts";
import type { Queryable } from "../../db/pool.ts";
import type { ChainView } from "../channels/store.ts";
import type { Payment, PaymentRequest, SealedDelivery } from "./types.ts";

type Row = {
  payment_id: string; channel_id: Buffer; payer: Buffer; ceiling: bigint; signature: Buffer; service: string; request_hash: Buffer;
  client_id: string | null; price_atomic: bigint; charged_atomic: bigint | null; charged_cumulative: bigint | null;
  deposit_tx: Buffer | null; deposit_atomic: bigint | null; state: Payment["state"]; request_number: bigint | null;
  resource: string; output_hash: Buffer | null; started_at: Date | null; ended_at: Date | null;
} & AgreedRow;

/** What a payment's row says of what was agreed before it. */
export type AgreedRow = { mandate_id: Buffer | null; offer_hash: Buffer | null; session_id: Buffer | null; sla_met: number; receipt_format: number };

/** Rows of before the columns were there have receipts without them, for good. */
export function agreedFromRow({ receipt_format, offer_hash, mandate_id, session_id, sla_met }: AgreedRow): Agreed | undefined {
  if (receipt_format < 2) return undefined;
  if (offer_hash === null && mandate_id === null && session_id === null && sla_met === 0) return NONE_AGREED;
  const hash = (bytes: Buffer | null) => (bytes === null ? zeroHash : toHex(bytes));
  return { offer: hash(offer_hash), mandate: hash(mandate_id), session: hash(session_id), slaMet: sla_met };
}

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
    agreed: agreedFromRow(row),
    ...(row.session_id === null ? {} : { inSession: true }),
  };
}

/** One item of reserveAll. */
export type Reservation = { payment: PaymentRequest; leaseMs: number };
/** conflict: the payment, its voucher or its identifier is known. channel: the voucher does not cover it; logic.ts says why. */
export type Verdict = "reserved" | "conflict" | "channel" | "channel_exposure" | "payer_exposure" | "unbilled" | "answers_full";
/** Amounts in atomic units. */
export type ReserveLimits = { perChannelAtomic: bigint; perPayerAtomic: bigint; unbilledRunsPerMinute: number; storedAnswerBytes: number };

/** Sets prices aside where the vouchers cover them: money rule 3, in the order given; one verdict an item. */
export async function reserveAll(db: Queryable, items: readonly Reservation[], limits: ReserveLimits): Promise<Verdict[]> {
  const { rows } = await db.query<{ nth: bigint; outcome: Verdict }>({
    name: "payments_reserve",
    text: "SELECT nth, outcome FROM reserve_payments($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)",
    values: reserveValues(items, limits),
  });
  const verdicts: Verdict[] = [];
  for (const { nth, outcome } of rows) verdicts[Number(nth) - 1] = outcome;
  return verdicts;
}

/** The first sixteen parameters of the reserving functions: this one, and reserve_within_mandates. */
export function reserveValues(items: readonly Reservation[], limits: ReserveLimits): unknown[] {
  const of = <T>(pick: (payment: PaymentRequest, leaseMs: number) => T) => items.map(({ payment, leaseMs }) => pick(payment, leaseMs));
  return [
    of((p) => p.paymentId), of((p) => toBytes(p.channelId)), of((p) => p.ceiling), of((p) => p.price), of((p) => toBytes(p.signature)), of((p) => p.service),
    of((p) => toBytes(p.requestHash)), of((p) => p.clientId ?? null), of((p) => (p.deposit === undefined ? null : toBytes(p.deposit.hash))), of((p) => p.deposit?.amount ?? null),
    of((_p, leaseMs) => leaseMs), of((p) => p.resource), limits.perChannelAtomic, limits.perPayerAtomic, limits.unbilledRunsPerMinute, limits.storedAnswerBytes,
  ];
}

/** One item of chargeAll. */
export type Charge = SealedDelivery & { paymentId: string; amount: bigint; inSession?: boolean | undefined; periodS?: number | undefined };
/** What the buyer is told of its channel as of the charge. */
export type Standing = Pick<ChainView, "balance" | "totalClaimed" | "withdrawInitiatedAt" | "refundNonce">;
/** `amount` is what was charged: within a session it may be less than asked. */
export type Charged = { amount: bigint; chargedCumulative: bigint; requestNumber: bigint; standing: Standing; agreed: Agreed | undefined };

/**
 * Charges payments and stores their answers, together. The commit is durable before this returns.
 * @returns an item each; undefined where the reservation is gone (its lease ran out): then nothing was charged and nothing may be delivered.
 */
export async function chargeAll(db: Queryable, items: readonly Charge[], ttlS: number): Promise<(Charged | undefined)[]> {
  const { rows } = await db.query<ChargedRow>({ name: "payments_charge", text: "SELECT * FROM charge_payments($1, $2, $3, $4, $5, $6, $7, $8)", values: chargeValues(items, ttlS) });
  return chargedFrom(rows, items);
}

/** The first eight parameters of the charging functions: this one, charge_in_sessions and charge_by_period. */
export function chargeValues(items: readonly Charge[], ttlS: number): unknown[] {
  return [
    items.map((item) => item.paymentId), items.map((item) => item.amount), items.map((item) => item.status), items.map((item) => item.sealed), items.map((item) => toBytes(item.outputHash)),
    items.map((item) => item.startedAt), items.map((item) => item.endedAt), ttlS,
  ];
}

/** `amount` where that is not what was asked. */
export type ChargedRow = AgreedRow & {
  nth: bigint; cumulative: bigint; request_no: bigint; now_balance: bigint; now_claimed: bigint; withdrawing_at: bigint; next_refund: bigint; amount?: bigint;
};

export function chargedFrom(rows: readonly ChargedRow[], items: readonly Charge[]): (Charged | undefined)[] {
  const charged: (Charged | undefined)[] = items.map(() => undefined);
  for (const row of rows) {
    const standing = { balance: row.now_balance, totalClaimed: row.now_claimed, withdrawInitiatedAt: Number(row.withdrawing_at), refundNonce: row.next_refund };
    const at = Number(row.nth) - 1;
    charged[at] = { amount: row.amount ?? items[at]!.amount, chargedCumulative: row.cumulative, requestNumber: row.request_no, standing, agreed: agreedFromRow(row) };
  }
  return charged;
}

/** Gives reservations of whatever scheme back; nothing is charged. @returns an item each: false when it was resolved already. */
export async function releaseAll(db: Queryable, items: readonly { paymentId: string; reason: string }[]): Promise<boolean[]> {
  const { rows } = await db.query<{ released_id: string }>({
    name: "payments_release",
    text: "SELECT released_id FROM release_payments($1, $2)",
    values: [items.map(({ paymentId }) => paymentId), items.map(({ reason }) => reason)],
  });
  const released = new Set(rows.map(({ released_id }) => released_id));
  return items.map(({ paymentId }) => released.delete(paymentId));
}

/** True for the id of a payment in whatever state and scheme. */
export async function isTaken(db: Queryable, paymentId: string): Promise<boolean> {
  const { rowCount } = await db.query({ name: "payment_taken", text: "SELECT 1 FROM payment WHERE payment_id = $1", values: [paymentId] });
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
    text: "SELECT * FROM payment WHERE channel_id = $1 AND ceiling = $2 AND state <> 'released' AND (charged_atomic IS NULL OR charged_atomic > 0) AND NOT standing",
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

