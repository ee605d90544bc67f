// SQL of reports and of what the operator decided. Discovery copies the view blocked_listing into the rows that it searches.
import type { Address, Hex } from "viem";
import { toAddress, toBytes, toHex } from "../../db/codec.ts";
import type { Queryable } from "../../db/pool.ts";
import type { Decision, Report, ReportReason } from "./types.ts";

type Row = { report_id: bigint; service_id: Buffer; reporter: Buffer; reason: ReportReason; evidence_hash: Buffer; paid_atomic: bigint; state: Report["state"]; decision_note: string | null; decided_at: Date | null; created_at: Date };

const COLUMNS = "report_id, service_id, reporter, reason, evidence_hash, paid_atomic, state, decision_note, decided_at, created_at";
const fromRow = (row: Row): Report => ({
  reportId: row.report_id, serviceId: toHex(row.service_id), reporter: toAddress(row.reporter), reason: row.reason, evidenceHash: toHex(row.evidence_hash), paid: row.paid_atomic, state: row.state,
  note: row.decision_note ?? undefined, decidedAt: row.decided_at ?? undefined, createdAt: row.created_at,
});

/** What an address paid a service through this relayer, as payer or by its voucher key; atomic units. */
export async function paidBy(db: Queryable, reporter: Address, payTo: Address): Promise<bigint> {
  const { rows } = await db.query<{ paid: string }>(
    `SELECT coalesce(sum(charged - opening_charged), 0)::text AS paid FROM channel WHERE receiver = $2::bytea AND (payer = $1::bytea OR payer_authorizer = $1::bytea)`,
    [toBytes(reporter), toBytes(payTo)],
  );
  return BigInt(rows[0]!.paid);
}

export type NewReport = { serviceId: Hex; reporter: Address; reason: ReportReason; evidence: Buffer; evidenceHash: Hex; paid: bigint; now: Date };

/** Undefined when the reporter reported this service today, or `most` services in a day. */
export async function insertReport(db: Queryable, { serviceId, reporter, reason, evidence, evidenceHash, paid, now }: NewReport, most: number): Promise<Report | undefined> {
  const { rows } = await db.query<Row>(
    `INSERT INTO report (service_id, reporter, reason, evidence, evidence_hash, paid_atomic, day, created_at)
     SELECT $1::bytea, $2::bytea, $3, $4, $5::bytea, $6::numeric, ($7::timestamptz AT TIME ZONE 'UTC')::date, $7::timestamptz
     WHERE (SELECT count(*) FROM report WHERE reporter = $2::bytea AND created_at > $7::timestamptz - interval '1 day') < $8
     ON CONFLICT (service_id, reporter, day) DO NOTHING RETURNING ${COLUMNS}`,
    [toBytes(serviceId), toBytes(reporter), reason, evidence, toBytes(evidenceHash), paid, now, most],
  );
  return rows[0] === undefined ? undefined : fromRow(rows[0]);
}

/** Open reports, the weightiest services first: those of who paid, by how much. */
export async function reviewQueue(db: Queryable, limit: number): Promise<Report[]> {
  const { rows } = await db.query<Row>(
    `SELECT ${COLUMNS} FROM report r WHERE state = 'open'
     ORDER BY (SELECT count(DISTINCT o.reporter) FROM report o WHERE o.service_id = r.service_id AND o.state = 'open' AND o.paid_atomic > 0) DESC, paid_atomic DESC, created_at LIMIT $1`,
    [limit],
  );
  return rows.map(fromRow);
}

export async function evidenceOf(db: Queryable, reportId: bigint): Promise<Buffer | undefined> {
  const { rows } = await db.query<{ evidence: Buffer }>("SELECT evidence FROM report WHERE report_id = $1", [reportId]);
  return rows[0]?.evidence;
}

/** Closes a service's open reports. @returns how many. */
export async function decideReports(client: Queryable, serviceId: Hex, state: "upheld" | "rejected", note: string, now: Date): Promise<number> {
  const { rowCount } = await client.query("UPDATE report SET state = $2, decision_note = $3, decided_at = $4 WHERE service_id = $1::bytea AND state = 'open'", [toBytes(serviceId), state, note, now]);
  return rowCount ?? 0;
}

export async function insertDecision(client: Queryable, serviceId: Hex, { blocked, note, at }: Decision): Promise<void> {
  await client.query("INSERT INTO listing_block (service_id, blocked, note, at) VALUES ($1, $2, $3, $4)", [toBytes(serviceId), blocked, note, at]);
}

/** Newest first. */
export async function decisionsOf(db: Queryable, serviceId: Hex): Promise<Decision[]> {
  const { rows } = await db.query<Decision>("SELECT blocked, note, at FROM listing_block WHERE service_id = $1::bytea ORDER BY decision_id DESC LIMIT 100", [toBytes(serviceId)]);
  return rows;
}

export async function reportCounts(db: Queryable, serviceId: Hex): Promise<{ open: number; upheld: number; rejected: number }> {
  const { rows } = await db.query<{ open: number; upheld: number; rejected: number }>(
    `SELECT count(*) FILTER (WHERE state = 'open' AND paid_atomic > 0)::int AS open, count(*) FILTER (WHERE state = 'upheld')::int AS upheld, count(*) FILTER (WHERE state = 'rejected')::int AS rejected
     FROM report WHERE service_id = $1::bytea`,
    [toBytes(serviceId)],
  );
  return rows[0]!;
}

/** Whether the operator took it out of discovery. */
export async function isBlocked(db: Queryable, serviceId: Hex): Promise<boolean> {
  const { rowCount } = await db.query("SELECT 1 FROM blocked_listing WHERE service_id = $1::bytea", [toBytes(serviceId)]);
  return rowCount === 1;
}
