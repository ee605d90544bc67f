// SQL of mandates as they were registered: rows, lineages, payees, guards, and what ended them.
import type { Address, Hex } from "viem";
import type { Mandate } from "../../../../sdk/src/mandate.ts";
import { toAddress, toBytes, toHex } from "../../db/codec.ts";
import type { Queryable } from "../../db/pool.ts";
import type { MandateState } from "./logic.ts";
import { windowAt } from "./logic.ts";

type Row = {
  mandate_id: Buffer; principal: Buffer; delegate: Buffer; token: Buffer; limit_atomic: bigint; period_limit_atomic: bigint; payment_limit_atomic: bigint; period_s: bigint;
  valid_after: bigint; valid_until: bigint; epoch: bigint; payees_root: Buffer; capability: Buffer; parent: Buffer; terms: Buffer; salt: Buffer; lineage: Buffer[];
  signature: Buffer | null; registered_at: Date; revoked_at: Date | null; revoked_by: Buffer | null; chain_approved: boolean; chain_revoked: boolean; chain_spent_atomic: bigint; chain_block: bigint;
  epoch_now: bigint; spent: bigint; reserved: bigint; period_spent: bigint; period_reserved: bigint; now_s: bigint; payees: Buffer[] | null;
};

/** A mandate as it stands: what was signed, what was spent of it here, what the chain says. Amounts in atomic units. */
export type MandateRecord = MandateState & {
  /** Itself, its parent, up to the root. */
  lineage: readonly Hex[];
  signature: Hex | undefined;
  registeredAt: Date;
  revokedHere: { at: Date; by: Address } | undefined;
  spent: bigint;
  reserved: bigint;
  spentInPeriod: bigint;
  chain: { approved: boolean; revoked: boolean; spent: bigint; block: bigint };
  /** The database's clock, unix seconds: it alone decides what is valid. */
  nowS: number;
};

const RECORD = `
  SELECT m.*, coalesce(a.epoch, 0) AS epoch_now, floor(extract(epoch FROM now()))::bigint AS now_s,
    m.spent_atomic + coalesce(v.spent, 0) AS spent, m.reserved_atomic + coalesce(v.reserved, 0) AS reserved,
    coalesce(w.spent_atomic, 0) + coalesce(v.period_spent, 0) AS period_spent, coalesce(w.reserved_atomic, 0) + coalesce(v.period_reserved, 0) AS period_reserved,
    CASE WHEN m.payees_root <> '\\x0000000000000000000000000000000000000000000000000000000000000000' THEN (SELECT array_agg(p.payee::bytea ORDER BY p.payee) FROM mandate_payee p WHERE p.mandate_id = m.mandate_id) END AS payees
  FROM mandate m LEFT JOIN mandate_account a ON a.principal = m.principal
  LEFT JOIN mandate_window w ON w.mandate_id = m.mandate_id AND w.window_no = mandate_window_at(m, now())
  LEFT JOIN LATERAL (
    SELECT sum(spent_atomic) AS spent, sum(reserved_atomic) AS reserved, sum(spent_atomic) FILTER (WHERE window_no = mandate_window_at(m, now())) AS period_spent,
      sum(reserved_atomic) FILTER (WHERE window_no = mandate_window_at(m, now())) AS period_reserved
    FROM mandate_move WHERE mandate_id = m.mandate_id) v ON true`;

function fromRow(row: Row): MandateRecord {
  const mandate: Mandate = {
    principal: toAddress(row.principal), delegate: toAddress(row.delegate), token: toAddress(row.token), limit: row.limit_atomic, periodLimit: row.period_limit_atomic, paymentLimit: row.payment_limit_atomic,
    period: Number(row.period_s), validAfter: Number(row.valid_after), validUntil: Number(row.valid_until), epoch: Number(row.epoch),
    payeesRoot: toHex(row.payees_root), capability: toHex(row.capability), parent: toHex(row.parent), terms: toHex(row.terms), salt: toHex(row.salt),
  };
  return {
    mandateId: toHex(row.mandate_id), mandate, lineage: row.lineage.map(toHex), signature: row.signature === null ? undefined : toHex(row.signature), registeredAt: row.registered_at,
    revoked: row.revoked_at !== null || row.chain_revoked, revokedHere: row.revoked_at === null || row.revoked_by === null ? undefined : { at: row.revoked_at, by: toAddress(row.revoked_by) },
    epochNow: Number(row.epoch_now), spent: row.spent, reserved: row.reserved, used: row.spent + row.reserved, spentInPeriod: row.period_spent, usedInPeriod: row.period_spent + row.period_reserved,
    payees: row.payees?.map(toAddress), chain: { approved: row.chain_approved, revoked: row.chain_revoked, spent: row.chain_spent_atomic, block: row.chain_block }, nowS: Number(row.now_s),
  };
}

const NONE: readonly MandateRecord[] = [];

/** The mandate, its parent, up to the root; empty when it is not registered. */
export async function findLineage(db: Queryable, mandateId: Hex): Promise<readonly MandateRecord[]> {
  const { rows } = await db.query<Row>(`${RECORD} WHERE m.mandate_id = ANY((SELECT lineage FROM mandate WHERE mandate_id = $1)::bytea[])`, [toBytes(mandateId)]);
  const byId = new Map(rows.map((row) => fromRow(row)).map((record) => [record.mandateId, record]));
  return byId.get(mandateId)?.lineage.map((id) => byId.get(id)!) ?? NONE;
}

/** It and every mandate below it, parents before their children. */
export async function findSubtree(db: Queryable, mandateId: Hex, limit: number): Promise<MandateRecord[]> {
  const { rows } = await db.query<Row>(`${RECORD} WHERE m.lineage @> ARRAY[$1::bytea] ORDER BY cardinality(m.lineage), m.registered_at, m.mandate_id LIMIT $2`, [toBytes(mandateId), limit]);
  return rows.map(fromRow);
}

/** Those that a party granted or acts under, the newest first. */
export async function listMandates(db: Queryable, party: Address, before: Date | undefined, limit: number): Promise<MandateRecord[]> {
  const { rows } = await db.query<Row>(
    `${RECORD} WHERE (m.principal = $1 OR m.delegate = $1) AND ($2::timestamptz IS NULL OR m.registered_at < $2) ORDER BY m.registered_at DESC, m.mandate_id LIMIT $3`,
    [toBytes(party), before ?? null, limit],
  );
  return rows.map(fromRow);
}

export async function countOf(db: Queryable, principal: Address): Promise<number> {
  const { rows } = await db.query<{ count: bigint }>("SELECT count(*) AS count FROM mandate WHERE principal = $1", [toBytes(principal)]);
  return Number(rows[0]?.count ?? 0n);
}

export type NewMandate = {
  mandateId: Hex; mandate: Mandate; lineage: readonly Hex[]; signature: Hex | undefined; payees: readonly Address[] | undefined; registeredBy: Address; idempotencyKey: string | undefined;
};

/** Registers it with its payees, once. @returns false when it was registered before. @throws a violation of mandate_idempotency when the key was used for another. */
export async function insertMandate(db: Queryable, { mandateId, mandate, lineage, signature, payees, registeredBy, idempotencyKey }: NewMandate): Promise<boolean> {
  const { rowCount } = await db.query(
    `WITH placed AS (
       INSERT INTO mandate (mandate_id, principal, delegate, token, limit_atomic, period_limit_atomic, payment_limit_atomic, period_s, valid_after, valid_until, epoch,
         payees_root, capability, parent, terms, salt, lineage, signature, registered_by, idempotency_key)
       VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20) ON CONFLICT (mandate_id) DO NOTHING RETURNING mandate_id),
     listed AS (INSERT INTO mandate_payee (mandate_id, payee) SELECT placed.mandate_id, p.payee FROM placed, unnest($21::bytea[]) AS p (payee) ON CONFLICT DO NOTHING)
     SELECT 1 FROM placed`,
    [
      toBytes(mandateId), toBytes(mandate.principal), toBytes(mandate.delegate), toBytes(mandate.token), mandate.limit, mandate.periodLimit, mandate.paymentLimit, mandate.period, mandate.validAfter,
      mandate.validUntil, mandate.epoch, toBytes(mandate.payeesRoot), toBytes(mandate.capability), toBytes(mandate.parent), toBytes(mandate.terms), toBytes(mandate.salt), lineage.map(toBytes),
      signature === undefined ? null : toBytes(signature), toBytes(registeredBy), idempotencyKey ?? null, (payees ?? []).map(toBytes),
    ],
  );
  return rowCount === 1;
}

/** Which mandate a caller's Idempotency-Key registered. */
export async function findByKey(db: Queryable, registeredBy: Address, key: string): Promise<Hex | undefined> {
  const { rows } = await db.query<{ mandate_id: Buffer }>("SELECT mandate_id FROM mandate WHERE registered_by = $1 AND idempotency_key = $2", [toBytes(registeredBy), key]);
  return rows[0] === undefined ? undefined : toHex(rows[0].mandate_id);
}

/** Ends it here, for good; whoever decides about a payment of its subtree waits for this or is waited for. @returns false when it was ended before. */
export async function revoke(db: Queryable, mandateId: Hex, by: Address): Promise<boolean> {
  const { rowCount } = await db.query("UPDATE mandate SET revoked_at = now(), revoked_by = $2 WHERE mandate_id = $1 AND revoked_at IS NULL", [toBytes(mandateId), toBytes(by)]);
  return rowCount === 1;
}

/** One of these that was ended here. */
export async function findRevoked(db: Queryable, ids: readonly Hex[]): Promise<Hex | undefined> {
  const { rows } = await db.query<{ mandate_id: Buffer }>("SELECT mandate_id FROM mandate WHERE mandate_id = ANY($1::bytea[]) AND revoked_at IS NOT NULL LIMIT 1", [ids.map(toBytes)]);
  return rows[0] === undefined ? undefined : toHex(rows[0].mandate_id);
}

export type MandatePayment = {
  paymentId: string; mandateId: Hex; channelId: Hex | undefined; service: string; resource: string; payee: Address; state: string; price: bigint; charged: bigint | undefined;
  releaseReason: string | undefined; reservedAt: Date; resolvedAt: Date | undefined; place: Place;
};
/** Where a page ended: microseconds, as the database keeps them. */
export type Place = { atUs: bigint; paymentId: string };

/** Payments under a mandate and those below it, the newest first, after `place`. */
export async function listPayments(db: Queryable, mandateId: Hex, place: Place | undefined, limit: number): Promise<MandatePayment[]> {
  const { rows } = await db.query<{
    payment_id: string; mandate_id: Buffer; channel_id: Buffer | null; service: string; resource: string; payee: Buffer; state: string; price_atomic: bigint; charged_atomic: bigint | null;
    release_reason: string | null; reserved_at: Date; resolved_at: Date | null; at_us: bigint;
  }>(
    `SELECT p.payment_id, p.mandate_id, p.channel_id, p.service, p.resource, coalesce(p.receiver, c.receiver) AS payee, p.state, p.price_atomic, p.charged_atomic, p.release_reason,
       p.reserved_at, p.resolved_at, (extract(epoch FROM p.reserved_at) * 1000000)::bigint AS at_us
     FROM payment p LEFT JOIN channel c USING (channel_id)
     WHERE p.mandate_id IN (SELECT m.mandate_id FROM mandate m WHERE m.lineage @> ARRAY[$1::bytea])
       AND ($2::bigint IS NULL OR (p.reserved_at, p.payment_id) < (timestamptz 'epoch' + $2 * interval '1 microsecond', $3))
     ORDER BY p.reserved_at DESC, p.payment_id DESC LIMIT $4`,
    [toBytes(mandateId), place?.atUs ?? null, place?.paymentId ?? null, limit],
  );
  return rows.map((row) => ({
    paymentId: row.payment_id, mandateId: toHex(row.mandate_id), channelId: row.channel_id === null ? undefined : toHex(row.channel_id), service: row.service, resource: row.resource,
    payee: toAddress(row.payee), state: row.state, price: row.price_atomic, charged: row.charged_atomic ?? undefined, releaseReason: row.release_reason ?? undefined,
    reservedAt: row.reserved_at, resolvedAt: row.resolved_at ?? undefined, place: { atUs: row.at_us, paymentId: row.payment_id },
  }));
}

/** When the period of now ends, unix seconds; undefined where there are none. */
export function periodEndsAtS({ mandate, nowS }: Pick<MandateRecord, "mandate" | "nowS">): number | undefined {
  const window = windowAt(mandate, nowS);
  return window === undefined ? undefined : mandate.validAfter + (Number(window) + 1) * mandate.period;
}
