// SQL of what is sent to the chain about jobs: each thing once, and no more for one account than is paid for.
import type { Address } from "viem";
import type { HireTerms } from "../../../../sdk/src/job-messages.ts";
import { toAddress, toBytes, toHex } from "../../db/codec.ts";
import type { Queryable } from "../../db/pool.ts";
import type { Action, SentAction } from "./types.ts";
import { toWireTerms } from "./wire.ts";

type Row = { verb: string; key: string; by: Buffer | null; tx_id: bigint; hash: Buffer; state: string; at: Date };
const fromRow = (row: Row): SentAction => ({ verb: row.verb, key: row.key, by: row.by === null ? undefined : toAddress(row.by), txId: row.tx_id, hash: toHex(row.hash), txState: row.state, at: row.at });

export async function findAction(db: Queryable, jobId: string, verb: string, key: string): Promise<SentAction | undefined> {
  const { rows } = await db.query<Row>("SELECT a.*, t.hash, t.state FROM job_action a JOIN chain_tx t USING (tx_id) WHERE a.job_id = $1 AND a.verb = $2 AND a.key = $3", [jobId, verb, key]);
  return rows[0] === undefined ? undefined : fromRow(rows[0]);
}

export async function listActions(db: Queryable, jobId: string): Promise<SentAction[]> {
  const { rows } = await db.query<Row>("SELECT a.*, t.hash, t.state FROM job_action a JOIN chain_tx t USING (tx_id) WHERE a.job_id = $1 ORDER BY a.at", [jobId]);
  return rows.map(fromRow);
}

/** Takes the place of an attempt that was lost, and of no other. @returns false when the same is under way, or done. */
export async function recordAction(db: Queryable, jobId: string, { verb, key, by }: Action, txId: bigint): Promise<boolean> {
  const { rowCount } = await db.query(
    `INSERT INTO job_action AS a (job_id, verb, key, by, tx_id) VALUES ($1, $2, $3, $4, $5)
     ON CONFLICT (job_id, verb, key) DO UPDATE SET tx_id = EXCLUDED.tx_id, by = EXCLUDED.by, at = clock_timestamp()
       WHERE EXISTS (SELECT 1 FROM chain_tx t WHERE t.tx_id = a.tx_id AND t.state IN ('reverted', 'dropped'))`,
    [jobId, verb, key, by === undefined ? null : toBytes(by), txId],
  );
  return rowCount === 1;
}

/** Counts those about to be sent too: the account's lock is held until they are. */
export async function countRecent(db: Queryable, by: Address, seconds: number): Promise<number> {
  await lockAccount(db, by);
  const { rows } = await db.query<{ sent: bigint }>("SELECT count(*) AS sent FROM job_action WHERE by = $1 AND at > now() - $2 * interval '1 second'", [toBytes(by), seconds]);
  return Number(rows[0]!.sent);
}

/** Jobs of a client that were hired and are not over. */
export async function countOpen(db: Queryable, client: Address): Promise<number> {
  const { rows } = await db.query<{ open: bigint }>(
    `SELECT count(*) AS open FROM job j JOIN job_action a ON a.job_id = j.job_id AND a.verb = 'hire' JOIN chain_tx t ON t.tx_id = a.tx_id
     WHERE j.client = $1 AND NOT j.over AND t.state NOT IN ('reverted', 'dropped')`,
    [toBytes(client)],
  );
  return Number(rows[0]!.open);
}

/** One account's limits are decided one after the other, in whatever process. */
async function lockAccount(db: Queryable, account: Address): Promise<void> {
  await db.query("SELECT pg_advisory_xact_lock(hashtextextended($1, 7))", [account.toLowerCase()]);
}

/** Writes down what was signed. A job is hired once, unless that attempt was lost. */
export async function recordHire(db: Queryable, jobId: string, terms: HireTerms): Promise<void> {
  await db.query("UPDATE job SET terms = $2, hired_at = now(), provider = $3, withdrawn_at = NULL, due_at = now() WHERE job_id = $1", [jobId, JSON.stringify(toWireTerms(terms)), toBytes(terms.provider)]);
}
