// SQL of payments that wait for a person.
import type { Address, Hex } from "viem";
import { toAddress, toBytes, toHex } from "../../db/codec.ts";
import type { Queryable } from "../../db/pool.ts";

export type ApprovalState = "pending" | "granted" | "refused";
export type StoredApproval = {
  approvalId: string;
  paymentKey: Hex;
  policyHash: Hex;
  owner: Address;
  policyName: string;
  approvers: Address[];
  payer: Address;
  payee: Address;
  service: string;
  resource: string;
  amount: bigint;
  paymentId: string;
  state: ApprovalState;
  decidedBy: Address | undefined;
  askedAt: Date;
  decidedAt: Date | undefined;
  expiresAt: Date;
  expired: boolean;
};

type Row = {
  approval_id: string; payment_key: Buffer; policy_hash: Buffer; owner: Buffer; policy_name: string; approvers: Buffer[]; payer: Buffer; payee: Buffer; service: string; resource: string;
  amount_atomic: bigint; payment_id: string; state: ApprovalState; decided_by: Buffer | null; asked_at: Date; decided_at: Date | null; expires_at: Date; expired: boolean;
};

const COLUMNS = "*, expires_at <= clock_timestamp() AS expired";

function fromRow(row: Row): StoredApproval {
  return {
    approvalId: row.approval_id, paymentKey: toHex(row.payment_key), policyHash: toHex(row.policy_hash), owner: toAddress(row.owner), policyName: row.policy_name, approvers: row.approvers.map(toAddress),
    payer: toAddress(row.payer), payee: toAddress(row.payee), service: row.service, resource: row.resource, amount: row.amount_atomic, paymentId: row.payment_id, state: row.state,
    decidedBy: row.decided_by === null ? undefined : toAddress(row.decided_by), askedAt: row.asked_at, decidedAt: row.decided_at ?? undefined, expiresAt: row.expires_at, expired: row.expired,
  };
}

/** What was decided about one payment and still counts. */
export async function decidedAbout(db: Queryable, paymentKey: Hex): Promise<StoredApproval[]> {
  const { rows } = await db.query<Row>({ name: "firewall_decided", text: `SELECT ${COLUMNS} FROM firewall_approval WHERE payment_key = $1 AND state <> 'pending' AND expires_at > clock_timestamp()`, values: [toBytes(paymentKey)] });
  return rows.map(fromRow);
}

export type NewApproval = Pick<StoredApproval, "approvalId" | "paymentKey" | "policyHash" | "owner" | "policyName" | "approvers" | "payer" | "payee" | "service" | "resource" | "amount" | "paymentId"> & { expiresS: number };

/**
 * Asks, or finds that it was asked; one whose time is over is asked anew. Expiry is whole seconds: approvers sign it.
 * @returns undefined when the payer has `most` open questions already.
 */
export async function askOnce(db: Queryable, asked: NewApproval, most: number): Promise<{ approval: StoredApproval; isNew: boolean } | undefined> {
  const { rows } = await db.query<Row & { is_new: boolean }>(
    `INSERT INTO firewall_approval AS a (approval_id, payment_key, policy_hash, owner, policy_name, approvers, payer, payee, service, resource, amount_atomic, payment_id, expires_at)
     SELECT $1, $2, $3, $4, $5, $6, $7::bytea, $8, $9, $10, $11, $12, date_trunc('second', clock_timestamp()) + $13 * interval '1 second'
     WHERE (SELECT count(*) FROM (SELECT 1 FROM firewall_approval o WHERE o.payer = $7::bytea AND o.state = 'pending' AND o.expires_at > now() AND o.approval_id <> $1 LIMIT $14) open) < $14
     ON CONFLICT (approval_id) DO UPDATE SET state = 'pending', decided_by = NULL, signature = NULL, decided_at = NULL, asked_at = now(), expires_at = EXCLUDED.expires_at, payment_id = EXCLUDED.payment_id
       WHERE a.expires_at <= clock_timestamp()
     RETURNING ${COLUMNS}, true AS is_new`,
    [
      asked.approvalId, toBytes(asked.paymentKey), toBytes(asked.policyHash), toBytes(asked.owner), asked.policyName, asked.approvers.map((address) => toBytes(address)), toBytes(asked.payer), toBytes(asked.payee),
      asked.service, asked.resource, asked.amount, asked.paymentId, asked.expiresS, most,
    ],
  );
  if (rows[0] !== undefined) return { approval: fromRow(rows[0]), isNew: true };
  const known = await findApproval(db, asked.approvalId);
  return known === undefined ? undefined : { approval: known, isNew: false };
}

export async function findApproval(db: Queryable, approvalId: string): Promise<StoredApproval | undefined> {
  const { rows } = await db.query<Row>(`SELECT ${COLUMNS} FROM firewall_approval WHERE approval_id = $1`, [approvalId]);
  return rows[0] === undefined ? undefined : fromRow(rows[0]);
}

/** The first decision stands. @returns undefined when there was one before, or the time is over. */
export async function decide(db: Queryable, approvalId: string, state: "granted" | "refused", by: Address, signature: Hex): Promise<StoredApproval | undefined> {
  const { rows } = await db.query<Row>(
    `UPDATE firewall_approval SET state = $2, decided_by = $3, signature = $4, decided_at = now() WHERE approval_id = $1 AND state = 'pending' AND expires_at > clock_timestamp() RETURNING ${COLUMNS}`,
    [approvalId, state, toBytes(by), toBytes(signature)],
  );
  return rows[0] === undefined ? undefined : fromRow(rows[0]);
}

/** Those that somebody asked for, may decide or owns the policy of; the newest first, from before `before`. */
export async function listApprovals(db: Queryable, caller: Address, { state, before }: { state: ApprovalState | undefined; before: Date | undefined }, limit: number): Promise<StoredApproval[]> {
  const { rows } = await db.query<Row>(
    `SELECT ${COLUMNS} FROM firewall_approval WHERE (payer = $1 OR owner = $1 OR approvers @> ARRAY[$1::bytea])
     AND ($2::text IS NULL OR (state = $2 AND (state <> 'pending' OR expires_at > clock_timestamp()))) AND ($3::timestamptz IS NULL OR asked_at < $3) ORDER BY asked_at DESC, approval_id LIMIT $4`,
    [toBytes(caller), state ?? null, before ?? null, limit],
  );
  return rows.map(fromRow);
}
