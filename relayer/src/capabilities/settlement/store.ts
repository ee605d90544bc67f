// SQL of settlement: what can be claimed, what is in flight, what came of it.
import type { Address, Hex } from "viem";
import { toAddress, toBytes, toHex } from "../../db/codec.ts";
import type { Db, Queryable } from "../../db/pool.ts";
import { channelFromRow } from "../channels/store.ts";
import type { Batch, Claimable, PlannedRow } from "./logic.ts";
import type { RowOutcome } from "./outcome.ts";

/** A row of the batch is in flight already: another worker was faster. */
export class RowsInFlight extends Error {
  override name = "RowsInFlight";
}

/** Rows looked at in one pass; what does not fit comes with the next. */
const CLAIMABLE_LIMIT = 20_000;
/**
 * Channels with charges that the chain does not know of, without those in flight, under refund, or refused as they stand.
 * The age is that of the oldest charge that is not claimed; when it cannot be told, that of the channel.
 */
export async function claimableChannels(db: Queryable, now: Date): Promise<Claimable[]> {
  const { rows } = await db.query<Parameters<typeof channelFromRow>[0] & { unclaimed_since: Date }>(
    `SELECT c.*, COALESCE(oldest.at, c.created_at) AS unclaimed_since
     FROM channel c
     LEFT JOIN LATERAL (
       -- A ceiling is never below what was charged under it, so the index of vouchers leads to the first of these.
       SELECT COALESCE(p.resolved_at, p.reserved_at) AS at FROM payment p
       WHERE p.channel_id = c.channel_id AND p.state = 'charged' AND p.ceiling > c.total_claimed AND p.charged_cumulative > c.total_claimed
       ORDER BY p.ceiling LIMIT 1) oldest ON true
     WHERE c.charged > c.total_claimed AND c.signed_signature IS NOT NULL
       AND NOT EXISTS (SELECT 1 FROM settlement_row r WHERE r.channel_id = c.channel_id AND r.state = 'sent')
       AND NOT EXISTS (SELECT 1 FROM refund f WHERE f.channel_id = c.channel_id AND f.state = 'sent')
       AND NOT EXISTS (SELECT 1 FROM settlement_quarantine q WHERE q.channel_id = c.channel_id
         AND q.signed_ceiling = c.signed_ceiling AND q.balance = c.balance AND q.retry_at > $1)
     ORDER BY unclaimed_since LIMIT ${CLAIMABLE_LIMIT}`,
    [now],
  );
  return rows.map((row) => {
    const { channelId, config, charged, totalClaimed, balance, signedCeiling, signedSignature, withdrawInitiatedAt } = channelFromRow(row);
    return {
      channelId, config, charged, totalClaimed, balance,
      ceiling: signedCeiling,
      signature: signedSignature!,
      withdrawPending: withdrawInitiatedAt > 0,
      unclaimedSinceS: Math.floor(row.unclaimed_since.getTime() / 1000),
    };
  });
}

/**
 * Writes the batch in the transaction that commits its signed bytes, and marks its vouchers as shown to the public.
 * @throws RowsInFlight, which rolls everything back before it is broadcast.
 */
export async function insertBatch(client: Queryable, batch: Batch, txId: bigint, mode: string): Promise<void> {
  const ids = batch.rows.map((row) => toBytes(row.channelId));
  // In id order, so that two writers of several channels cannot wait for each other.
  await client.query("SELECT 1 FROM channel WHERE channel_id = ANY($1) ORDER BY channel_id FOR NO KEY UPDATE", [ids]);
  const open = await client.query("SELECT 1 FROM settlement_row WHERE channel_id = ANY($1) AND state = 'sent' LIMIT 1", [ids]);
  if (open.rowCount !== 0) throw new RowsInFlight();
  const { rows } = await client.query<{ batch_id: bigint }>(
    "INSERT INTO settlement_batch (tx_id, mode, receiver, token, reason) VALUES ($1, $2, $3, $4, $5) RETURNING batch_id",
    [txId, mode, toBytes(batch.receiver), toBytes(batch.token), batch.reason],
  );
  await client.query(
    `INSERT INTO settlement_row (batch_id, channel_id, ceiling, signature, total_claimed)
     SELECT $1, * FROM unnest($2::bytea[], $3::numeric[], $4::bytea[], $5::numeric[])`,
    [rows[0]!.batch_id, ids, batch.rows.map((row) => row.ceiling), batch.rows.map((row) => toBytes(row.signature)), batch.rows.map((row) => row.totalClaimed)],
  );
  await client.query(
    `UPDATE channel c SET broadcast_ceiling = GREATEST(c.broadcast_ceiling, r.ceiling) FROM settlement_row r
     WHERE r.batch_id = $1 AND r.channel_id = c.channel_id`,
    [rows[0]!.batch_id],
  );
  await client.query("INSERT INTO settlement_payout (receiver, token) VALUES ($1, $2) ON CONFLICT DO NOTHING", [toBytes(batch.receiver), toBytes(batch.token)]);
}

export type OpenBatch = {
  batchId: bigint;
  txId: bigint;
  receiver: Address;
  token: Address;
  reason: string;
  rows: { channelId: Hex; totalClaimed: bigint; ceiling: bigint }[];
};

export async function openBatches(db: Queryable): Promise<OpenBatch[]> {
  const { rows } = await db.query<{
    batch_id: bigint; tx_id: bigint; receiver: Buffer; token: Buffer; reason: string; channel_ids: Buffer[]; totals: string[]; ceilings: string[];
  }>(
    `SELECT b.batch_id, b.tx_id, b.receiver, b.token, b.reason, array_agg(r.channel_id::bytea ORDER BY r.channel_id) AS channel_ids,
       array_agg(r.total_claimed::text ORDER BY r.channel_id) AS totals, array_agg(r.ceiling::text ORDER BY r.channel_id) AS ceilings
     FROM settlement_batch b JOIN settlement_row r USING (batch_id) WHERE b.state = 'sent' GROUP BY b.batch_id ORDER BY b.batch_id LIMIT 200`,
  );
  return rows.map((row) => ({
    batchId: row.batch_id,
    txId: row.tx_id,
    receiver: toAddress(row.receiver),
    token: toAddress(row.token),
    reason: row.reason,
    rows: row.channel_ids.map((id, index) => ({ channelId: toHex(id), totalClaimed: BigInt(row.totals[index]!), ceiling: BigInt(row.ceilings[index]!) })),
  }));
}

/** Batches whose transaction's block was reorganised away since they were resolved: their rows are in flight again. */
export async function reopenBatches(db: Queryable): Promise<bigint[]> {
  const { rows } = await db.query<{ batch_id: bigint }>(
    `WITH again AS (
       UPDATE settlement_batch b SET state = 'sent', settled_atomic = NULL, resolved_at = NULL FROM chain_tx t
       WHERE t.tx_id = b.tx_id AND b.state <> 'sent' AND (t.state IN ('signed', 'broadcast') OR t.resolved_at > b.resolved_at)
       RETURNING b.batch_id),
     rows AS (
       UPDATE settlement_row SET state = 'sent', claimed_atomic = NULL, reason = NULL WHERE batch_id IN (SELECT batch_id FROM again))
     SELECT batch_id FROM again`,
  );
  return rows.map((row) => row.batch_id);
}

/** False when another process resolved it first. */
export async function closeBatch(client: Queryable, batchId: bigint, state: "done" | "failed", settled: bigint, outcomes: ReadonlyMap<Hex, RowOutcome>): Promise<boolean> {
  const { rowCount } = await client.query(
    "UPDATE settlement_batch SET state = $2, settled_atomic = $3, resolved_at = clock_timestamp() WHERE batch_id = $1 AND state = 'sent'",
    [batchId, state, settled],
  );
  if (rowCount !== 1) return false;
  const list = [...outcomes];
  await client.query(
    `UPDATE settlement_row r SET state = o.state, claimed_atomic = o.claimed, reason = o.reason
     FROM unnest($2::bytea[], $3::text[], $4::numeric[], $5::text[]) AS o (channel_id, state, claimed, reason)
     WHERE r.batch_id = $1 AND r.channel_id = o.channel_id`,
    [
      batchId,
      list.map(([id]) => toBytes(id)),
      list.map(([, outcome]) => outcome.state),
      list.map(([, outcome]) => (outcome.state === "claimed" ? outcome.claimed : null)),
      list.map(([, outcome]) => (outcome.state === "claimed" ? null : outcome.reason)),
    ],
  );
  return true;
}

/** The payments whose charges a batch's claimed rows cover, by channel. */
export async function paymentsOf(db: Queryable, batchId: bigint): Promise<{ channelId: Hex; paymentIds: string[] }[]> {
  const { rows } = await db.query<{ channel_id: Buffer; payment_ids: string[] }>(
    `SELECT p.channel_id, array_agg(p.payment_id ORDER BY p.charged_cumulative) AS payment_ids
     FROM settlement_row r JOIN payment p ON p.channel_id = r.channel_id AND p.state = 'charged'
       AND p.charged_cumulative > r.total_claimed - r.claimed_atomic AND p.charged_cumulative <= r.total_claimed
     WHERE r.batch_id = $1 AND r.state = 'claimed' GROUP BY p.channel_id`,
    [batchId],
  );
  return rows.map((row) => ({ channelId: toHex(row.channel_id), paymentIds: row.payment_ids }));
}

/** Sets a channel aside until its voucher or balance changes, or the time is over. */
export async function quarantine(db: Queryable, row: Pick<PlannedRow, "channelId" | "ceiling">, reason: string, retryAt: Date): Promise<void> {
  await db.query(
    `INSERT INTO settlement_quarantine (channel_id, reason, signed_ceiling, balance, retry_at)
     SELECT channel_id, $2, $3, balance, $4 FROM channel WHERE channel_id = $1
     ON CONFLICT (channel_id) DO UPDATE SET reason = EXCLUDED.reason, signed_ceiling = EXCLUDED.signed_ceiling,
       balance = EXCLUDED.balance, retry_at = EXCLUDED.retry_at, created_at = now()`,
    [toBytes(row.channelId), reason, row.ceiling, retryAt],
  );
}

const WORKER_LOCK = 0x7a11_58; // any constant that nothing else uses

/** Runs `work` while no other process does; undefined when another one is at it. The lock ends with the connection. */
export async function whileAlone<T>(db: Db, work: () => Promise<T>): Promise<T | undefined> {
  const client = await db.connect();
  try {
    const { rows } = await client.query<{ held: boolean }>("SELECT pg_try_advisory_lock($1) AS held", [WORKER_LOCK]);
    if (!rows[0]!.held) return undefined;
    try {
      return await work();
    } finally {
      await client.query("SELECT pg_advisory_unlock($1)", [WORKER_LOCK]);
    }
  } finally {
    client.release();
  }
}
