// SQL of what the chain recorded of our channels, and of the slow pass over all of them.
import type { Address, Hex } from "viem";
import { toBytes, toHex } from "../../db/codec.ts";
import type { Queryable } from "../../db/pool.ts";
import { channelFromRow, type Channel, type ChannelRow } from "./store.ts";

export type RecordKind = "deposit" | "claim" | "refund" | "withdraw_started" | "withdraw_cancelled" | "withdraw_finalized";

/** One thing that happened to one channel. */
export type ChainRecord = { txHash: Hex; logIndex: number; rowIndex: number; channelId: Hex; kind: RecordKind; amount: bigint; blockNumber: bigint; blockHash: Hex };
export type Written = Pick<ChainRecord, "txHash" | "channelId" | "kind" | "amount" | "blockNumber"> & { ours: boolean; unclaimed: bigint };

/** Writes down what is new of channels we know; what is there already, in the same block, stays as it is. @returns what is new. */
export async function writeRecords(db: Queryable, records: readonly ChainRecord[]): Promise<Written[]> {
  if (records.length === 0) return [];
  const { rows } = await db.query<{ tx_hash: Buffer; channel_id: Buffer; kind: RecordKind; amount: bigint; block_number: bigint; ours: boolean; unclaimed: bigint }>(
    `WITH written AS (
       INSERT INTO channel_log (tx_hash, log_index, row_index, channel_id, kind, amount, block_number, block_hash, ours)
       SELECT r.tx_hash, r.log_index, r.row_index, c.channel_id, r.kind, r.amount, r.block_number, r.block_hash,
         EXISTS (SELECT 1 FROM chain_tx t WHERE t.hash = r.tx_hash) OR EXISTS (SELECT 1 FROM chain_tx_version v WHERE v.hash = r.tx_hash)
       FROM unnest($1::bytea[], $2::int[], $3::int[], $4::bytea[], $5::text[], $6::numeric[], $7::bigint[], $8::bytea[]) AS r (tx_hash, log_index, row_index, channel_id, kind, amount, block_number, block_hash)
       JOIN channel c ON c.channel_id = r.channel_id ORDER BY r.block_number, r.log_index, r.row_index
       ON CONFLICT (tx_hash, log_index, row_index) DO UPDATE SET block_number = EXCLUDED.block_number, block_hash = EXCLUDED.block_hash, gone_at = NULL
         WHERE channel_log.gone_at IS NOT NULL OR channel_log.block_hash <> EXCLUDED.block_hash
       RETURNING tx_hash, channel_id, kind, amount, block_number, ours)
     SELECT w.*, GREATEST(c.charged - c.total_claimed, 0) AS unclaimed FROM written w JOIN channel c USING (channel_id)`,
    [records.map((one) => toBytes(one.txHash)), records.map((one) => one.logIndex), records.map((one) => one.rowIndex), records.map((one) => toBytes(one.channelId)), records.map((one) => one.kind),
      records.map((one) => one.amount), records.map((one) => one.blockNumber), records.map((one) => toBytes(one.blockHash))],
  );
  return rows.map((row) => ({ txHash: toHex(row.tx_hash), channelId: toHex(row.channel_id), kind: row.kind, amount: row.amount, blockNumber: row.block_number, ours: row.ours, unclaimed: row.unclaimed }));
}

/** Marks what is written from a block on and is in none of these blocks: they are all that the chain has there now. */
export async function markGone(db: Queryable, from: bigint, blockHashes: readonly Hex[]): Promise<number> {
  const { rowCount } = await db.query("UPDATE channel_log SET gone_at = now() WHERE block_number >= $1 AND gone_at IS NULL AND block_hash <> ALL($2::bytea[])", [from, blockHashes.map(toBytes)]);
  return rowCount ?? 0;
}

/** True for a key that sends transactions for this relayer. */
export async function isSigner(db: Queryable, address: Address): Promise<boolean> {
  const { rowCount } = await db.query("SELECT 1 FROM chain_signer WHERE address = $1", [toBytes(address)]);
  return (rowCount ?? 0) > 0;
}

export type History = { kind: RecordKind; amount: bigint; txHash: Hex; blockNumber: bigint; ours: boolean; seenAt: Date };

/** What stands on the chain of a channel, the newest first. */
export async function historyOf(db: Queryable, channelId: Hex, limit: number): Promise<History[]> {
  const { rows } = await db.query<{ kind: RecordKind; amount: bigint; tx_hash: Buffer; block_number: bigint; ours: boolean; seen_at: Date }>(
    "SELECT kind, amount, tx_hash, block_number, ours, seen_at FROM channel_log WHERE channel_id = $1 AND gone_at IS NULL ORDER BY block_number DESC, log_index DESC, row_index DESC LIMIT $2",
    [toBytes(channelId), limit],
  );
  return rows.map((row) => ({ kind: row.kind, amount: row.amount, txHash: toHex(row.tx_hash), blockNumber: row.block_number, ours: row.ours, seenAt: row.seen_at }));
}

/** Channels whose history from before we knew them is still to be looked up. */
export async function historyWanted(db: Queryable, limit: number): Promise<Hex[]> {
  const { rows } = await db.query<{ channel_id: Buffer }>("SELECT channel_id FROM channel WHERE history_wanted LIMIT $1", [limit]);
  return rows.map((row) => toHex(row.channel_id));
}

export async function historyFound(db: Queryable, channelIds: readonly Hex[]): Promise<void> {
  // In id order, as all writers of several channels.
  await db.query(
    `WITH turn AS (SELECT channel_id FROM channel WHERE channel_id = ANY($1::bytea[]) ORDER BY channel_id FOR NO KEY UPDATE)
     UPDATE channel c SET history_wanted = false FROM turn WHERE c.channel_id = turn.channel_id`,
    [channelIds.map(toBytes)],
  );
}

const PASS = "channels";

/** The next channels of the slow pass; after the last it begins again. */
export async function nextChannels(db: Queryable, limit: number): Promise<Channel[]> {
  const { rows } = await db.query<ChannelRow>(
    `SELECT * FROM channel WHERE channel_id > coalesce((SELECT channel_id FROM watch_cursor WHERE name = $1), '\\x0000000000000000000000000000000000000000000000000000000000000000')
     ORDER BY channel_id LIMIT $2`,
    [PASS, limit],
  );
  return rows.map(channelFromRow);
}

/** @param last the last channel that was compared, or undefined after the end. */
export async function savePass(db: Queryable, last: Hex | undefined): Promise<void> {
  if (last === undefined) await db.query("DELETE FROM watch_cursor WHERE name = $1", [PASS]);
  else await db.query("INSERT INTO watch_cursor (name, channel_id) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET channel_id = EXCLUDED.channel_id", [PASS, toBytes(last)]);
}
