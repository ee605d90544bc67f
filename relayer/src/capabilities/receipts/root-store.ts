// SQL of receipts under roots: which tree a payment's receipt hangs in, and what of a tree everybody may read.
import type { Hex } from "viem";
import { toBytes, toHex } from "../../db/codec.ts";
import type { Queryable } from "../../db/pool.ts";
import { RECEIPT_COLUMNS, toStored, type ReceiptRow, type StoredReceipt } from "../gateway/receipt-store.ts";

/** A claim row that names the payment's receipt among its own. `state`: of the transaction that carries the root. */
export type Rooted = { root: Hex; leaves: Buffer; transaction: Hex; state: "sent" | "claimed" };

/** The claim that names a payment's receipt: one that the chain took, else one in flight. Of a stream, its receipt as it is now. */
export async function findRooted(db: Queryable, paymentId: string): Promise<Rooted | undefined> {
  const { rows } = await db.query<{ root: Buffer; leaves: Buffer; hash: Buffer; state: string }>(
    `SELECT r.receipts_root AS root, t.leaves, tx.hash, b.state FROM payment p
     LEFT JOIN stream s USING (payment_id) LEFT JOIN stream_receipt named USING (payment_id)
     JOIN settlement_row r ON r.channel_id = p.channel_id AND CASE WHEN s.payment_id IS NOT NULL THEN r.batch_id = named.batch_id
       ELSE p.charged_cumulative >= r.receipts_from AND (p.charged_cumulative < r.receipts_to OR (p.charged_cumulative = r.receipts_to AND (p.charged_atomic > 0 OR p.request_number <= r.receipts_call))) END
     JOIN settlement_batch b ON b.batch_id = r.batch_id JOIN chain_tx tx USING (tx_id) JOIN receipt_tree t ON t.root = r.receipts_root
     WHERE p.payment_id = $1 AND p.state = 'charged' AND ((b.state = 'done' AND r.state = 'claimed') OR b.state = 'sent')
     ORDER BY b.state = 'done' DESC, r.batch_id LIMIT 1`,
    [paymentId],
  );
  const [row] = rows;
  return row === undefined ? undefined : { root: toHex(row.root), leaves: row.leaves, transaction: toHex(row.hash), state: row.state === "done" ? "claimed" : "sent" };
}

/** Why a payment's receipt may be under no root. `isStream`: its receipt came later than its charge. */
export type ClaimForm = { inChannel: boolean; claimed: boolean; isStream: boolean; isFree: boolean };

export async function findClaimForm(db: Queryable, paymentId: string): Promise<ClaimForm | undefined> {
  const { rows } = await db.query<{ in_channel: boolean; claimed: boolean; is_stream: boolean; is_free: boolean }>(
    `SELECT p.channel_id IS NOT NULL AS in_channel, coalesce(p.charged_cumulative <= c.total_claimed, false) AS claimed, s.payment_id IS NOT NULL AS is_stream, p.charged_atomic = 0 AS is_free
     FROM payment p LEFT JOIN channel c USING (channel_id) LEFT JOIN stream s USING (payment_id) WHERE p.payment_id = $1`,
    [paymentId],
  );
  const [row] = rows;
  return row === undefined ? undefined : { inChannel: row.in_channel, claimed: row.claimed, isStream: row.is_stream, isFree: row.is_free };
}

export type TreeInfo = { count: number; transactions: { hash: Hex; state: string }[] };

export async function findTree(db: Queryable, root: Hex): Promise<TreeInfo | undefined> {
  const { rows } = await db.query<{ count: number; transactions: { hash: Hex; state: string }[] | null }>(
    `SELECT length(t.leaves) / 32 AS count, (
       SELECT jsonb_agg(DISTINCT jsonb_build_object('hash', hex0x(tx.hash), 'state', tx.state))
       FROM settlement_row r JOIN settlement_batch b USING (batch_id) JOIN chain_tx tx USING (tx_id) WHERE r.receipts_root = t.root) AS transactions
     FROM receipt_tree t WHERE t.root = $1`,
    [toBytes(root)],
  );
  const [row] = rows;
  return row === undefined ? undefined : { count: row.count, transactions: row.transactions ?? [] };
}

/** `acknowledged` is there when the buyer signed that it has the receipt of exactly this digest. */
export type Leaf = { receiptHash: Hex; acknowledged?: { receipt: StoredReceipt; signature: Hex } };

/** Some leaves of a tree, in its order. */
export async function leavesOf(db: Queryable, root: Hex, offset: number, limit: number): Promise<Leaf[]> {
  const { rows } = await db.query<{ leaf: Buffer; ack: Buffer | null } & ReceiptRow>(
    `SELECT l.leaf, a.signature AS ack, ${RECEIPT_COLUMNS}
     FROM receipt_tree t
     CROSS JOIN LATERAL (SELECT n, substring(t.leaves FROM 32 * n + 1 FOR 32) AS leaf FROM generate_series($2::int, LEAST($2::int + $3::int, length(t.leaves) / 32) - 1) AS n) l
     LEFT JOIN receipt_ack a ON a.receipt_hash = l.leaf
     LEFT JOIN payment p ON p.payment_id = a.payment_id
     LEFT JOIN channel c ON c.channel_id = p.channel_id
     WHERE t.root = $1 ORDER BY l.n`,
    [toBytes(root), offset, limit],
  );
  return rows.map((row) => ({ receiptHash: toHex(row.leaf), ...(row.ack === null ? {} : { acknowledged: { receipt: toStored(row), signature: toHex(row.ack) } }) }));
}
