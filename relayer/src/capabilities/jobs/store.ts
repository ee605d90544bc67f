// SQL of jobs as their parties see them: drafts, quotes, files, events.
import type { Address, Hex } from "viem";
import type { JobBrief, JobRules } from "../../../../sdk/src/jobs/brief.ts";
import { toAddress, toBytes, toHex } from "../../db/codec.ts";
import type { Queryable } from "../../db/pool.ts";
import type { ChainState, Draft, JobEvent, JobFile, JobRecord, Quote } from "./types.ts";
import { fromWireRules, fromWireTerms, toWireRules, type WireRules, type WireTerms } from "./wire.ts";

type Row = {
  job_id: string; posted_by: Buffer; client: Buffer; client_agent: Buffer; provider: Buffer | null; brief: JobBrief; brief_hash: Buffer; rules: WireRules; deliver_within_s: number; budget_atomic: bigint | null;
  body_hash: Buffer; created_at: Date; open_until: Date; is_open: boolean; withdrawn_at: Date | null; terms: WireTerms | null; hired_at: Date | null;
  hire_hash: Buffer | null; hire_state: string | null; chain_job_id: bigint | null; chain: ChainState | null; chain_block: bigint | null; over: boolean;
};

const JOB = `SELECT j.*, j.open_until > now() AS is_open, t.hash AS hire_hash, t.state AS hire_state
  FROM job j LEFT JOIN job_action a ON a.job_id = j.job_id AND a.verb = 'hire' LEFT JOIN chain_tx t ON t.tx_id = a.tx_id`;

function fromRow(row: Row): JobRecord {
  return {
    jobId: row.job_id, postedBy: toAddress(row.posted_by), client: toAddress(row.client), clientAgent: toAddress(row.client_agent), provider: row.provider === null ? undefined : toAddress(row.provider), brief: row.brief,
    briefHash: toHex(row.brief_hash), rules: fromWireRules(row.rules) satisfies JobRules, deliverWithinS: row.deliver_within_s, budget: row.budget_atomic ?? undefined, bodyHash: toHex(row.body_hash),
    createdAt: row.created_at, openUntil: row.open_until, isOpen: row.is_open, withdrawnAt: row.withdrawn_at ?? undefined,
    hired: row.terms === null ? undefined : { terms: fromWireTerms(row.terms), at: row.hired_at!, transaction: toHex(row.hire_hash!), txState: row.hire_state! },
    chainJobId: row.chain_job_id ?? undefined, chain: row.chain ?? undefined, chainBlock: row.chain_block ?? undefined, over: row.over,
  };
}

export type NewJob = Draft & { jobId: string; bodyHash: Hex; idempotencyKey: string | undefined; openForS: number };

/** @returns false when its poster has as many drafts as are kept. */
export async function insertJob(db: Queryable, job: NewJob, mostDrafts: number): Promise<boolean> {
  const { rowCount } = await db.query(
    `INSERT INTO job (job_id, posted_by, client, provider, brief, brief_hash, rules, deliver_within_s, budget_atomic, idempotency_key, body_hash, open_until, client_agent)
     SELECT $1, $2::bytea, $3::bytea, $4::bytea, $5::jsonb, $6::bytea, $7::jsonb, $8::integer, $9::numeric, $10, $11::bytea, now() + $12 * interval '1 second', $14::bytea
     WHERE (SELECT count(*) FROM job WHERE posted_by = $2::bytea AND hired_at IS NULL) < $13`,
    [job.jobId, toBytes(job.postedBy), toBytes(job.client), job.provider === undefined ? null : toBytes(job.provider), JSON.stringify(job.brief), toBytes(job.briefHash), JSON.stringify(toWireRules(job.rules)),
      job.deliverWithinS, job.budget ?? null, job.idempotencyKey ?? null, toBytes(job.bodyHash), job.openForS, mostDrafts, toBytes(job.clientAgent)],
  );
  return rowCount === 1;
}

export async function findJob(db: Queryable, jobId: string): Promise<JobRecord | undefined> {
  const { rows } = await db.query<Row>(`${JOB} WHERE j.job_id = $1`, [jobId]);
  return rows[0] === undefined ? undefined : fromRow(rows[0]);
}

export async function findByKey(db: Queryable, postedBy: Address, key: string): Promise<JobRecord | undefined> {
  const { rows } = await db.query<Row>(`${JOB} WHERE j.posted_by = $1 AND j.idempotency_key = $2`, [toBytes(postedBy), key]);
  return rows[0] === undefined ? undefined : fromRow(rows[0]);
}

export type ListFilter = { of: Address | undefined; role: "client" | "provider" | "verifier" | "any"; before: Date | undefined; limit: number };

/** Jobs somebody has a part in, the newest first; without `of`: those that wait for anybody's quote. */
export async function listJobs(db: Queryable, { of, role, before, limit }: ListFilter): Promise<JobRecord[]> {
  const { rows } = await db.query<Row>(
    `${JOB} WHERE ($1::timestamptz IS NULL OR j.created_at < $1) AND CASE WHEN $2::bytea IS NULL
         THEN j.provider IS NULL AND j.hired_at IS NULL AND j.withdrawn_at IS NULL AND j.open_until > now()
         ELSE ($3 IN ('client', 'any') AND (j.posted_by = $2::bytea OR (j.client = $2::bytea AND j.hired_at IS NOT NULL))) OR ($3 IN ('provider', 'any') AND j.provider = $2::bytea)
           OR ($3 IN ('verifier', 'any') AND EXISTS (SELECT 1 FROM job_event e WHERE e.job_id = j.job_id AND e.kind = 'panel_drawn' AND $2::bytea = ANY (e.others))) END
     ORDER BY j.created_at DESC LIMIT $4`,
    [before ?? null, of === undefined ? null : toBytes(of), role, limit],
  );
  return rows.map(fromRow);
}

/** @returns false when it was hired or withdrawn meanwhile. */
export async function withdrawJob(db: Queryable, jobId: string): Promise<boolean> {
  const { rowCount } = await db.query("UPDATE job SET withdrawn_at = now() WHERE job_id = $1 AND hired_at IS NULL AND withdrawn_at IS NULL", [jobId]);
  return rowCount === 1;
}

/** Drafts that nobody hired in time. */
export async function deleteLapsed(db: Queryable, limit: number): Promise<void> {
  await db.query(
    "DELETE FROM job WHERE job_id IN (SELECT job_id FROM job j WHERE hired_at IS NULL AND open_until < now() - interval '7 days' AND NOT EXISTS (SELECT 1 FROM job_action a WHERE a.job_id = j.job_id) LIMIT $1 FOR UPDATE SKIP LOCKED)",
    [limit],
  );
}

// ---------------------------------------------------------------- quotes

type QuoteRow = { provider: Buffer; budget_atomic: bigint; deliver_within_s: number; note: string; valid_until: Date; quoted_at: Date; is_valid: boolean };

/** A provider's latest quote counts. @returns false when the job has as many as are kept, or is no longer open. */
export async function saveQuote(db: Queryable, jobId: string, quote: Pick<Quote, "provider" | "budget" | "deliverWithinS" | "note">, validForS: number, most: number): Promise<boolean> {
  const { rowCount } = await db.query(
    `INSERT INTO job_quote (job_id, provider, budget_atomic, deliver_within_s, note, valid_until)
     SELECT $1, $2::bytea, $3::numeric, $4::integer, $5, now() + $6 * interval '1 second' FROM job j
     WHERE j.job_id = $1 AND j.hired_at IS NULL AND j.withdrawn_at IS NULL AND j.open_until > now()
       AND (SELECT count(*) FROM job_quote q WHERE q.job_id = $1 AND q.provider <> $2::bytea) < $7
     ON CONFLICT (job_id, provider) DO UPDATE SET budget_atomic = EXCLUDED.budget_atomic, deliver_within_s = EXCLUDED.deliver_within_s, note = EXCLUDED.note,
       valid_until = EXCLUDED.valid_until, quoted_at = now()`,
    [jobId, toBytes(quote.provider), quote.budget, quote.deliverWithinS, quote.note, validForS, most],
  );
  return rowCount === 1;
}

export async function listQuotes(db: Queryable, jobId: string): Promise<Quote[]> {
  const { rows } = await db.query<QuoteRow>("SELECT *, valid_until > now() AS is_valid FROM job_quote WHERE job_id = $1 ORDER BY budget_atomic, quoted_at", [jobId]);
  return rows.map((row) => ({ provider: toAddress(row.provider), budget: row.budget_atomic, deliverWithinS: row.deliver_within_s, note: row.note, validUntil: row.valid_until, quotedAt: row.quoted_at, isValid: row.is_valid }));
}

// ---------------------------------------------------------------- files

type FileRow = { sha256: Buffer; kind: JobFile["kind"]; media_type: string; size: number; by: Buffer; at: Date };
const fileFromRow = ({ sha256, kind, media_type, size, by, at }: FileRow): JobFile => ({ sha256: toHex(sha256), kind, mediaType: media_type, size, by: toAddress(by), at });

/** Keeps a file once, unless the job's files would come to more than `mostBytes`. @returns false then. */
export async function saveFile(db: Queryable, jobId: string, file: Omit<JobFile, "at">, sealed: Buffer, mostBytes: number): Promise<boolean> {
  await db.query("SELECT 1 FROM job WHERE job_id = $1 FOR UPDATE", [jobId]);
  const { rowCount } = await db.query(
    `INSERT INTO job_file (job_id, sha256, kind, media_type, size, sealed, by) SELECT $1, $2::bytea, $3, $4, $5::integer, $6::bytea, $7::bytea
     WHERE (SELECT coalesce(sum(size), 0) + $5::integer FROM job_file WHERE job_id = $1) <= $8
     ON CONFLICT (job_id, sha256) DO NOTHING`,
    [jobId, toBytes(file.sha256), file.kind, file.mediaType, file.size, sealed, toBytes(file.by), mostBytes],
  );
  return rowCount === 1 || (await findFile(db, jobId, file.sha256)) !== undefined;
}

export async function findFile(db: Queryable, jobId: string, sha256: Hex): Promise<(JobFile & { sealed: Buffer }) | undefined> {
  const { rows } = await db.query<FileRow & { sealed: Buffer }>("SELECT * FROM job_file WHERE job_id = $1 AND sha256 = $2", [jobId, toBytes(sha256)]);
  return rows[0] === undefined ? undefined : { ...fileFromRow(rows[0]), sealed: rows[0].sealed };
}

export async function listFiles(db: Queryable, jobId: string): Promise<JobFile[]> {
  const { rows } = await db.query<FileRow>("SELECT sha256, kind, media_type, size, by, at FROM job_file WHERE job_id = $1 ORDER BY at", [jobId]);
  return rows.map(fileFromRow);
}

/** What was handed in on the chain, of which nothing need be known here. */
export async function deliverableOf(db: Queryable, jobId: string): Promise<Hex | undefined> {
  const { rows } = await db.query<{ deliverable: Hex }>("SELECT data ->> 'deliverable' AS deliverable FROM job_event WHERE job_id = $1 AND kind = 'submitted' AND transaction IS NOT NULL ORDER BY event_id DESC LIMIT 1", [jobId]);
  return rows[0]?.deliverable;
}

// ---------------------------------------------------------------- events

export type NewEvent = { kind: string; by?: Address | undefined; data?: Record<string, unknown> };

/** Something that happened here. */
export async function addEvent(db: Queryable, jobId: string, { kind, by, data = {} }: NewEvent): Promise<void> {
  await db.query("INSERT INTO job_event (job_id, kind, actor, data) VALUES ($1, $2, $3, $4)", [jobId, kind, by === undefined ? null : toBytes(by), JSON.stringify(data)]);
}

type EventRow = { event_id: bigint; kind: string; at: Date; actor: Buffer | null; data: Record<string, unknown>; block_number: bigint | null; transaction: Buffer | null };

/** In the order in which it was seen. */
export async function listEvents(db: Queryable, jobId: string, after = 0n, limit = 500): Promise<JobEvent[]> {
  const { rows } = await db.query<EventRow>("SELECT event_id, kind, at, actor, data, block_number, transaction FROM job_event WHERE job_id = $1 AND event_id > $2 ORDER BY event_id LIMIT $3", [jobId, after, limit]);
  return rows.map((row) => ({
    eventId: row.event_id, kind: row.kind, at: row.at, by: row.actor === null ? undefined : toAddress(row.actor), data: row.data, block: row.block_number ?? undefined,
    transaction: row.transaction === null ? undefined : toHex(row.transaction),
  }));
}
