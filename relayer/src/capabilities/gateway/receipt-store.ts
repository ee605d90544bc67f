// SQL that finds what a receipt says, of a payment of any scheme.
import type { Address } from "viem";
import type { Receipt } from "../../../../sdk/src/receipt.ts";
import { NO_CHANNEL } from "../../../../sdk/src/receipt.ts";
import { toAddress, toHex } from "../../db/codec.ts";
import type { Queryable } from "../../db/pool.ts";
import { agreedFromRow, type AgreedRow } from "../ledger/store.ts";

type Row = {
  payment_id: string; scheme: string; resource: string; payer: Buffer; receiver: Buffer; token: Buffer; channel_id: Buffer | null; request_hash: Buffer;
  output_hash: Buffer; started_at: Date; ended_at: Date; charged_atomic: bigint; charged_cumulative: bigint; request_number: bigint | null;
  receiver_authorizer: Buffer | null;
} & AgreedRow;

/** The parties of a payment: who may read its receipt, and who may acknowledge it. `signer` is undefined without a channel. */
export type StoredReceipt = { receipt: Receipt; signer: Address | undefined };

/** Undefined for a payment that is unknown, was not charged, or is from before receipts. */
export async function findReceipt(db: Queryable, paymentId: string): Promise<StoredReceipt | undefined> {
  const { rows } = await db.query<Row>({
    name: "receipt_find",
    text: `SELECT p.*, coalesce(p.receiver, c.receiver) AS receiver, coalesce(p.token, c.token) AS token, c.receiver_authorizer
           FROM payment p LEFT JOIN channel c USING (channel_id)
           WHERE p.payment_id = $1 AND p.state = 'charged' AND p.output_hash IS NOT NULL AND p.started_at IS NOT NULL AND p.ended_at IS NOT NULL`,
    values: [paymentId],
  });
  const [row] = rows;
  if (row === undefined) return undefined;
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
