// SQL of pay_request, and of payments of scheme transfer: reserved -> charged | released. Each function is one statement, so any process
// may take any step.
import type { Address, Hex } from "viem";
import { toAddress, toBytes, toHex } from "../../db/codec.ts";
import type { Queryable } from "../../db/pool.ts";
import { agreedFromRow, type AgreedRow } from "../ledger/store.ts";
import type { SealedDelivery } from "../ledger/types.ts";
import type { PayRequest, StoredTransferPayment, TransferPayment } from "./types.ts";

type RequestRow = {
  request_id: string; service: string; method: string; path: string; headers: PayRequest["headers"]; body: Buffer; request_hash: Buffer; price_atomic: bigint;
  receiver: Buffer; token: Buffer; created_at: Date; expires_at: Date; grace_until: Date;
};

function requestFromRow(row: RequestRow): PayRequest {
  return {
    requestId: row.request_id, service: row.service, method: row.method, path: row.path, headers: row.headers, body: row.body, requestHash: toHex(row.request_hash),
    price: row.price_atomic, receiver: toAddress(row.receiver), token: toAddress(row.token), createdAt: row.created_at, expiresAt: row.expires_at, graceUntil: row.grace_until,
  };
}

export type NewRequest = Omit<PayRequest, "createdAt" | "expiresAt" | "graceUntil"> & { source: string; idempotencyKey: string | undefined; ttlS: number; graceS: number };

/** @returns undefined when the service has `most` open requests. @throws a violation of pay_request_idempotency when the key was used. */
export async function insertRequest(db: Queryable, request: NewRequest, most: number): Promise<PayRequest | undefined> {
  const { rows } = await db.query<RequestRow>({
    name: "pay_request_insert",
    text: `INSERT INTO pay_request (request_id, service, method, path, headers, body, request_hash, price_atomic, receiver, token, source, idempotency_key, expires_at, grace_until)
           SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, now() + $13 * interval '1 second', now() + ($13 + $14) * interval '1 second'
           WHERE (SELECT count(*) FROM (SELECT 1 FROM pay_request WHERE service = $2 AND NOT paid AND expires_at > now() LIMIT $15) AS open) < $15
           RETURNING *`,
    values: [request.requestId, request.service, request.method, request.path, JSON.stringify(request.headers), request.body, toBytes(request.requestHash), request.price,
      toBytes(request.receiver), toBytes(request.token), request.source, request.idempotencyKey ?? null, request.ttlS, request.graceS, most],
  });
  return rows[0] === undefined ? undefined : requestFromRow(rows[0]);
}

export async function findRequest(db: Queryable, requestId: string): Promise<PayRequest | undefined> {
  const { rows } = await db.query<RequestRow>({ name: "pay_request_find", text: "SELECT * FROM pay_request WHERE request_id = $1", values: [requestId] });
  return rows[0] === undefined ? undefined : requestFromRow(rows[0]);
}

export async function findByIdempotencyKey(db: Queryable, source: string, key: string): Promise<PayRequest | undefined> {
  const { rows } = await db.query<RequestRow>({ name: "pay_request_by_key", text: "SELECT * FROM pay_request WHERE source = $1 AND idempotency_key = $2", values: [source, key] });
  return rows[0] === undefined ? undefined : requestFromRow(rows[0]);
}

/** Forgets requests that nobody paid for in time, and delivered ones whose answer is no longer kept; never one that is owed. */
export async function deleteOver(db: Queryable, limit: number): Promise<void> {
  await db.query({
    name: "pay_request_delete_over",
    text: `DELETE FROM pay_request WHERE request_id IN (
             SELECT r.request_id FROM pay_request r WHERE r.grace_until < now() AND NOT EXISTS (
               SELECT 1 FROM payment p WHERE p.request_id = r.request_id AND (
                 p.state = 'reserved'
                 OR EXISTS (SELECT 1 FROM answer a WHERE a.payment_id = p.payment_id)
                 OR p.state = 'released' AND NOT EXISTS (
                   SELECT 1 FROM payment d WHERE d.payer = p.payer AND d.token = p.token AND d.authorization_nonce = p.authorization_nonce AND d.state = 'charged')))
             LIMIT $1)`,
    values: [limit],
  });
}

type Row = {
  payment_id: string; request_id: string; payer: Buffer; receiver: Buffer; token: Buffer; authorization_nonce: Buffer; signature: Buffer; settled_tx: Buffer; service: string; resource: string;
  request_hash: Buffer; price_atomic: bigint; state: StoredTransferPayment["state"]; reserved_at: Date; output_hash: Buffer | null; started_at: Date | null; ended_at: Date | null;
} & AgreedRow;

function fromRow(row: Row): StoredTransferPayment {
  return {
    paymentId: row.payment_id, requestId: row.request_id, payer: toAddress(row.payer), receiver: toAddress(row.receiver), token: toAddress(row.token), key: toHex(row.authorization_nonce),
    signature: toHex(row.signature), txHash: toHex(row.settled_tx), service: row.service, resource: row.resource, requestHash: toHex(row.request_hash), price: row.price_atomic, state: row.state,
    reservedAt: row.reserved_at, outputHash: row.output_hash === null ? undefined : toHex(row.output_hash), startedAt: row.started_at ?? undefined, endedAt: row.ended_at ?? undefined,
    agreed: agreedFromRow(row),
  };
}

/** Sets the transfer aside for its request. @throws a violation of payment_authorization when it is spent or being spent. */
export async function reserve(db: Queryable, payment: TransferPayment, leaseMs: number): Promise<void> {
  await db.query({
    name: "transfer_reserve",
    text: `WITH taken AS (UPDATE pay_request SET paid = true WHERE request_id = $2 AND NOT paid)
           INSERT INTO payment (payment_id, scheme, request_id, payer, receiver, token, authorization_nonce, signature, settled_tx, service, resource, request_hash, price_atomic, reserved_until)
           VALUES ($1, 'transfer', $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, now() + $13 * interval '1 millisecond')`,
    values: [payment.paymentId, payment.requestId, toBytes(payment.payer), toBytes(payment.receiver), toBytes(payment.token), toBytes(payment.key), toBytes(payment.signature),
      toBytes(payment.txHash), payment.service, payment.resource, toBytes(payment.requestHash), payment.price, leaseMs],
  });
}

/** Charges and stores the answer, together. @returns false when the reservation is gone. */
export async function charge(db: Queryable, paymentId: string, { status, sealed, outputHash, startedAt, endedAt }: SealedDelivery, ttlS: number): Promise<boolean> {
  const { rowCount } = await db.query({
    name: "transfer_charge",
    text: `WITH held AS (
             UPDATE payment SET state = 'charged', charged_atomic = price_atomic, charged_cumulative = price_atomic, request_number = 1, resolved_at = now(),
               output_hash = $2, started_at = $3, ended_at = $4
             WHERE payment_id = $1 AND state = 'reserved' AND scheme = 'transfer' RETURNING payment_id),
           kept AS (
             INSERT INTO answer (payment_id, status, body, sealed, expires_at) SELECT payment_id, $5, $6, true, now() + $7 * interval '1 second' FROM held)
           SELECT 1 FROM held`,
    values: [paymentId, toBytes(outputHash), startedAt, endedAt, status, sealed, ttlS],
  });
  return rowCount === 1;
}

/** What a transfer buys, bought, or tried to buy; the newest attempt. */
export async function findByKey(db: Queryable, token: Address, payer: Address, key: Hex): Promise<StoredTransferPayment | undefined> {
  return one(db, "transfer_by_key", "token = $1 AND payer = $2 AND authorization_nonce = $3 ORDER BY (state <> 'released') DESC, reserved_at DESC LIMIT 1", [toBytes(token), toBytes(payer), toBytes(key)]);
}

export async function findTransferPayment(db: Queryable, paymentId: string): Promise<StoredTransferPayment | undefined> {
  return one(db, "transfer_find", "payment_id = $1", [paymentId]);
}

async function one(db: Queryable, name: string, where: string, values: unknown[]): Promise<StoredTransferPayment | undefined> {
  const { rows } = await db.query<Row>({ name, text: `SELECT * FROM payment WHERE scheme = 'transfer' AND ${where}`, values });
  return rows[0] === undefined ? undefined : fromRow(rows[0]);
}

/** A payer's transfers for a request and what became of each: one row a transfer, the newest first. */
export async function listPurchases(db: Queryable, payer: Address, requestId: string, limit: number): Promise<StoredTransferPayment[]> {
  const { rows } = await db.query<Row>({
    name: "transfer_list",
    text: `SELECT * FROM (
             SELECT DISTINCT ON (authorization_nonce) * FROM payment WHERE scheme = 'transfer' AND payer = $1 AND request_id = $2
             ORDER BY authorization_nonce, (state <> 'released') DESC, reserved_at DESC) AS latest
           ORDER BY reserved_at DESC LIMIT $3`,
    values: [toBytes(payer), requestId, limit],
  });
  return rows.map(fromRow);
}

/** True for a transaction of our own submitter. */
export async function isOurs(db: Queryable, txHash: Hex): Promise<boolean> {
  const { rowCount } = await db.query({ name: "transfer_is_ours", text: "SELECT 1 FROM chain_tx WHERE hash = $1 UNION ALL SELECT 1 FROM chain_tx_version WHERE hash = $1", values: [toBytes(txHash)] });
  return (rowCount ?? 0) > 0;
}
