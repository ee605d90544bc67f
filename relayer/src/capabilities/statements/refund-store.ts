// SQL of refunds that receivers made themselves.
import type { Address, Hex } from "viem";
import { toAddress, toBytes } from "../../db/codec.ts";
import { inTransaction, type Db, type Queryable } from "../../db/pool.ts";

/** A charged payment; amounts in atomic units. */
export type Refundable = { paymentId: string; payer: Address; receiver: Address; token: Address; service: string; charged: bigint };

export async function findRefundable(db: Queryable, paymentId: string): Promise<Refundable | undefined> {
  const { rows } = await db.query<{ payer: Buffer; receiver: Buffer; token: Buffer; service: string; charged_atomic: bigint }>(
    `SELECT p.payer, coalesce(p.receiver, c.receiver)::bytea AS receiver, coalesce(p.token, c.token)::bytea AS token, p.service, p.charged_atomic
     FROM payment p LEFT JOIN channel c USING (channel_id) WHERE p.payment_id = $1 AND p.state = 'charged'`,
    [paymentId],
  );
  const [row] = rows;
  return row && { paymentId, payer: toAddress(row.payer), receiver: toAddress(row.receiver), token: toAddress(row.token), service: row.service, charged: row.charged_atomic };
}

export type Transfer = { txHash: Hex; logIndex: number; amount: bigint; at: Date };
export type Counted = "counted" | "of_another" | "above_charge";

/** Counts a transfer as a refund of a payment, once; the same again is the same. A payment is not refunded beyond its charge. */
export async function countRefund(db: Db, { paymentId, receiver, token, service, charged }: Refundable, { txHash, logIndex, amount, at }: Transfer): Promise<{ outcome: Counted; refunded: bigint }> {
  return inTransaction(db, async (client) => {
    // Two transfers for one payment at once: the second waits for the first.
    await client.query("SELECT pg_advisory_xact_lock(hashtextextended($1, 15))", [paymentId]);
    const known = await client.query<{ payment_id: string }>("SELECT payment_id FROM provider_refund WHERE tx_hash = $1 AND log_index = $2", [toBytes(txHash), logIndex]);
    const before = await client.query<{ refunded: bigint }>("SELECT coalesce(sum(amount), 0) AS refunded FROM provider_refund WHERE payment_id = $1", [paymentId]);
    const { refunded } = before.rows[0]!;
    if (known.rows[0] !== undefined) return { outcome: known.rows[0].payment_id === paymentId ? "counted" : "of_another", refunded };
    if (refunded + amount > charged) return { outcome: "above_charge", refunded };
    const { rowCount } = await client.query(
      "INSERT INTO provider_refund (tx_hash, log_index, payment_id, receiver, token, service, amount, at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING",
      [toBytes(txHash), logIndex, paymentId, toBytes(receiver), toBytes(token), service, amount, at],
    );
    return rowCount === 1 ? { outcome: "counted", refunded: refunded + amount } : { outcome: "of_another", refunded };
  });
}
