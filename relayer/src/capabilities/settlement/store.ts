// SQL of settlement: what is in flight, what came of it, what was refused.
import type { Address, Hex } from "viem";
import { toAddress, toBytes, toHex } from "../../db/codec.ts";
import type { Queryable } from "../../db/pool.ts";
import type { RowOutcome } from "./outcome.ts";
import { insertTree, markStreams } from "./receipt-root-store.ts";
import type { CallRange, GroupReceipts } from "./receipt-roots.ts";
import { mostPressing, payeeKey, type Batch, type Group, type PlannedRow } from "./packing.ts";

/** A row of the batch is in flight already: another worker was faster. */
export class RowsInFlight extends Error {
  override name = "RowsInFlight";
}

/**
 * Writes the batch in the transaction that commits its signed bytes, and marks its vouchers as shown to the public. One row of
 * settlement_batch for each receiver: several share a transaction.
 * @throws RowsInFlight, which rolls everything back before it is broadcast.
 */
export async function insertBatch(client: Queryable, batch: Batch, txId: bigint): Promise<void> {
  const ids = batch.groups.flatMap(({ rows }) => rows.map(({ channelId }) => toBytes(channelId)));
  // In id order, so that two writers of several channels cannot wait for each other.
  await client.query("SELECT 1 FROM channel WHERE channel_id = ANY($1) ORDER BY channel_id FOR NO KEY UPDATE", [ids]);
  const open = await client.query("SELECT 1 FROM settlement_row WHERE channel_id = ANY($1) AND state = 'sent' LIMIT 1", [ids]);
  if (open.rowCount !== 0) throw new RowsInFlight();
  for (const { receipts } of batch.groups) if (receipts !== undefined) await insertTree(client, receipts.root, receipts.leaves);
  for (const groups of Map.groupBy(batch.groups, payeeKey).values()) await insertReceiver(client, batch, groups, txId);
  await client.query(
    `UPDATE channel c SET broadcast_ceiling = GREATEST(c.broadcast_ceiling, r.ceiling) FROM settlement_row r JOIN settlement_batch b USING (batch_id)
     WHERE b.tx_id = $1 AND r.channel_id = c.channel_id`,
    [txId],
  );
}

async function insertReceiver(client: Queryable, { form }: Batch, groups: readonly Group[], txId: bigint): Promise<void> {
  const { receiver, token } = groups[0]!;
  const { rows: inserted } = await client.query<{ batch_id: bigint }>(
    "INSERT INTO settlement_batch (tx_id, mode, receiver, token, reason) VALUES ($1, $2, $3, $4, $5) RETURNING batch_id",
    [txId, form === "packed" ? "tallystick" : "canonical", toBytes(receiver), toBytes(token), mostPressing(groups)],
  );
  const rows = groups.flatMap(({ rows: own, receipts }) => own.map((row) => ({ ...row, receipts: rangeOf(receipts, row.channelId) })));
  await client.query(
    `INSERT INTO settlement_row (batch_id, channel_id, ceiling, signature, total_claimed, receipts_root, receipts_from, receipts_to, receipts_call)
     SELECT $1, channel_id, ceiling, signature, total, root, since, upto, coalesce(call, 0)
     FROM unnest($2::bytea[], $3::numeric[], $4::bytea[], $5::numeric[], $6::bytea[], $7::numeric[], $8::numeric[], $9::bigint[]) AS r (channel_id, ceiling, signature, total, root, since, upto, call)`,
    [
      inserted[0]!.batch_id, rows.map((row) => toBytes(row.channelId)), rows.map((row) => row.ceiling), rows.map((row) => toBytes(row.signature)), rows.map((row) => row.totalClaimed),
      rows.map(({ receipts }) => receipts?.root), rows.map(({ receipts }) => receipts?.from), rows.map(({ receipts }) => receipts?.upTo), rows.map(({ receipts }) => receipts?.call),
    ],
  );
  await markStreams(client, inserted[0]!.batch_id, groups.flatMap(({ receipts }) => receipts?.streams ?? []));
  await client.query("INSERT INTO settlement_payout (receiver, token) VALUES ($1, $2) ON CONFLICT DO NOTHING", [toBytes(receiver), toBytes(token)]);
}

/** Undefined for a row whose receipts are under no root. */
function rangeOf(receipts: GroupReceipts | undefined, channelId: Hex): (CallRange & { root: Buffer }) | undefined {
  const range = receipts?.ranges.get(channelId);
  return range === undefined ? undefined : { root: toBytes(receipts!.root), ...range };
}

/** What one transaction claims for one receiver. */
export type OpenBatch = {
  batchId: bigint;
  txId: bigint;
  receiver: Address;
  token: Address;
  reason: string;
  createdAt: Date;
  rows: { channelId: Hex; totalClaimed: bigint; ceiling: bigint }[];
};

/** Batches in flight, those of a transaction together. */
export async function openBatches(db: Queryable): Promise<OpenBatch[][]> {
  const { rows } = await db.query<{
    batch_id: bigint; tx_id: bigint; receiver: Buffer; token: Buffer; reason: string; created_at: Date; channel_ids: Buffer[]; totals: string[]; ceilings: string[];
  }>(
    `SELECT b.batch_id, b.tx_id, b.receiver, b.token, b.reason, b.created_at, array_agg(r.channel_id::bytea ORDER BY r.channel_id) AS channel_ids,
       array_agg(r.total_claimed::text ORDER BY r.channel_id) AS totals, array_agg(r.ceiling::text ORDER BY r.channel_id) AS ceilings
     FROM settlement_batch b JOIN settlement_row r USING (batch_id)
     WHERE b.state = 'sent' AND b.tx_id IN (SELECT tx_id FROM settlement_batch WHERE state = 'sent' GROUP BY tx_id ORDER BY tx_id LIMIT 100)
     GROUP BY b.batch_id ORDER BY b.batch_id`,
  );
  const batches = rows.map((row): OpenBatch => ({
    batchId: row.batch_id,
    txId: row.tx_id,
    receiver: toAddress(row.receiver),
    token: toAddress(row.token),
    reason: row.reason,
    createdAt: row.created_at,
    rows: row.channel_ids.map((id, index) => ({ channelId: toHex(id), totalClaimed: BigInt(row.totals[index]!), ceiling: BigInt(row.ceilings[index]!) })),
  }));
  return [...Map.groupBy(batches, ({ txId }) => txId).values()];
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
  await client.query("DELETE FROM settlement_quarantine WHERE channel_id = ANY($1)", [list.filter(([, outcome]) => outcome.state === "claimed").map(([id]) => toBytes(id))]);
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

/** The longest pause between two attempts, seconds. */
const LONGEST_PAUSE_S = 86_400;

/** Sets a channel aside until the chain or its voucher changes, or a pause is over that doubles with each refusal. */
export async function quarantine(db: Queryable, row: Pick<PlannedRow, "channelId" | "ceiling">, reason: string, now: Date, pauseS: number): Promise<void> {
  await db.query(
    `INSERT INTO settlement_quarantine (channel_id, reason, signed_ceiling, balance, total_claimed, withdraw_initiated_at, retry_at)
     SELECT channel_id, $2, $3, balance, total_claimed, withdraw_initiated_at, $4::timestamptz + $5 * interval '1 second' FROM channel WHERE channel_id = $1
     ON CONFLICT (channel_id) DO UPDATE SET reason = EXCLUDED.reason, signed_ceiling = EXCLUDED.signed_ceiling, balance = EXCLUDED.balance,
       total_claimed = EXCLUDED.total_claimed, withdraw_initiated_at = EXCLUDED.withdraw_initiated_at, attempts = settlement_quarantine.attempts + 1,
       retry_at = $4::timestamptz + LEAST($6::float8, $5 * power(2, LEAST(settlement_quarantine.attempts, 20))) * interval '1 second', created_at = now()`,
    [toBytes(row.channelId), reason, row.ceiling, now, pauseS, LONGEST_PAUSE_S],
  );
}
