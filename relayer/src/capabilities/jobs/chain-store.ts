// SQL of the view of the chain, and of who looks after which job when.
import type { Hex } from "viem";
import { toBytes, toHex } from "../../db/codec.ts";
import type { Queryable } from "../../db/pool.ts";
import type { ChainState } from "./types.ts";

/** Jobs whose hire is one of these transactions, in whichever version it was mined. */
export async function jobsHiredBy(db: Queryable, hashes: readonly Hex[]): Promise<Map<Hex, string>> {
  const { rows } = await db.query<{ hash: Buffer; job_id: string }>(
    `SELECT v.hash, a.job_id FROM (SELECT tx_id, hash FROM chain_tx WHERE hash = ANY($1::bytea[]) UNION SELECT tx_id, hash FROM chain_tx_version WHERE hash = ANY($1::bytea[])) v
     JOIN job_action a ON a.tx_id = v.tx_id AND a.verb = 'hire'`,
    [hashes.map(toBytes)],
  );
  return new Map(rows.map(({ hash, job_id }) => [toHex(hash), job_id]));
}

/** Of these numbers, the jobs that are ours. */
export async function jobsNumbered(db: Queryable, ids: readonly bigint[]): Promise<Map<bigint, string>> {
  const { rows } = await db.query<{ chain_job_id: bigint; job_id: string }>("SELECT chain_job_id, job_id FROM job WHERE chain_job_id = ANY($1::numeric[])", [ids.map(String)]);
  return new Map(rows.map(({ chain_job_id, job_id }) => [chain_job_id, job_id]));
}

/** Numbers of jobs whose view is of a block above. */
export async function numbersAbove(db: Queryable, block: bigint): Promise<bigint[]> {
  const { rows } = await db.query<{ chain_job_id: bigint }>("SELECT chain_job_id FROM job WHERE chain_block > $1", [block]);
  return rows.map(({ chain_job_id }) => chain_job_id);
}

/** Numbers that were given in blocks above. */
export async function numbersGivenAbove(db: Queryable, block: bigint): Promise<Set<bigint>> {
  const { rows } = await db.query<{ chain_job_id: bigint }>("SELECT chain_job_id FROM job WHERE hired_block > $1", [block]);
  return new Set(rows.map(({ chain_job_id }) => chain_job_id));
}

/** A hire was mined: the number the chain gave, with the first view. */
export async function saveNumber(db: Queryable, jobId: string, chainJobId: bigint, hiredBlock: bigint, state: ChainState, block: bigint): Promise<void> {
  await db.query("UPDATE job SET chain_job_id = $2, hired_block = $3, chain = $4, chain_block = $5, due_at = now(), faults = 0 WHERE job_id = $1 AND chain_job_id IS NULL", [jobId, chainJobId, hiredBlock, JSON.stringify(state), block]);
}

/** Later views replace earlier ones; after a reorganisation, any replaces any. Whoever watches looks again. */
export async function saveState(db: Queryable, chainJobId: bigint, state: ChainState, block: bigint, direction: "forward" | "back"): Promise<void> {
  await db.query(
    `UPDATE job SET chain = $2, chain_block = $3, due_at = CASE WHEN chain = $2::jsonb THEN due_at ELSE now() END, faults = CASE WHEN chain = $2::jsonb THEN faults ELSE 0 END,
       over = over AND chain = $2::jsonb
     WHERE chain_job_id = $1 AND ($4 OR chain_block <= $3)`,
    [chainJobId, JSON.stringify(state), block, direction === "back"],
  );
}

/** What is not among what the chain has now did not happen; hires above lose their number until they are matched with the chain's again. */
export async function forgetAbove(db: Queryable, block: bigint, found: readonly Pick<ChainEvent, "transaction" | "logIndex">[]): Promise<void> {
  await db.query(
    `DELETE FROM job_event e WHERE block_number > $1
       AND NOT EXISTS (SELECT 1 FROM unnest($2::bytea[], $3::integer[]) AS f (transaction, log_index) WHERE f.transaction = e.transaction::bytea AND f.log_index = e.log_index)`,
    [block, found.map(({ transaction }) => toBytes(transaction)), found.map(({ logIndex }) => logIndex)],
  );
  await db.query("UPDATE job SET chain_job_id = NULL, chain = NULL, chain_block = NULL, hired_block = NULL, over = false, due_at = now() WHERE hired_block > $1", [block]);
}

export type ChainEvent = { jobId: string; kind: string; by: Hex | undefined; others: readonly Hex[]; data: Record<string, unknown>; block: bigint; transaction: Hex; logIndex: number };

/** Each once, however often it is seen. */
export async function addChainEvents(db: Queryable, events: readonly ChainEvent[]): Promise<void> {
  for (const { jobId, kind, by, others, data, block, transaction, logIndex } of events) {
    await db.query(
      `INSERT INTO job_event (job_id, kind, actor, others, data, block_number, transaction, log_index) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
       ON CONFLICT (transaction, log_index) WHERE transaction IS NOT NULL DO NOTHING`,
      [jobId, kind, by === undefined ? null : toBytes(by), others.map(toBytes), JSON.stringify(data), block, toBytes(transaction), logIndex],
    );
  }
}

// ---------------------------------------------------------------- the watcher

/** Takes jobs that are due, each for one process, for so long. */
export async function leaseDue(db: Queryable, limit: number, leaseS: number): Promise<string[]> {
  const { rows } = await db.query<{ job_id: string }>(
    `UPDATE job SET leased_until = now() + $2 * interval '1 second' WHERE job_id IN (
       SELECT job_id FROM job WHERE due_at <= now() AND leased_until < now() ORDER BY due_at LIMIT $1 FOR UPDATE SKIP LOCKED) RETURNING job_id`,
    [limit, leaseS],
  );
  return rows.map(({ job_id }) => job_id);
}

/** What became of looking: when to look again, unless something happened meanwhile that makes it due sooner. */
export async function scheduleNext(db: Queryable, jobId: string, next: { inS: number; faults: number } | "over", seen: bigint | undefined): Promise<void> {
  if (next === "over") {
    await db.query("UPDATE job SET over = true, due_at = NULL, leased_until = '-infinity', faults = 0 WHERE job_id = $1", [jobId]);
    return;
  }
  await db.query(
    `UPDATE job SET leased_until = '-infinity', faults = $3,
       due_at = CASE WHEN chain_block IS NOT DISTINCT FROM $4 THEN now() + $2 * interval '1 second' ELSE now() END WHERE job_id = $1`,
    [jobId, next.inS, next.faults, seen ?? null],
  );
}

export async function faultsOf(db: Queryable, jobId: string): Promise<number> {
  const { rows } = await db.query<{ faults: number }>("SELECT faults FROM job WHERE job_id = $1", [jobId]);
  return rows[0]?.faults ?? 0;
}
