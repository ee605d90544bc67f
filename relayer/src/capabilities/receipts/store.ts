// SQL of acknowledgements.
import type { Hex } from "viem";
import { toBytes, toHex } from "../../db/codec.ts";
import type { Queryable } from "../../db/pool.ts";

export type Ack = { receiptHash: Hex; signature: Hex; at: Date };

export async function findAck(db: Queryable, paymentId: string): Promise<Ack | undefined> {
  const { rows } = await db.query<{ receipt_hash: Buffer; signature: Buffer; at: Date }>("SELECT receipt_hash, signature, at FROM receipt_ack WHERE payment_id = $1", [paymentId]);
  const [row] = rows;
  return row === undefined ? undefined : { receiptHash: toHex(row.receipt_hash), signature: toHex(row.signature), at: row.at };
}

/** The first acknowledgement stands. */
export async function insertAck(db: Queryable, paymentId: string, receiptHash: Hex, signature: Hex): Promise<void> {
  await db.query("INSERT INTO receipt_ack (payment_id, receipt_hash, signature) VALUES ($1, $2, $3) ON CONFLICT (payment_id) DO NOTHING", [paymentId, toBytes(receiptHash), toBytes(signature)]);
}
