// SQL of exact_stranger (migration 0030): what somebody else's transaction moved, looked after until no reorganisation reaches it.
import type { Address, Hex } from "viem";
import { toAddress, toBytes, toHex } from "../../db/codec.ts";
import type { Queryable } from "../../db/pool.ts";
import type { Authorization } from "./types.ts";

type Key = Pick<Authorization, "from" | "nonce">;

/** It leaves the queue, and is looked after here. `txId`: the transaction of ours that came too late; undefined: there was none. */
export async function handOver(db: Queryable, token: Address, { from, nonce }: Key, txId: bigint | undefined): Promise<void> {
  await db.query({
    name: "exact_hand_over",
    text: `WITH gone AS (
             DELETE FROM exact_queue WHERE token = $1 AND payer = $2 AND nonce = $3 AND tx_id IS NOT DISTINCT FROM $4::bigint AND state <> 'moved' RETURNING *)
           INSERT INTO exact_stranger (token, payer, nonce, receiver, amount, valid_after, valid_before, signature, payment_id)
           SELECT token, payer, nonce, receiver, amount, valid_after, valid_before, signature, payment_id FROM gone
           ON CONFLICT (token, payer, nonce) DO UPDATE SET seen_at = now(), looked_at = now()`,
    values: [toBytes(token), toBytes(from), toBytes(nonce), txId ?? null],
  });
}

/** Those whose turn it is, each for one process. */
export async function takeStrangers(db: Queryable, token: Address, limit: number, everyMs: number): Promise<Key[]> {
  const { rows } = await db.query<{ payer: Buffer; nonce: Buffer }>({
    name: "exact_take_strangers",
    text: `UPDATE exact_stranger SET looked_at = now()
           WHERE (token, payer, nonce) IN (
             SELECT token, payer, nonce FROM exact_stranger WHERE token = $1 AND looked_at <= now() - $3 * interval '1 millisecond' ORDER BY looked_at LIMIT $2 FOR UPDATE SKIP LOCKED)
           RETURNING payer, nonce`,
    values: [toBytes(token), limit, everyMs],
  });
  return rows.map(({ payer, nonce }) => ({ from: toAddress(payer), nonce: toHex(nonce) }));
}

/** Its transaction is gone: it is ours to send, in nobody's hand. Returns false when it stands in the queue already. */
export async function takeBack(db: Queryable, token: Address, { from, nonce }: Key): Promise<boolean> {
  const { rowCount } = await db.query({
    name: "exact_take_back",
    text: `INSERT INTO exact_queue (token, payer, nonce, receiver, amount, valid_after, valid_before, signature, payment_id, taken_until)
           SELECT token, payer, nonce, receiver, amount, valid_after, valid_before, signature, payment_id, now() FROM exact_stranger WHERE token = $1 AND payer = $2 AND nonce = $3
           ON CONFLICT (token, payer, nonce) DO NOTHING`,
    values: [toBytes(token), toBytes(from), toBytes(nonce)],
  });
  return rowCount === 1;
}

/** It was moved again: its payment names the transaction that did. */
export async function nameTransaction(db: Queryable, { nonce }: Key, txHash: Hex, paymentId: string): Promise<void> {
  await db.query({
    name: "exact_name_transaction",
    text: "UPDATE payment SET settled_tx = $3 WHERE payment_id = $1 AND authorization_nonce = $2 AND state = 'charged' AND settled_tx IS DISTINCT FROM $3::bytea",
    values: [paymentId, toBytes(nonce), toBytes(txHash)],
  });
}

/** Of those that are ours again: which payment, and the transaction that moved it. */
export async function movedAgain(db: Queryable, token: Address, keys: readonly Key[]): Promise<(Key & { paymentId: string; txHash: Hex })[]> {
  const { rows } = await db.query<{ payer: Buffer; nonce: Buffer; payment_id: string; hash: Buffer }>({
    name: "exact_moved_again",
    text: `SELECT q.payer, q.nonce, q.payment_id, tx.hash FROM exact_queue q JOIN chain_tx tx USING (tx_id)
           JOIN unnest($2::bytea[], $3::bytea[]) AS k (payer, nonce) ON q.payer = k.payer AND q.nonce = k.nonce
           WHERE q.token = $1 AND q.state = 'moved' AND q.payment_id IS NOT NULL`,
    values: [toBytes(token), keys.map(({ from }) => toBytes(from)), keys.map(({ nonce }) => toBytes(nonce))],
  });
  return rows.map((row) => ({ from: toAddress(row.payer), nonce: toHex(row.nonce), paymentId: row.payment_id, txHash: toHex(row.hash) }));
}

/** Gone from the chain, and past what any block takes: nobody can move them any more. @returns those. */
export async function giveUp(db: Queryable, token: Address, keys: readonly Key[], overAtS: bigint): Promise<(Key & { paymentId: string | undefined })[]> {
  if (keys.length === 0) return [];
  const { rows } = await db.query<{ payer: Buffer; nonce: Buffer; payment_id: string | null }>({
    name: "exact_give_up",
    text: `DELETE FROM exact_stranger s USING unnest($2::bytea[], $3::bytea[]) AS k (payer, nonce)
           WHERE s.token = $1 AND s.payer = k.payer AND s.nonce = k.nonce AND s.valid_before < $4 RETURNING s.payer, s.nonce, s.payment_id`,
    values: [toBytes(token), keys.map(({ from }) => toBytes(from)), keys.map(({ nonce }) => toBytes(nonce)), overAtS],
  });
  return rows.map((row) => ({ from: toAddress(row.payer), nonce: toHex(row.nonce), paymentId: row.payment_id ?? undefined }));
}

/** Moved so long ago that no reorganisation reaches it. */
export async function purgeStrangers(db: Queryable, keptS: number): Promise<void> {
  await db.query({ name: "exact_purge_strangers", text: "DELETE FROM exact_stranger WHERE seen_at < now() - $1 * interval '1 second'", values: [keptS] });
}
