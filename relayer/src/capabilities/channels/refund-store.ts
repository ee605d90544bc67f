// SQL of the refund table and of the freeze that goes with it.
import type { Hex } from "viem";
import type { TxState } from "../../chain/tx-store.ts";
import { toBytes, toHex } from "../../db/codec.ts";
import type { Queryable } from "../../db/pool.ts";
import type { Channel } from "./store.ts";

/** Value of channel.frozen_by while a refund is under way. */
const FROZEN_BY_REFUND = "refund";

export type RefundRow = { channelId: Hex; nonce: bigint; amount: bigint; txId: bigint; txHash: Hex };

/** A payment was reserved or charged, or another refund began, since the channel was read. */
export class ChannelMoved extends Error {
  override name = "ChannelMoved";
}

/**
 * Stops new payments on the channel and records the refund, in the transaction that commits the signed bytes. It must find
 * the channel exactly as the refund was computed from.
 * @throws ChannelMoved, which rolls the refund back before it is broadcast.
 */
export async function freezeForRefund(client: Queryable, channel: Channel, amount: bigint, txId: bigint): Promise<void> {
  const { rowCount } = await client.query(
    // The refund's transaction claims first, so the last voucher is public from its broadcast on.
    `UPDATE channel SET frozen_by = $5,
       broadcast_ceiling = CASE WHEN charged > total_claimed THEN GREATEST(broadcast_ceiling, signed_ceiling) ELSE broadcast_ceiling END
     WHERE channel_id = $1 AND frozen_by IS NULL AND reserved = 0 AND charged = $2 AND refund_nonce = $3 AND balance - charged >= $4`,
    [toBytes(channel.channelId), channel.charged, channel.refundNonce, amount, FROZEN_BY_REFUND],
  );
  if (rowCount !== 1) throw new ChannelMoved();
  await client.query("INSERT INTO refund (channel_id, nonce, amount, tx_id) VALUES ($1, $2, $3, $4)", [toBytes(channel.channelId), channel.refundNonce, amount, txId]);
}

export async function openRefundOf(db: Queryable, channelId: Hex): Promise<RefundRow | undefined> {
  const { rows } = await db.query<Row>(`${SELECT} WHERE r.state = 'sent' AND r.channel_id = $1 ORDER BY r.tx_id DESC LIMIT 1`, [toBytes(channelId)]);
  return rows[0] === undefined ? undefined : refundFromRow(rows[0]);
}

/** Refunds whose transaction is resolved and whose channel is still frozen for them. */
export async function resolvableRefunds(db: Queryable): Promise<RefundRow[]> {
  const { rows } = await db.query<Row>(`${SELECT} WHERE r.state = 'sent' AND t.state IN ('confirmed', 'reverted', 'dropped') ORDER BY r.tx_id LIMIT 100`);
  return rows.map(refundFromRow);
}

/** Refunds that were resolved, and whose block is gone since: their channel is frozen again until they are mined again. */
export async function reopenRefunds(db: Queryable): Promise<Hex[]> {
  const { rows } = await db.query<{ channel_id: Buffer }>(
    `WITH again AS (
       UPDATE refund r SET state = 'sent', refunded_atomic = NULL, claimed_atomic = NULL, resolved_at = NULL FROM chain_tx t
       WHERE t.tx_id = r.tx_id AND r.state <> 'sent' AND (t.state IN ('signed', 'broadcast') OR t.resolved_at > r.resolved_at)
       RETURNING r.channel_id),
     turn AS (SELECT channel_id FROM channel WHERE channel_id IN (SELECT channel_id FROM again) ORDER BY channel_id FOR NO KEY UPDATE)
     UPDATE channel c SET frozen_by = COALESCE(frozen_by, $1) FROM turn WHERE c.channel_id = turn.channel_id RETURNING c.channel_id`,
    [FROZEN_BY_REFUND],
  );
  return rows.map((row) => toHex(row.channel_id));
}

export type RefundResolution = { state: "done" | "failed"; refunded: bigint; claimed: bigint };

/**
 * Closes the refund and lets payments in again. The channel's view must already be of the refund's block or later.
 * @returns false when another process closed it.
 */
export async function closeRefund(client: Queryable, row: RefundRow, { state, refunded, claimed }: RefundResolution): Promise<boolean> {
  const { rowCount } = await client.query(
    "UPDATE refund SET state = $4, refunded_atomic = $5, claimed_atomic = $6, resolved_at = clock_timestamp() WHERE channel_id = $1 AND nonce = $2 AND tx_id = $3 AND state = 'sent'",
    [toBytes(row.channelId), row.nonce, row.txId, state, refunded, claimed],
  );
  if (rowCount !== 1) return false;
  await client.query(
    `UPDATE channel SET frozen_by = NULL WHERE channel_id = $1 AND frozen_by = $2
       AND NOT EXISTS (SELECT 1 FROM refund WHERE channel_id = $1 AND state = 'sent')`,
    [toBytes(row.channelId), FROZEN_BY_REFUND],
  );
  return true;
}

type Row = { channel_id: Buffer; nonce: bigint; amount: bigint; tx_id: bigint; hash: Buffer; state: TxState };
const SELECT = "SELECT r.channel_id, r.nonce, r.amount, r.tx_id, t.hash FROM refund r JOIN chain_tx t USING (tx_id)";
const refundFromRow = (row: Row): RefundRow => ({ channelId: toHex(row.channel_id), nonce: row.nonce, amount: row.amount, txId: row.tx_id, txHash: toHex(row.hash) });
