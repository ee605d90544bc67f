// SQL of the deposit table: an ERC-3009 authorisation is carried to the chain once.
import type { Address, Hex } from "viem";
import type { TxState } from "../../chain/tx-store.ts";
import { toBytes, toHex } from "../../db/codec.ts";
import type { Queryable } from "../../db/pool.ts";

export type DepositKey = { token: Address; payer: Address; nonce: Hex };
export type DepositRow = { channelId: Hex; amount: bigint; txId: bigint; txHash: Hex; txState: TxState };

/** Somebody carries this authorisation already. */
export class DepositTaken extends Error {
  override name = "DepositTaken";
}

export async function findDeposit(db: Queryable, { token, payer, nonce }: DepositKey): Promise<DepositRow | undefined> {
  const { rows } = await db.query<{ channel_id: Buffer; amount: bigint; tx_id: bigint; hash: Buffer; state: TxState }>(
    `SELECT d.channel_id, d.amount, d.tx_id, t.hash, t.state FROM deposit d JOIN chain_tx t USING (tx_id)
     WHERE d.token = $1 AND d.payer = $2 AND d.nonce = $3`,
    [toBytes(token), toBytes(payer), toBytes(nonce)],
  );
  const row = rows[0];
  return row === undefined ? undefined : { channelId: toHex(row.channel_id), amount: row.amount, txId: row.tx_id, txHash: toHex(row.hash), txState: row.state };
}

/**
 * Takes the authorisation for a transaction; one that failed for good may be replaced, since the token's nonce is unused.
 * @throws DepositTaken, which rolls the transaction back before it is broadcast.
 */
export async function insertDeposit(db: Queryable, key: DepositKey, deposit: { channelId: Hex; amount: bigint; txId: bigint }): Promise<void> {
  const { rowCount } = await db.query(
    `INSERT INTO deposit (token, payer, nonce, channel_id, amount, tx_id) VALUES ($1, $2, $3, $4, $5, $6)
     ON CONFLICT (token, payer, nonce) DO UPDATE SET tx_id = EXCLUDED.tx_id, amount = EXCLUDED.amount, created_at = now()
       WHERE (SELECT state FROM chain_tx WHERE tx_id = deposit.tx_id) IN ('reverted', 'dropped')`,
    [toBytes(key.token), toBytes(key.payer), toBytes(key.nonce), toBytes(deposit.channelId), deposit.amount, deposit.txId],
  );
  if (rowCount !== 1) throw new DepositTaken();
}
