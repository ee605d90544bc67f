// SQL of payments in the scheme exact: reserved -> settling (the answer is stored and withheld) -> charged | released. Each step is
// conditional, so any process may take any step.
import type { Address, Hex } from "viem";
import { toAddress, toBytes, toHex } from "../../db/codec.ts";
import { inTransaction, type Db, type Queryable } from "../../db/pool.ts";
import { agreedFromRow, type AgreedRow } from "../ledger/store.ts";
import type { Payment, SealedDelivery } from "../ledger/types.ts";
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
  agreed: Payment["agreed"];
};

type Row = {
  payment_id: string; payer: Buffer; receiver: Buffer; token: Buffer; authorization_nonce: Buffer; signature: Buffer; valid_after: bigint; valid_before: bigint;
  service: string; resource: string; price_atomic: bigint; request_hash: Buffer; client_id: string | null; state: ExactPayment["state"]; settled_tx: Buffer | null;
  output_hash: Buffer | null; started_at: Date | null; ended_at: Date | null;
} & AgreedRow;

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
    agreed: agreedFromRow(row),
  };
}

/**
 * Sets the nonce aside, when the payer's funds cover this payment beside those under way: a balance that was seen once would buy any
 * number of upstream runs at the same time. Payments of one payer wait for each other here, in all processes.
 * @returns false when they do not.
 * @throws a violation of payment_authorization, payment_client_id_by_payer or payment_pkey when the payment is known.
 */
export async function reserve(db: Db, request: ExactRequest, balance: bigint, leaseMs: number): Promise<boolean> {
  const { from, to, validAfter, validBefore, nonce, signature } = request.authorization;
  return inTransaction(db, async (client) => {
    await client.query({ name: "exact_payer_lock", text: "SELECT pg_advisory_xact_lock(hashtextextended('exact ' || $1, 0))", values: [from] });
    const { rowCount } = await client.query({
      name: "exact_reserve",
      text: `INSERT INTO payment (payment_id, scheme, payer, receiver, token, authorization_nonce, valid_after, valid_before, signature, service, resource,
               request_hash, client_id, price_atomic, reserved_until)
             SELECT $1, 'exact', $2::bytea, $3::bytea, $4::bytea, $5::bytea, $6::bigint, $7::bigint, $8::bytea, $9, $10, $11::bytea, $12, $13::numeric, now() + $14 * interval '1 millisecond'
             WHERE $13::numeric <= $15::numeric
               - (SELECT coalesce(sum(price_atomic), 0) FROM payment WHERE state = 'reserved' AND scheme = 'exact' AND payer = $2::bytea AND token = $4::bytea)
               - (SELECT coalesce(sum(price_atomic), 0) FROM payment WHERE state = 'settling' AND payer = $2::bytea AND token = $4::bytea)`,
      values: [request.paymentId, toBytes(from), toBytes(to), toBytes(request.token), toBytes(nonce), validAfter, validBefore, toBytes(signature), request.service,
        request.resource, toBytes(request.requestHash), request.clientId ?? null, request.price, leaseMs, balance],
    });
    return rowCount === 1;
  });
}

/**
 * Stores the answer, withheld until the money has moved, and takes the one time that this authorisation counts as a payment. The answer
 * is kept at least as long as the money may move.
 * @returns `gone` when the reservation is; `told` when another seller was told that the authorisation pays for its answer.
 */
export async function store(db: Queryable, paymentId: string, { status, sealed, outputHash, startedAt, endedAt }: SealedDelivery, ttlS: number): Promise<"stored" | "gone" | "told"> {
  const { rows } = await db.query<{ outcome: "stored" | "gone" | "told" }>({
    name: "exact_store",
    text: `WITH held AS (
             SELECT payment_id, token, payer, authorization_nonce, valid_before FROM payment WHERE payment_id = $1 AND state = 'reserved' AND scheme = 'exact' FOR UPDATE),
           told AS (
             INSERT INTO exact_told (token, payer, nonce, told_to) SELECT token, payer, authorization_nonce, 'payment ' || payment_id FROM held
             ON CONFLICT (token, payer, nonce) DO NOTHING RETURNING 1),
           moved AS (
             UPDATE payment SET state = 'settling', output_hash = $2, started_at = $3, ended_at = $4, reserved_until = now()
             FROM held WHERE payment.payment_id = held.payment_id AND EXISTS (SELECT 1 FROM told) RETURNING payment.payment_id, held.valid_before),
           kept AS (
             INSERT INTO answer (payment_id, status, body, sealed, expires_at)
             SELECT payment_id, $5::integer, $6::bytea, true, greatest(now() + $7 * interval '1 second', to_timestamp(valid_before) + interval '10 minutes') FROM moved)
           SELECT CASE WHEN EXISTS (SELECT 1 FROM moved) THEN 'stored' WHEN EXISTS (SELECT 1 FROM held) THEN 'told' ELSE 'gone' END AS outcome`,
    values: [paymentId, toBytes(outputHash), startedAt, endedAt, status, sealed, ttlS],
  });
  return rows[0]!.outcome;
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
             UPDATE payment SET state = 'released', release_reason = $2, resolved_at = now() WHERE payment_id = $1 AND state = 'settling' RETURNING payment_id, token, payer, authorization_nonce),
           forgotten AS (DELETE FROM answer USING ended WHERE answer.payment_id = ended.payment_id),
           untold AS (DELETE FROM exact_told USING ended WHERE told_to = 'payment ' || ended.payment_id AND exact_told.token = ended.token AND exact_told.payer = ended.payer AND nonce = ended.authorization_nonce)
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

/**
 * Takes payments whose answer is withheld and whose turn it is. Each waits longer the older it is, so that those which cannot be settled
 * never stand before those which can; processes share them.
 */
export async function takeSettling(db: Queryable, limit: number): Promise<ExactPayment[]> {
  const { rows } = await db.query<Row>({
    name: "exact_take_settling",
    text: `UPDATE payment SET reserved_until = now() + least(greatest((now() - reserved_at) / 4, interval '4 seconds'), interval '2 minutes')
           WHERE payment_id IN (SELECT payment_id FROM payment WHERE state = 'settling' AND reserved_until <= now() ORDER BY reserved_until LIMIT $1 FOR UPDATE SKIP LOCKED)
           RETURNING *`,
    values: [limit],
  });
  return rows.map(fromRow);
}
