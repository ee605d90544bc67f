// SQL of the trees of receipts whose roots ride in claims: what a claim covers, and what was claimed without a root.
import type { Hex } from "viem";
import { toBytes } from "../../db/codec.ts";
import type { Queryable } from "../../db/pool.ts";
import type { ChannelConfig } from "../../../../sdk/src/typed-data.ts";
import { channelFromRow, type ChannelRow } from "../channels/store.ts";
import { RECEIPT_COLUMNS, toStored, type ReceiptRow, type StoredReceipt } from "../gateway/receipt-store.ts";

/**
 * Where the receipts under a root end: at a cumulative charge, and there at a call. Calls that cost nothing stand at the same charge as the
 * one before them and have later numbers.
 */
export type Mark = { upTo: bigint; call: bigint };

/** Up to where the receipts of these channels are under roots that the chain has; in the order given. */
export async function coveredUpTo(db: Queryable, channelIds: readonly Hex[]): Promise<Mark[]> {
  const { rows } = await db.query<{ up_to: bigint; call: bigint }>(
    `SELECT coalesce(done.receipts_to, 0) AS up_to, coalesce(done.receipts_call, 0) AS call
     FROM unnest($1::bytea[]) WITH ORDINALITY AS r (channel_id, n)
     LEFT JOIN LATERAL (
       SELECT s.receipts_to, s.receipts_call FROM settlement_row s JOIN settlement_batch b USING (batch_id)
       WHERE s.channel_id = r.channel_id AND s.receipts_to IS NOT NULL AND s.state = 'claimed' AND b.state = 'done'
       ORDER BY s.receipts_to DESC, s.receipts_call DESC LIMIT 1) done ON true
     ORDER BY r.n`,
    [channelIds.map(toBytes)],
  );
  return rows.map((row) => ({ upTo: row.up_to, call: row.call }));
}

/** A stream's receipt, as of one of its ends. */
export type StreamReceipt = StoredReceipt & { version: bigint };

/** Of `stream_receipt` s, with its batch b and its row w there: the root that named it is on the chain or on its way. */
const STREAM_COVERED = "((w.state = 'claimed' AND b.state = 'done') OR b.state = 'sent')";
const STREAM_BATCH = "LEFT JOIN settlement_row w ON w.batch_id = s.batch_id AND w.channel_id = s.channel_id LEFT JOIN settlement_batch b ON b.batch_id = w.batch_id";

/** Receipts of streams that are over and under no root, of what is claimed; at most so many. */
export async function uncoveredStreams(db: Queryable, rows: readonly { channelId: Hex; totalClaimed: bigint }[], most: number): Promise<StreamReceipt[]> {
  const { rows: found } = await db.query<ReceiptRow & { version: bigint }>(
    `SELECT ${RECEIPT_COLUMNS}, s.version
     FROM unnest($1::bytea[], $2::numeric[]) AS r (channel_id, total)
     JOIN stream_receipt s ON s.channel_id = r.channel_id JOIN stream t ON t.payment_id = s.payment_id
     JOIN payment p ON p.payment_id = s.payment_id JOIN channel c ON c.channel_id = s.channel_id ${STREAM_BATCH}
     WHERE t.state <> 'open' AND p.charged_cumulative <= r.total AND ${STREAM_COVERED} IS NOT TRUE
     ORDER BY p.charged_cumulative, p.payment_id COLLATE "C" LIMIT $3`,
    [rows.map(({ channelId }) => toBytes(channelId)), rows.map(({ totalClaimed }) => totalClaimed), most],
  );
  return found.map((row) => ({ ...toStored(row), version: row.version }));
}

/** In the transaction that writes the claim: a stream that ran again meanwhile has another receipt, which stays to be covered. */
export async function markStreams(client: Queryable, batchId: bigint, streams: readonly Pick<StreamReceipt, "receipt" | "version">[]): Promise<void> {
  if (streams.length === 0) return;
  await client.query(
    "UPDATE stream_receipt s SET batch_id = $1 FROM unnest($2::text[], $3::bigint[]) AS named (payment_id, version) WHERE s.payment_id = named.payment_id AND s.version = named.version",
    [batchId, streams.map(({ receipt }) => receipt.paymentId), streams.map(({ version }) => version)],
  );
}

export async function insertTree(client: Queryable, root: Hex, leaves: Buffer): Promise<void> {
  await client.query("INSERT INTO receipt_tree (root, leaves) VALUES ($1, $2) ON CONFLICT (root) DO NOTHING", [toBytes(root), leaves]);
}

// ------------------------------------------------------------------ claimed under no root

const ADDED = "ON CONFLICT (channel_id) DO UPDATE SET value_atomic = receipt_unrooted.value_atomic + EXCLUDED.value_atomic";

/** Beside a refund. */
export async function noteUnrooted(client: Queryable, channelId: Hex, claimed: bigint): Promise<void> {
  if (claimed > 0n) await client.query(`INSERT INTO receipt_unrooted (channel_id, value_atomic) VALUES ($1, $2) ${ADDED}`, [toBytes(channelId), claimed]);
}

/**
 * When a batch is closed: rows of the published form, rows whose root never got there or holds not all,
 * and streams that ended while the claim was made.
 */
export async function noteUnrootedRows(client: Queryable, batchId: bigint): Promise<void> {
  await client.query(
    `INSERT INTO receipt_unrooted (channel_id, value_atomic)
     SELECT r.channel_id, coalesce(r.claimed_atomic, 0) FROM settlement_row r JOIN settlement_batch own USING (batch_id)
     WHERE r.batch_id = $1 AND r.state = 'claimed' AND ((r.receipts_root IS NULL AND r.claimed_atomic > 0) OR r.receipts_to < r.total_claimed OR own.state = 'failed' OR EXISTS (
       SELECT 1 FROM stream_receipt s JOIN payment p USING (payment_id) ${STREAM_BATCH}
       WHERE s.channel_id = r.channel_id AND p.charged_cumulative <= r.total_claimed AND ${STREAM_COVERED} IS NOT TRUE))
     ${ADDED}`,
    [batchId],
  );
}

export type Unrooted = { channelId: Hex; config: ChannelConfig; totalClaimed: bigint; value: bigint; since: Date };

/** Those with the most value, that no claim or refund is under way for. */
export async function unrootedChannels(db: Queryable, limit: number): Promise<Unrooted[]> {
  const { rows } = await db.query<ChannelRow & { value_atomic: bigint; since: Date }>(
    `SELECT c.*, u.value_atomic, u.since FROM receipt_unrooted u JOIN channel c USING (channel_id)
     WHERE NOT EXISTS (SELECT 1 FROM settlement_row r WHERE r.channel_id = u.channel_id AND r.state = 'sent')
       AND NOT EXISTS (SELECT 1 FROM refund f WHERE f.channel_id = u.channel_id AND f.state = 'sent')
     ORDER BY u.value_atomic DESC LIMIT $1`,
    [limit],
  );
  return rows.map((row) => {
    const { channelId, config, totalClaimed } = channelFromRow(row);
    return { channelId, config, totalClaimed, value: row.value_atomic, since: row.since };
  });
}

/** What was found to have nothing left to be rooted; more may have come since it was looked at. */
export async function forgetUnrooted(db: Queryable, seen: readonly Pick<Unrooted, "channelId" | "value">[]): Promise<void> {
  if (seen.length === 0) return;
  await db.query(
    "DELETE FROM receipt_unrooted u USING unnest($1::bytea[], $2::numeric[]) AS seen (channel_id, value) WHERE u.channel_id = seen.channel_id AND u.value_atomic = seen.value",
    [seen.map(({ channelId }) => toBytes(channelId)), seen.map(({ value }) => value)],
  );
}
