// SQL that finds what a receipt says, of a payment of any scheme.
import type { Address, Hex } from "viem";
import type { Receipt } from "../../../../sdk/src/receipt.ts";
import { NO_CHANNEL } from "../../../../sdk/src/receipt.ts";
import { toAddress, toBytes, toHex } from "../../db/codec.ts";
import type { Queryable } from "../../db/pool.ts";
import { agreedFromRow, type AgreedRow } from "../ledger/store.ts";

/** What `RECEIPT_COLUMNS` reads. */
export type ReceiptRow = {
  payment_id: string; scheme: string; resource: string; payer: Buffer; receiver: Buffer; token: Buffer; channel_id: Buffer | null; request_hash: Buffer;
  output_hash: Buffer; started_at: Date; ended_at: Date; charged_atomic: bigint; charged_cumulative: bigint; request_number: bigint | null;
  receiver_authorizer: Buffer | null;
} & AgreedRow;

/** Of payment p and, where it has one, its channel c. */
export const RECEIPT_COLUMNS = "p.*, coalesce(p.receiver, c.receiver) AS receiver, coalesce(p.token, c.token) AS token, c.receiver_authorizer";

/** The parties of a payment: who may read its receipt, and who may acknowledge it. `signer` is undefined without a channel. */
export type StoredReceipt = { receipt: Receipt; signer: Address | undefined };

/** Undefined for a payment that is unknown, was not charged, or is from before receipts. */
export async function findReceipt(db: Queryable, paymentId: string): Promise<StoredReceipt | undefined> {
  const { rows } = await db.query<ReceiptRow>({
    name: "receipt_find",
    text: `SELECT ${RECEIPT_COLUMNS}
           FROM payment p LEFT JOIN channel c USING (channel_id)
           WHERE p.payment_id = $1 AND p.state = 'charged' AND p.output_hash IS NOT NULL AND p.started_at IS NOT NULL AND p.ended_at IS NOT NULL`,
    values: [paymentId],
  });
  return rows[0] === undefined ? undefined : toStored(rows[0]);
}

/** Calls of one channel after a cumulative charge (and of those at that charge, which cost nothing, after a call), up to `upTo`. */
export type Span = { channelId: Hex; after: bigint; afterCall: bigint; upTo: bigint };

/** By span, then by cumulative charge, at most so many. Without streams, whose receipts come later than their charges. */
export async function receiptsBetween(db: Queryable, spans: readonly Span[], most: number): Promise<StoredReceipt[]> {
  const { rows } = await db.query<ReceiptRow>({
    name: "receipts_between",
    // A charged payment's ceiling is no less than its cumulative charge, and there is an index of ceilings.
    text: `SELECT ${RECEIPT_COLUMNS}
           FROM unnest($1::bytea[], $2::numeric[], $3::bigint[], $4::numeric[]) WITH ORDINALITY AS s (channel_id, after, after_call, up_to, n)
           JOIN payment p ON p.channel_id = s.channel_id AND p.ceiling >= s.after AND p.charged_cumulative <= s.up_to
             AND (p.charged_cumulative > s.after OR (p.charged_cumulative = s.after AND p.charged_atomic = 0 AND p.request_number > s.after_call))
           JOIN channel c ON c.channel_id = p.channel_id
           WHERE p.state = 'charged' AND p.output_hash IS NOT NULL AND p.started_at IS NOT NULL AND p.ended_at IS NOT NULL
             AND NOT EXISTS (SELECT 1 FROM stream WHERE stream.payment_id = p.payment_id)
           ORDER BY s.n, p.charged_cumulative, p.request_number LIMIT $5`,
    values: [spans.map(({ channelId }) => toBytes(channelId)), spans.map(({ after }) => after), spans.map(({ afterCall }) => afterCall), spans.map(({ upTo }) => upTo), most],
  });
  return rows.map(toStored);
}

export function toStored(row: ReceiptRow): StoredReceipt {
  const [started, ended] = [BigInt(row.started_at.getTime()), BigInt(row.ended_at.getTime())];
  const receipt: Receipt = {
    paymentId: row.payment_id,
    scheme: row.scheme,
    resource: row.resource,
    payer: toAddress(row.payer),
    receiver: toAddress(row.receiver),
    token: toAddress(row.token),
    channelId: row.channel_id === null ? NO_CHANNEL : toHex(row.channel_id),
    requestNumber: row.request_number ?? 1n,
    inputHash: toHex(row.request_hash),
    outputHash: toHex(row.output_hash),
    startedAtMs: started,
    endedAtMs: ended,
    latencyMs: ended - started,
    amount: row.charged_atomic,
    cumulative: row.charged_cumulative,
    ...agreedFromRow(row),
  };
  return { receipt, signer: row.receiver_authorizer === null ? undefined : toAddress(row.receiver_authorizer) };
}
