// SQL of chain_signer and chain_tx: the nonce lane and what was signed in it.
import type { Address, Hex } from "viem";
import { toAddress, toBytes, toHex } from "../db/codec.ts";
import type { Queryable } from "../db/pool.ts";
import type { Purpose } from "./submitter.ts";

export type TxState = "signed" | "broadcast" | "confirmed" | "reverted" | "dropped";

export type ChainTx = {
  txId: bigint;
  signer: Address;
  nonce: number;
  purpose: Purpose;
  hash: Hex;
  raw: Hex;
  state: TxState;
  paymentId: string | undefined;
  blockNumber: bigint | undefined;
  blockHash: Hex | undefined;
  /** Since the newest version was signed, milliseconds by the database's clock. */
  ageMs: number;
  /** Since the first version was signed. */
  waitingMs: number;
};

type Row = {
  tx_id: bigint; signer: Buffer; nonce: bigint; purpose: Purpose; hash: Buffer; raw: Buffer; state: TxState; payment_id: string | null;
  block_number: bigint | null; block_hash: Buffer | null; age_ms: number; waiting_ms: number;
};

const COLUMNS = `*, extract(epoch FROM clock_timestamp() - signed_at)::float8 * 1000 AS age_ms,
  extract(epoch FROM clock_timestamp() - created_at)::float8 * 1000 AS waiting_ms`;

function txFromRow(row: Row): ChainTx {
  return {
    txId: row.tx_id,
    signer: toAddress(row.signer),
    nonce: Number(row.nonce),
    purpose: row.purpose,
    hash: toHex(row.hash),
    raw: toHex(row.raw),
    state: row.state,
    paymentId: row.payment_id ?? undefined,
    blockNumber: row.block_number ?? undefined,
    blockHash: row.block_hash === null ? undefined : toHex(row.block_hash),
    ageMs: row.age_ms,
    waitingMs: row.waiting_ms,
  };
}

export async function ensureSigner(db: Queryable, signer: Address): Promise<void> {
  await db.query("INSERT INTO chain_signer (address, next_nonce) VALUES ($1, 0) ON CONFLICT (address) DO NOTHING", [toBytes(signer)]);
}

/** Locks the signer's lane until the transaction ends; every process that signs for this key waits here. */
export async function lockNextNonce(client: Queryable, signer: Address): Promise<number> {
  const { rows } = await client.query<{ next_nonce: bigint }>("SELECT next_nonce FROM chain_signer WHERE address = $1 FOR UPDATE", [toBytes(signer)]);
  return Number(rows[0]!.next_nonce);
}

export type LaneLoad = { /** Unresolved transactions. */ unresolved: number; /** The most that these may cost. */ committedWei: bigint };

/** What is in flight in each of these lanes; a lane without any is not in the answer. */
export async function laneLoads(db: Queryable, signers: readonly Address[]): Promise<Map<Address, LaneLoad>> {
  const { rows } = await db.query<{ signer: Buffer; unresolved: bigint; committed_wei: bigint }>(
    `SELECT signer, count(*) AS unresolved, sum(most_wei) AS committed_wei FROM chain_tx
     WHERE signer = ANY($1::bytea[]) AND state IN ('signed', 'broadcast') GROUP BY signer`,
    [signers.map(toBytes)],
  );
  return new Map(rows.map((row) => [toAddress(row.signer), { unresolved: Number(row.unresolved), committedWei: row.committed_wei }]));
}

/**
 * Lanes of other keys that still need somebody to look after them: something is unresolved, or was resolved so lately that a
 * reorganisation may take it back.
 */
export async function otherLanes(db: Queryable, ours: readonly Address[]): Promise<Address[]> {
  const { rows } = await db.query<{ address: Buffer }>(
    `SELECT address FROM chain_signer s WHERE address <> ALL($1::bytea[]) AND (
       EXISTS (SELECT 1 FROM chain_tx t WHERE t.signer = s.address AND t.state IN ('signed', 'broadcast'))
       OR (SELECT t.resolved_at FROM chain_tx t WHERE t.signer = s.address AND t.state IN ('confirmed', 'reverted') ORDER BY t.block_number DESC LIMIT 1)
          > now() - interval '1 hour')`,
    [ours.map(toBytes)],
  );
  return rows.map((row) => toAddress(row.address));
}

export async function advanceNonce(client: Queryable, signer: Address, next: number): Promise<void> {
  await client.query("UPDATE chain_signer SET next_nonce = $2 WHERE address = $1 AND next_nonce < $2", [toBytes(signer), next]);
}

export async function insertTx(client: Queryable, tx: { signer: Address; nonce: number; purpose: Purpose; hash: Hex; raw: Hex; mostWei: bigint; paymentId?: string }): Promise<bigint> {
  const { rows } = await client.query<{ tx_id: bigint }>(
    "INSERT INTO chain_tx (signer, nonce, purpose, hash, raw, payment_id, most_wei) VALUES ($1, $2, $3, $4, $5, $6, $7) RETURNING tx_id",
    [toBytes(tx.signer), tx.nonce, tx.purpose, toBytes(tx.hash), toBytes(tx.raw), tx.paymentId ?? null, tx.mostWei],
  );
  return rows[0]!.tx_id;
}

export async function findTxs(db: Queryable, txIds: readonly bigint[]): Promise<ChainTx[]> {
  const { rows } = await db.query<Row>(`SELECT ${COLUMNS} FROM chain_tx WHERE tx_id = ANY($1)`, [txIds]);
  return rows.map(txFromRow);
}

/** In nonce order: a later one cannot be mined before an earlier one. */
export async function unresolvedTxs(db: Queryable, signer: Address, limit: number, fromNonce = 0): Promise<ChainTx[]> {
  const { rows } = await db.query<Row>(
    `SELECT ${COLUMNS} FROM chain_tx WHERE signer = $1 AND nonce >= $3 AND state IN ('signed', 'broadcast') ORDER BY nonce LIMIT $2`,
    [toBytes(signer), limit, fromNonce],
  );
  return rows.map(txFromRow);
}

/** True when the lane has a transaction of that nonce, in whatever state. */
export async function hasNonce(client: Queryable, signer: Address, nonce: number): Promise<boolean> {
  const { rows } = await client.query("SELECT 1 FROM chain_tx WHERE signer = $1 AND nonce = $2", [toBytes(signer), nonce]);
  return rows.length > 0;
}

export type Version = { hash: Hex; raw: Hex };
export type NextVersion = Version & { mostWei: bigint };

/**
 * Makes `next` the version that is sent from now on; the one it replaces stays known, since it may be mined all the same.
 * @returns false when the transaction was resolved or got another version meanwhile: then `next` must not be sent.
 */
export async function replaceVersion(client: Queryable, tx: ChainTx, next: NextVersion): Promise<boolean> {
  const { rowCount } = await client.query(
    `UPDATE chain_tx SET hash = $3, raw = $4, state = 'signed', signed_at = clock_timestamp(), most_wei = GREATEST(most_wei, $5)
     WHERE tx_id = $1 AND hash = $2 AND state IN ('signed', 'broadcast')`,
    [tx.txId, toBytes(tx.hash), toBytes(next.hash), toBytes(next.raw), next.mostWei],
  );
  if (rowCount !== 1) return false;
  for (const version of [tx, next]) {
    await client.query("INSERT INTO chain_tx_version (hash, tx_id, raw) VALUES ($1, $2, $3) ON CONFLICT (hash) DO NOTHING", [toBytes(version.hash), tx.txId, toBytes(version.raw)]);
  }
  return true;
}

/** Every version that was signed, newest first; empty for a transaction that has only one. */
export async function versionsOf(db: Queryable, txId: bigint): Promise<Version[]> {
  const { rows } = await db.query<{ hash: Buffer; raw: Buffer }>("SELECT hash, raw FROM chain_tx_version WHERE tx_id = $1 ORDER BY created_at DESC", [txId]);
  return rows.map((row) => ({ hash: toHex(row.hash), raw: toHex(row.raw) }));
}

export async function markBroadcast(db: Queryable, txId: bigint): Promise<void> {
  await db.query("UPDATE chain_tx SET state = 'broadcast' WHERE tx_id = $1 AND state = 'signed'", [txId]);
}

export type Inclusion = { /** The version that was mined. */ hash: Hex; blockNumber: bigint; blockHash: Hex; gasUsed: bigint; gasPriceWei: bigint };

/** True when this call resolved it; false when another process was first. */
export async function markResolved(db: Queryable, txId: bigint, state: "confirmed" | "reverted", at: Inclusion): Promise<boolean> {
  const { rowCount } = await db.query(
    `UPDATE chain_tx SET state = $2, block_number = $3, block_hash = $4, gas_used = $5, gas_price_wei = $6, resolved_at = clock_timestamp(),
       hash = $7::bytea, raw = coalesce((SELECT raw FROM chain_tx_version WHERE hash = $7::bytea), raw)
     WHERE tx_id = $1 AND state IN ('signed', 'broadcast')`,
    [txId, state, at.blockNumber, toBytes(at.blockHash), at.gasUsed, at.gasPriceWei, toBytes(at.hash)],
  );
  return rowCount === 1;
}

export async function markDropped(db: Queryable, txId: bigint): Promise<boolean> {
  const { rowCount } = await db.query(
    "UPDATE chain_tx SET state = 'dropped', resolved_at = clock_timestamp() WHERE tx_id = $1 AND state IN ('signed', 'broadcast')",
    [txId],
  );
  return rowCount === 1;
}

export type ResolvedBlock = { blockNumber: bigint; blockHash: Hex };

/** Blocks that resolved transactions are said to be in, newest first. */
export async function resolvedBlocks(db: Queryable, signer: Address, below: bigint | undefined, limit: number): Promise<ResolvedBlock[]> {
  const { rows } = await db.query<{ block_number: bigint; block_hash: Buffer }>(
    `SELECT DISTINCT block_number, block_hash FROM chain_tx
     WHERE signer = $1 AND state IN ('confirmed', 'reverted') AND ($2::bigint IS NULL OR block_number < $2)
     ORDER BY block_number DESC LIMIT $3`,
    [toBytes(signer), below ?? null, limit],
  );
  return rows.map((row) => ({ blockNumber: row.block_number, blockHash: toHex(row.block_hash) }));
}

/** The block is gone: what it resolved is open again, and waits for its block from now on. Returns the transactions. */
export async function reopenBlock(db: Queryable, signer: Address, block: ResolvedBlock): Promise<ChainTx[]> {
  const { rows } = await db.query<Row>(
    `UPDATE chain_tx SET state = 'broadcast', block_number = NULL, block_hash = NULL, gas_used = NULL, gas_price_wei = NULL, resolved_at = NULL,
       signed_at = clock_timestamp()
     WHERE signer = $1 AND block_number = $2 AND block_hash = $3 AND state IN ('confirmed', 'reverted') RETURNING ${COLUMNS}`,
    [toBytes(signer), block.blockNumber, toBytes(block.blockHash)],
  );
  return rows.map(txFromRow);
}
