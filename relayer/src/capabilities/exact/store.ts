// SQL of exact_settlement: which transaction carries an authorisation.
import type { Address, Hex } from "viem";
import type { TxState } from "../../chain/tx-store.ts";
import { toBytes, toHex } from "../../db/codec.ts";
import type { Queryable } from "../../db/pool.ts";

export type SettlementKey = { token: Address; payer: Address; nonce: Hex };
export type SettlementRow = { receiver: Hex; amount: bigint; txId: bigint; txHash: Hex; txState: TxState };

/** Somebody else's transaction for this authorisation is live: ours must not be recorded. */
export class SettlementTaken extends Error {}

export async function findSettlement(db: Queryable, { token, payer, nonce }: SettlementKey): Promise<SettlementRow | undefined> {
  const { rows } = await db.query<{ receiver: Buffer; amount: bigint; tx_id: bigint; hash: Buffer; state: TxState }>(
    `SELECT s.receiver, s.amount, s.tx_id, tx.hash, tx.state FROM exact_settlement s JOIN chain_tx tx USING (tx_id)
     WHERE s.token = $1 AND s.payer = $2 AND s.nonce = $3`,
    [toBytes(token), toBytes(payer), toBytes(nonce)],
  );
  const [row] = rows;
  return row === undefined ? undefined : { receiver: toHex(row.receiver), amount: row.amount, txId: row.tx_id, txHash: toHex(row.hash), txState: row.state };
}

/** Records the transaction; a row whose transaction failed for good gives way. @throws SettlementTaken when it does not. */
export async function insertSettlement(client: Queryable, { token, payer, nonce }: SettlementKey, { receiver, amount, txId }: { receiver: Address; amount: bigint; txId: bigint }): Promise<void> {
  const { rowCount } = await client.query(
    `INSERT INTO exact_settlement AS s (token, payer, nonce, receiver, amount, tx_id) VALUES ($1, $2, $3, $4, $5, $6)
     ON CONFLICT (token, payer, nonce) DO UPDATE SET tx_id = EXCLUDED.tx_id, receiver = EXCLUDED.receiver, amount = EXCLUDED.amount
       WHERE (SELECT state FROM chain_tx WHERE tx_id = s.tx_id) IN ('reverted', 'dropped')`,
    [toBytes(token), toBytes(payer), toBytes(nonce), toBytes(receiver), amount, txId],
  );
  if (rowCount !== 1) throw new SettlementTaken();
}
