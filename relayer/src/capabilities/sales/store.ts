// SQL of the sale table: which payments a provider's own server took.
import type { Address, Hex } from "viem";
import { toAddress, toBytes, toHex } from "../../db/codec.ts";
import type { Queryable } from "../../db/pool.ts";

/** A payment taken by a provider's own server; amounts in atomic units. */
export type TakenSale = {
  paymentId: string;
  owner: Address;
  service: string;
  scheme: string;
  payer: Address;
  resource: string;
  requestHash: Hex;
  price: bigint;
  state: "reserved" | "settling" | "charged" | "released";
  releaseReason: string | undefined;
  charged: bigint | undefined;
  outputHash: Hex | undefined;
  reservedAt: Date;
  leaseMs: number;
  /** Sold within a negotiated session: the ledger charges what was agreed, less what is owed. */
  inSession: boolean;
};

type Row = {
  payment_id: string; owner: Buffer; service: string; scheme: string; payer: Buffer; resource: string; request_hash: Buffer; price_atomic: bigint; state: TakenSale["state"]; release_reason: string | null;
  charged_atomic: bigint | null; output_hash: Buffer | null; reserved_at: Date; lease_ms: number; session_id: Buffer | null;
};

const LEASE = "greatest(0, extract(epoch FROM p.reserved_until - now()) * 1000)::float8";
const SALE = `SELECT p.*, s.owner, ${LEASE} AS lease_ms FROM sale s JOIN payment p USING (payment_id)`;

function fromRow(row: Row): TakenSale {
  return {
    paymentId: row.payment_id, owner: toAddress(row.owner), service: row.service, scheme: row.scheme, payer: toAddress(row.payer), resource: row.resource, requestHash: toHex(row.request_hash),
    price: row.price_atomic, state: row.state, releaseReason: row.release_reason ?? undefined, charged: row.charged_atomic ?? undefined,
    outputHash: row.output_hash === null ? undefined : toHex(row.output_hash), reservedAt: row.reserved_at, leaseMs: Math.floor(row.lease_ms), inSession: row.session_id !== null,
  };
}

/** Writes down who took a payment. @returns for how long it is reserved, milliseconds. */
export async function insertSale(db: Queryable, paymentId: string, owner: Address, takeKey: string | undefined): Promise<number> {
  // The key of a take that was released belongs to its next try.
  const { rows } = await db.query<{ lease_ms: number }>({
    name: "sale_insert",
    text: `INSERT INTO sale (payment_id, owner, take_key) VALUES ($1, $2, $3)
           ON CONFLICT (owner, take_key) WHERE take_key IS NOT NULL DO UPDATE SET payment_id = $1, at = now()
           RETURNING (SELECT ${LEASE} FROM payment p WHERE p.payment_id = $1) AS lease_ms`,
    values: [paymentId, toBytes(owner), takeKey ?? null],
  });
  return Math.floor(rows[0]!.lease_ms);
}

export async function findSale(db: Queryable, paymentId: string): Promise<TakenSale | undefined> {
  const { rows } = await db.query<Row>({ name: "sale_find", text: `${SALE} WHERE s.payment_id = $1`, values: [paymentId] });
  return rows[0] === undefined ? undefined : fromRow(rows[0]);
}

export async function findByTakeKey(db: Queryable, owner: Address, takeKey: string): Promise<TakenSale | undefined> {
  const { rows } = await db.query<Row>({ name: "sale_by_key", text: `${SALE} WHERE s.owner = $1 AND s.take_key = $2`, values: [toBytes(owner), takeKey] });
  return rows[0] === undefined ? undefined : fromRow(rows[0]);
}

/** For which service a payment was made; undefined for one that is not in the ledger (a refund). */
export async function serviceOfPayment(db: Queryable, paymentId: string): Promise<string | undefined> {
  const { rows } = await db.query<{ service: string }>({ name: "payment_service", text: "SELECT service FROM payment WHERE payment_id = $1", values: [paymentId] });
  return rows[0]?.service;
}
