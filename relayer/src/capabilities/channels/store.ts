// SQL of the channel table; the one place where its rows become `Channel`.
import type { Address, Hex } from "viem";
import type { ChannelConfig } from "../../../../sdk/src/typed-data.ts";
import { toAddress, toBytes, toHex } from "../../db/codec.ts";
import type { Queryable } from "../../db/pool.ts";

/** What the chain says of a channel as of `syncedBlock`; amounts in atomic units, times in unix seconds. */
export type ChainView = {
  balance: bigint;
  totalClaimed: bigint;
  withdrawAmount: bigint;
  /** 0 when no withdrawal is pending. */
  withdrawInitiatedAt: number;
  refundNonce: bigint;
  syncedBlock: bigint;
};

export type Channel = ChainView & {
  channelId: Hex;
  config: ChannelConfig;
  charged: bigint;
  reserved: bigint;
  signedCeiling: bigint;
  signedSignature: Hex | undefined;
  broadcastCeiling: bigint;
  requestCount: bigint;
  frozenBy: string | undefined;
};

export type ChannelRow = {
  channel_id: Buffer; payer: Buffer; payer_authorizer: Buffer; receiver: Buffer; receiver_authorizer: Buffer; token: Buffer;
  withdraw_delay_s: number; salt: Buffer; balance: bigint; total_claimed: bigint; withdraw_amount: bigint;
  withdraw_initiated_at: bigint; refund_nonce: bigint; synced_block: bigint; charged: bigint; reserved: bigint;
  signed_ceiling: bigint; signed_signature: Buffer | null; broadcast_ceiling: bigint; request_count: bigint; frozen_by: string | null;
};

export function channelFromRow(row: ChannelRow): Channel {
  return {
    channelId: toHex(row.channel_id),
    config: {
      payer: toAddress(row.payer),
      payerAuthorizer: toAddress(row.payer_authorizer),
      receiver: toAddress(row.receiver),
      receiverAuthorizer: toAddress(row.receiver_authorizer),
      token: toAddress(row.token),
      withdrawDelay: row.withdraw_delay_s,
      salt: toHex(row.salt),
    },
    balance: row.balance,
    totalClaimed: row.total_claimed,
    withdrawAmount: row.withdraw_amount,
    withdrawInitiatedAt: Number(row.withdraw_initiated_at),
    refundNonce: row.refund_nonce,
    syncedBlock: row.synced_block,
    charged: row.charged,
    reserved: row.reserved,
    signedCeiling: row.signed_ceiling,
    signedSignature: row.signed_signature === null ? undefined : toHex(row.signed_signature),
    broadcastCeiling: row.broadcast_ceiling,
    requestCount: row.request_count,
    frozenBy: row.frozen_by ?? undefined,
  };
}

/** A channel as its row would be if it were taken in now: what is claimed on chain counts as charged. */
export function unknownChannel(channelId: Hex, config: ChannelConfig, view: ChainView): Channel {
  return {
    ...view, channelId, config, charged: view.totalClaimed, reserved: 0n, signedCeiling: 0n, signedSignature: undefined,
    broadcastCeiling: 0n, requestCount: 0n, frozenBy: undefined,
  };
}

export async function findChannel(db: Queryable, channelId: Hex): Promise<Channel | undefined> {
  const { rows } = await db.query<ChannelRow>({ name: "channel_find", text: "SELECT * FROM channel WHERE channel_id = $1", values: [toBytes(channelId)] });
  return rows[0] === undefined ? undefined : channelFromRow(rows[0]);
}

/** Inserts a channel we did not know; what is claimed on chain already counts as charged. Does nothing when it is known. */
export async function insertChannel(db: Queryable, channelId: Hex, config: ChannelConfig, view: ChainView): Promise<void> {
  await db.query({
    name: "channel_insert",
    text: `INSERT INTO channel (channel_id, payer, payer_authorizer, receiver, receiver_authorizer, token, withdraw_delay_s, salt,
             balance, total_claimed, withdraw_amount, withdraw_initiated_at, refund_nonce, synced_block, opening_charged, charged)
           VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $10, $10)
           ON CONFLICT (channel_id) DO NOTHING`,
    values: [toBytes(channelId), ...addresses(config), config.withdrawDelay, toBytes(config.salt), view.balance, view.totalClaimed,
      view.withdrawAmount, view.withdrawInitiatedAt, view.refundNonce, view.syncedBlock],
  });
}

function addresses(config: ChannelConfig): Buffer[] {
  const list: Address[] = [config.payer, config.payerAuthorizer, config.receiver, config.receiverAuthorizer, config.token];
  return list.map(toBytes);
}

/**
 * Replaces the cached chain view by a read at the same block or a later one; a read at an earlier block changes nothing.
 * What somebody else claimed beyond our charges counts as charged: it can never be charged again.
 */
export async function updateChainView(db: Queryable, channelId: Hex, view: ChainView): Promise<boolean> {
  const { rowCount } = await db.query({
    name: "channel_sync",
    text: `UPDATE channel SET balance = $2, total_claimed = $3::numeric, withdraw_amount = $4, withdraw_initiated_at = $5, refund_nonce = $6,
             synced_block = $7, opening_charged = CASE WHEN $3::numeric > charged THEN $3::numeric ELSE opening_charged END, charged = GREATEST(charged, $3::numeric)
           WHERE channel_id = $1 AND synced_block <= $7`,
    values: [toBytes(channelId), view.balance, view.totalClaimed, view.withdrawAmount, view.withdrawInitiatedAt, view.refundNonce, view.syncedBlock],
  });
  return rowCount === 1;
}

/** As updateChainView for many channels at once, locked in id order so that two of these cannot wait for each other. */
export async function updateChainViews(db: Queryable, views: ReadonlyMap<Hex, ChainView>): Promise<void> {
  const list = [...views];
  const column = (read: (view: ChainView) => bigint | number) => list.map(([, view]) => String(read(view)));
  await db.query(
    `WITH held AS (SELECT channel_id FROM channel WHERE channel_id = ANY($1::bytea[]) ORDER BY channel_id FOR NO KEY UPDATE)
     UPDATE channel c SET balance = v.balance, total_claimed = v.total, withdraw_amount = v.amount, withdraw_initiated_at = v.initiated, refund_nonce = v.nonce,
       synced_block = v.block, opening_charged = CASE WHEN v.total > c.charged THEN v.total ELSE c.opening_charged END, charged = GREATEST(c.charged, v.total)
     FROM held JOIN unnest($1::bytea[], $2::numeric[], $3::numeric[], $4::numeric[], $5::bigint[], $6::numeric[], $7::bigint[])
       AS v (channel_id, balance, total, amount, initiated, nonce, block) USING (channel_id)
     WHERE c.channel_id = held.channel_id AND c.synced_block <= v.block`,
    [list.map(([id]) => toBytes(id)), column((view) => view.balance), column((view) => view.totalClaimed), column((view) => view.withdrawAmount),
      column((view) => view.withdrawInitiatedAt), column((view) => view.refundNonce), column((view) => view.syncedBlock)],
  );
}

/**
 * Replaces the view by an earlier block's, after a reorganisation. `replaced` is the synced_block that was seen before
 * the chain was read: a newer read by somebody else is left alone.
 */
export async function rewindChainView(db: Queryable, channelId: Hex, view: ChainView, replaced: bigint): Promise<boolean> {
  const { rowCount } = await db.query(
    `UPDATE channel SET balance = $2, total_claimed = $3::numeric, withdraw_amount = $4, withdraw_initiated_at = $5, refund_nonce = $6,
       synced_block = $7, opening_charged = CASE WHEN $3::numeric > charged THEN $3::numeric ELSE opening_charged END, charged = GREATEST(charged, $3::numeric)
     WHERE channel_id = $1 AND synced_block = $8`,
    [toBytes(channelId), view.balance, view.totalClaimed, view.withdrawAmount, view.withdrawInitiatedAt, view.refundNonce, view.syncedBlock, replaced],
  );
  return rowCount === 1;
}

/** Which of these we keep a row of, and the block of its view. */
export async function knownChannels(db: Queryable, channelIds: readonly Hex[]): Promise<Map<Hex, bigint>> {
  const { rows } = await db.query<SyncedRow>("SELECT channel_id, synced_block FROM channel WHERE channel_id = ANY($1)", [channelIds.map(toBytes)]);
  return syncedFromRows(rows);
}

/** Channels whose view was read above `block`. */
export async function channelsSyncedAbove(db: Queryable, block: bigint): Promise<Map<Hex, bigint>> {
  const { rows } = await db.query<SyncedRow>("SELECT channel_id, synced_block FROM channel WHERE synced_block > $1", [block]);
  return syncedFromRows(rows);
}

type SyncedRow = { channel_id: Buffer; synced_block: bigint };
const syncedFromRows = (rows: SyncedRow[]) => new Map(rows.map((row) => [toHex(row.channel_id), row.synced_block]));
