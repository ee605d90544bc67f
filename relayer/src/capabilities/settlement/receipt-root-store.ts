// SQL of the trees of receipts whose roots ride in claims.
import type { Hex } from "viem";
import { toBytes } from "../../db/codec.ts";
import type { Queryable } from "../../db/pool.ts";

/** Receipts of a channel with a cumulative charge above `from`, up to `to`; atomic units. */
export type ReceiptRange = { from: bigint; to: bigint };

/**
 * What a claim of these channels newly covers: from where the last root that reached the chain ended, up to what is claimed, but never
 * past a stream that still runs: its receipt is not made yet. In the order given.
 */
export async function uncoveredReceipts(db: Queryable, rows: readonly { channelId: Hex; totalClaimed: bigint }[]): Promise<ReceiptRange[]> {
  const { rows: ranges } = await db.query<{ from: string; to: string }>(
    `SELECT coalesce(done.upto, 0)::text AS from, GREATEST(coalesce(done.upto, 0), LEAST(r.total, open.first - 1))::text AS to
     FROM unnest($1::bytea[], $2::numeric[]) WITH ORDINALITY AS r (channel_id, total, n)
     LEFT JOIN LATERAL (
       SELECT max(s.receipts_to) AS upto FROM settlement_row s JOIN settlement_batch b USING (batch_id)
       WHERE s.channel_id = r.channel_id AND s.state = 'claimed' AND b.state = 'done') done ON true
     LEFT JOIN (
       SELECT p.channel_id, min(p.charged_cumulative) AS first FROM stream JOIN payment p USING (payment_id)
       WHERE stream.state = 'open' AND p.state = 'charged' GROUP BY p.channel_id) open ON open.channel_id = r.channel_id
     ORDER BY r.n`,
    [rows.map(({ channelId }) => toBytes(channelId)), rows.map(({ totalClaimed }) => totalClaimed)],
  );
  return ranges.map(({ from, to }) => ({ from: BigInt(from), to: BigInt(to) }));
}

export async function insertTree(client: Queryable, root: Hex, leaves: Buffer): Promise<void> {
  await client.query("INSERT INTO receipt_tree (root, leaves) VALUES ($1, $2) ON CONFLICT (root) DO NOTHING", [toBytes(root), leaves]);
}
