// SQL of exact_queue. Every move is conditional on the state it starts from, so that processes may do the same at the same time. What is done
// for many at once are functions of migrations 0031 and 0032.
import type { Address, Hex } from "viem";
import type { TxState } from "../../chain/tx-store.ts";
import { toAddress, toBytes, toHex } from "../../db/codec.ts";
import type { Queryable } from "../../db/pool.ts";
import { SettlementTaken, type SettlementRow } from "./store.ts";
import type { Authorization } from "./types.ts";

export type Queued = { authorization: Authorization; paymentId: string | undefined; attempts: number };
type Key = Pick<Authorization, "from" | "nonce">;

type Row = { payer: Buffer; nonce: Buffer; receiver: Buffer; amount: bigint; valid_after: bigint; valid_before: bigint; signature: Buffer; payment_id: string | null; attempts: number };

const fromRow = (row: Row): Queued => ({
  authorization: {
    from: toAddress(row.payer), to: toAddress(row.receiver), value: row.amount, validAfter: row.valid_after, validBefore: row.valid_before, nonce: toHex(row.nonce), signature: toHex(row.signature),
  },
  paymentId: row.payment_id ?? undefined,
  attempts: row.attempts,
});

/** The keys as two arrays, for `unnest`. */
const keysOf = (keys: readonly Key[]): [Buffer[], Buffer[]] => [keys.map(({ from }) => toBytes(from)), keys.map(({ nonce }) => toBytes(nonce))];

/** For statements that lock their rows: all who lock several do so in this order. */
function inOrder(keys: readonly Key[]): Key[] {
  const textOf = ({ from, nonce }: Key) => (from + nonce).toLowerCase();
  return keys.toSorted((one, other) => (textOf(one) < textOf(other) ? -1 : 1));
}

/** What is known of an authorisation here. */
export type Known = {
  /** A payment of our own gateway that it pays, or is to pay. */
  paymentId: string | undefined;
  /** The last transaction that carries it. */
  settlement: SettlementRow | undefined;
  /** It stands in the queue, and no transaction carries it now. */
  queued: boolean;
};

/** In the order of the keys. */
export async function lookUp(db: Queryable, token: Address, keys: readonly Key[]): Promise<Known[]> {
  const { rows } = await db.query<{ payment_id: string | null; receiver: Buffer | null; amount: bigint | null; tx_id: bigint | null; hash: Buffer | null; tx_state: TxState | null; queued: boolean }>({
    name: "exact_look_up",
    text: "SELECT payment_id, receiver, amount, tx_id, hash, tx_state, queued FROM exact_look_up($1, $2, $3)",
    values: [toBytes(token), ...keysOf(keys)],
  });
  return rows.map((row) => ({
    paymentId: row.payment_id ?? undefined,
    settlement: row.tx_id === null ? undefined : { receiver: toHex(row.receiver!), amount: row.amount!, txId: row.tx_id, txHash: toHex(row.hash!), txState: row.tx_state! },
    queued: row.queued,
  }));
}

/**
 * Writes down what is to be carried, each key once. One that stands there is taken over when its process is gone, or when its transaction
 * failed for good.
 * @returns for each whether it is the caller's to send now.
 */
export async function enqueue(db: Queryable, token: Address, items: readonly Queued[], leaseMs: number): Promise<boolean[]> {
  const all = items.map(({ authorization }) => authorization);
  const { rows } = await db.query<{ payer: Buffer; nonce: Buffer }>({
    name: "exact_enqueue",
    text: `INSERT INTO exact_queue AS q (token, payer, nonce, receiver, amount, valid_after, valid_before, signature, payment_id, taken_until)
           SELECT $1::bytea, payer, nonce, receiver, amount, valid_after, valid_before, signature, payment_id, now() + $10 * interval '1 millisecond'
           FROM unnest($2::bytea[], $3::bytea[], $4::bytea[], $5::numeric[], $6::numeric[], $7::numeric[], $8::bytea[], $9::text[])
             AS item (payer, nonce, receiver, amount, valid_after, valid_before, signature, payment_id)
           ORDER BY payer, nonce
           ON CONFLICT (token, payer, nonce) DO UPDATE SET state = 'queued', tx_id = NULL, receiver = EXCLUDED.receiver, amount = EXCLUDED.amount, valid_after = EXCLUDED.valid_after,
             valid_before = EXCLUDED.valid_before, signature = EXCLUDED.signature, payment_id = EXCLUDED.payment_id, taken_until = EXCLUDED.taken_until
             WHERE (q.state = 'queued' AND q.taken_until <= now())
               OR (q.state = 'sent' AND (SELECT state FROM chain_tx WHERE chain_tx.tx_id = q.tx_id) IN ('reverted', 'dropped'))
           RETURNING payer, nonce`,
    values: [
      toBytes(token), ...keysOf(all), all.map(({ to }) => toBytes(to)), all.map(({ value }) => value), all.map(({ validAfter }) => validAfter), all.map(({ validBefore }) => validBefore),
      all.map(({ signature }) => toBytes(signature)), items.map(({ paymentId }) => paymentId ?? null), leaseMs,
    ],
  });
  const mine = new Set(rows.map(({ payer, nonce }) => payer.toString("hex") + nonce.toString("hex")));
  return all.map(({ from, nonce }) => mine.has((from.slice(2) + nonce.slice(2)).toLowerCase()));
}

/**
 * For the database transaction that commits the signed bytes: these are carried by it.
 * @throws SettlementTaken when one of them is not in the queue any more, or an earlier transaction is still on its way.
 */
export async function markSent(client: Queryable, token: Address, items: readonly Authorization[], txId: bigint): Promise<void> {
  const { rows } = await client.query<{ sent: bigint; recorded: bigint }>({
    name: "exact_mark_sent",
    text: "SELECT sent, recorded FROM exact_mark_sent($1, $2, $3, $4)",
    values: [toBytes(token), ...keysOf(inOrder(items)), txId],
  });
  if (rows[0]!.sent !== BigInt(items.length) || rows[0]!.recorded !== BigInt(items.length)) throw new SettlementTaken();
}

/** The transaction moved these, in that block. */
export async function markMoved(db: Queryable, token: Address, keys: readonly Key[], txId: bigint, block: Hex): Promise<void> {
  if (keys.length === 0) return;
  await db.query({
    name: "exact_mark_moved",
    text: "SELECT exact_mark_moved($1, $2, $3, $4, $5)",
    values: [toBytes(token), ...keysOf(inOrder(keys)), txId, toBytes(block)],
  });
}

/** The transaction did not move it though it could: it waits for another, in the caller's hand. False when another process was faster. */
export async function requeue(db: Queryable, token: Address, { from, nonce }: Key, txId: bigint, leaseMs: number): Promise<boolean> {
  const { rowCount } = await db.query({
    name: "exact_requeue",
    text: `UPDATE exact_queue SET state = 'queued', tx_id = NULL, attempts = attempts + 1, taken_until = now() + $5 * interval '1 millisecond'
           WHERE token = $1 AND payer = $2 AND nonce = $3 AND state = 'sent' AND tx_id = $4`,
    values: [toBytes(token), toBytes(from), toBytes(nonce), txId, leaseMs],
  });
  return rowCount === 1;
}

/** It can do nothing more: there is nothing left to send. */
export async function forget(db: Queryable, token: Address, { from, nonce }: Key, txId: bigint | undefined): Promise<void> {
  await db.query({
    name: "exact_forget",
    text: "DELETE FROM exact_queue WHERE token = $1 AND payer = $2 AND nonce = $3 AND tx_id IS NOT DISTINCT FROM $4::bigint AND state <> 'moved'",
    values: [toBytes(token), toBytes(from), toBytes(nonce), txId ?? null],
  });
}

/** Lets go of rows that could not be sent now: anybody may take them. */
export async function release(db: Queryable, token: Address, keys: readonly Key[]): Promise<void> {
  if (keys.length === 0) return;
  await db.query({
    name: "exact_release",
    text: `UPDATE exact_queue q SET taken_until = now() FROM unnest($2::bytea[], $3::bytea[]) AS k (payer, nonce)
           WHERE q.token = $1::bytea AND q.payer = k.payer AND q.nonce = k.nonce AND q.state = 'queued'`,
    values: [toBytes(token), ...keysOf(keys)],
  });
}

/** Takes what waits and is in nobody's hand, the oldest lease first. */
export async function takeQueued(db: Queryable, token: Address, limit: number, leaseMs: number): Promise<Queued[]> {
  const { rows } = await db.query<Row>({
    name: "exact_take_queued",
    text: `UPDATE exact_queue SET taken_until = now() + $3 * interval '1 millisecond'
           WHERE (token, payer, nonce) IN (SELECT token, payer, nonce FROM exact_queue WHERE token = $1 AND state = 'queued' AND taken_until <= now() ORDER BY taken_until LIMIT $2 FOR UPDATE SKIP LOCKED)
           RETURNING *`,
    values: [toBytes(token), limit, leaseMs],
  });
  return rows.map(fromRow);
}

/** Transactions that are resolved while rows still wait for their word: their process has died, or their block is another one now. */
export async function unreadTxs(db: Queryable, token: Address, graceMs: number): Promise<bigint[]> {
  const { rows } = await db.query<{ tx_id: bigint }>({
    name: "exact_unread",
    text: `SELECT DISTINCT q.tx_id FROM exact_queue q JOIN chain_tx tx USING (tx_id)
           WHERE q.token = $1 AND q.state = 'sent' AND tx.state IN ('confirmed', 'reverted', 'dropped') AND tx.resolved_at <= now() - $2 * interval '1 millisecond'`,
    values: [toBytes(token), graceMs],
  });
  return rows.map(({ tx_id }) => tx_id);
}

/** What a transaction carries. */
export async function sentBy(db: Queryable, token: Address, txId: bigint): Promise<Queued[]> {
  const { rows } = await db.query<Row>({ name: "exact_sent_by", text: "SELECT * FROM exact_queue WHERE token = $1 AND tx_id = $2 AND state = 'sent'", values: [toBytes(token), txId] });
  return rows.map(fromRow);
}

/** Reorganised away: what was moved in a block that is gone is open again. Returns how many. */
export async function reopenMoved(db: Queryable): Promise<number> {
  const { rowCount } = await db.query({
    name: "exact_reopen",
    text: `UPDATE exact_queue q SET state = 'sent', moved_block = NULL FROM chain_tx tx
           WHERE q.state = 'moved' AND tx.tx_id = q.tx_id AND tx.block_hash IS DISTINCT FROM q.moved_block`,
  });
  return rowCount ?? 0;
}

/** Moved so long ago that no reorganisation reaches it. */
export async function purgeMoved(db: Queryable, keptS: number): Promise<void> {
  await db.query({ name: "exact_purge", text: "DELETE FROM exact_queue WHERE state = 'moved' AND queued_at < now() - $1 * interval '1 second'", values: [keptS] });
}
