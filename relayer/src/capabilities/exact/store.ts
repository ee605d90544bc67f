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

type Telling = { key: SettlementKey; toldTo: string };

/**
 * Takes the one time that success is told for an authorisation, for many at once.
 * @returns for each false when another request was told.
 */
export async function takeTellings(db: Queryable, tellings: readonly Telling[]): Promise<boolean[]> {
  const { rows } = await db.query<{ told_to: string | null }>({
    name: "exact_tell",
    text: "SELECT told_to FROM exact_tell($1, $2, $3, $4)",
    values: [tellings.map(({ key }) => toBytes(key.token)), tellings.map(({ key }) => toBytes(key.payer)), tellings.map(({ key }) => toBytes(key.nonce)), tellings.map(({ toldTo }) => toldTo)],
  });
  return tellings.map(({ toldTo }, index) => rows[index]?.told_to === toldTo);
}
