// SQL of payments in the scheme exact: reserved -> settling (the answer is stored and withheld) -> charged | released. Each function is
// one conditional statement, so any process may take any step.
import type { Address, Hex } from "viem";
import { toAddress, toBytes, toHex } from "../../db/codec.ts";
import type { Queryable } from "../../db/pool.ts";
import type { Delivery } from "../ledger/types.ts";
import type { Authorization } from "./types.ts";

export type ExactRequest = {
  paymentId: string;
  authorization: Authorization;
  token: Address;
  service: string;
  resource: string;
  /** Atomic units: what is paid, exactly. */
  price: bigint;
  requestHash: Hex;
  clientId: string | undefined;
};

export type ExactPayment = ExactRequest & {
  state: "reserved" | "settling" | "charged" | "released";
  settledTx: Hex | undefined;
  outputHash: Hex | undefined;
  startedAt: Date | undefined;
  endedAt: Date | undefined;
};

type Row = {
  payment_id: string; payer: Buffer; receiver: Buffer; token: Buffer; authorization_nonce: Buffer; signature: Buffer; valid_after: bigint; valid_before: bigint;
  service: string; resource: string; price_atomic: bigint; request_hash: Buffer; client_id: string | null; state: ExactPayment["state"]; settled_tx: Buffer | null;
  output_hash: Buffer | null; started_at: Date | null; ended_at: Date | null;
};

function fromRow(row: Row): ExactPayment {
  return {
    paymentId: row.payment_id,
    authorization: {
      from: toAddress(row.payer), to: toAddress(row.receiver), value: row.price_atomic, validAfter: row.valid_after, validBefore: row.valid_before,
      nonce: toHex(row.authorization_nonce), signature: toHex(row.signature),
    },
    token: toAddress(row.token),
    service: row.service,
    resource: row.resource,
    price: row.price_atomic,
    requestHash: toHex(row.request_hash),
    clientId: row.client_id ?? undefined,
    state: row.state,
    settledTx: row.settled_tx === null ? undefined : toHex(row.settled_tx),
    outputHash: row.output_hash === null ? undefined : toHex(row.output_hash),
    startedAt: row.started_at ?? undefined,
    endedAt: row.ended_at ?? undefined,
  };
}

/** Sets the nonce aside. @throws a violation of payment_authorization, payment_client_id_by_payer or payment_pkey when it is known. */
export async function reserve(db: Queryable, request: ExactRequest, leaseMs: number): Promise<void> {
  const { from, to, validAfter, validBefore, nonce, signature } = request.authorization;
  await db.query({
    name: "exact_reserve",
    text: `INSERT INTO payment (payment_id, scheme, payer, receiver, token, authorization_nonce, valid_after, valid_before, signature, service, resource,
             request_hash, client_id, price_atomic, reserved_until)
           VALUES ($1, 'exact', $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, now() + $14 * interval '1 millisecond')`,
    values: [request.paymentId, toBytes(from), toBytes(to), toBytes(request.token), toBytes(nonce), validAfter, validBefore, toBytes(signature), request.service,
      request.resource, toBytes(request.requestHash), request.clientId ?? null, request.price, leaseMs],
  });
}

/** Stores the answer, withheld until the money has moved. @returns false when the reservation is gone. */
export async function store(db: Queryable, paymentId: string, { answer, startedAt, endedAt }: Delivery, outputHash: Hex, ttlS: number): Promise<boolean> {
  const { rowCount } = await db.query({
    name: "exact_store",
    text: `WITH held AS (
             UPDATE payment SET state = 'settling', output_hash = $2, started_at = $3, ended_at = $4
             WHERE payment_id = $1 AND state = 'reserved' AND scheme = 'exact' RETURNING payment_id),
           kept AS (
             INSERT INTO answer (payment_id, status, headers, body, expires_at) SELECT payment_id, $5, $6, $7, now() + $8 * interval '1 second' FROM held)
           SELECT 1 FROM held`,
    values: [paymentId, toBytes(outputHash), startedAt, endedAt, answer.status, JSON.stringify(answer.headers), answer.body, ttlS],
  });
  return rowCount === 1;
}

/** The money has moved: the answer may go out. True when this call wrote it down; false when it was written before. */
export async function markSettled(db: Queryable, paymentId: string, txHash: Hex): Promise<boolean> {
  const { rowCount } = await db.query({
    name: "exact_settled",
    text: `UPDATE payment SET state = 'charged', charged_atomic = price_atomic, charged_cumulative = price_atomic, request_number = 1, settled_tx = $2, resolved_at = now()
           WHERE payment_id = $1 AND state = 'settling'`,
    values: [paymentId, toBytes(txHash)],
  });
  return rowCount === 1;
}

/** The money can no longer move: nothing is charged, and the answer is forgotten undelivered. */
export async function markNever(db: Queryable, paymentId: string, reason: string): Promise<boolean> {
  const { rowCount } = await db.query({
    name: "exact_never",
    text: `WITH ended AS (
             UPDATE payment SET state = 'released', release_reason = $2, resolved_at = now() WHERE payment_id = $1 AND state = 'settling' RETURNING payment_id),
           forgotten AS (DELETE FROM answer USING ended WHERE answer.payment_id = ended.payment_id)
           SELECT 1 FROM ended`,
    values: [paymentId, reason],
  });
  return rowCount === 1;
}

export async function findExact(db: Queryable, paymentId: string): Promise<ExactPayment | undefined> {
  return one(db, "exact_find", "payment_id = $1", [paymentId]);
}

/** What an authorisation buys, bought, or is buying. */
export async function findByNonce(db: Queryable, token: Address, payer: Address, nonce: Hex): Promise<ExactPayment | undefined> {
  return one(db, "exact_by_nonce", "token = $1 AND payer = $2 AND authorization_nonce = $3 AND state <> 'released'", [toBytes(token), toBytes(payer), toBytes(nonce)]);
}

export async function findByClientId(db: Queryable, payer: Address, service: string, clientId: string): Promise<ExactPayment | undefined> {
  return one(db, "exact_by_client_id", "payer = $1 AND service = $2 AND client_id = $3 AND state <> 'released'", [toBytes(payer), service, clientId]);
}

async function one(db: Queryable, name: string, where: string, values: unknown[]): Promise<ExactPayment | undefined> {
  const { rows } = await db.query<Row>({ name, text: `SELECT * FROM payment WHERE scheme = 'exact' AND ${where}`, values });
  return rows[0] === undefined ? undefined : fromRow(rows[0]);
}

/** Payments whose answer is withheld, the oldest first. */
export async function settlingPayments(db: Queryable, limit: number): Promise<ExactPayment[]> {
  const { rows } = await db.query<Row>("SELECT * FROM payment WHERE state = 'settling' ORDER BY reserved_at LIMIT $1", [limit]);
  return rows.map(fromRow);
}
