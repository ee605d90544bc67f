// The relayer's books, read as its operator would: straight from its database.
import type { Address, Hex } from "viem";
import { toAddress, toBytes, toHex } from "../../relayer/src/db/codec.ts";
import type { Db } from "../../relayer/src/db/pool.ts";

export type PayerBooks = {
  payer: Address;
  calls: number;
  chargedAtomic: bigint;
  /** Claimed from its channels before this relayer knew them: on a chain that others used before us (RPC_URL). */
  openingAtomic: bigint;
  channelIds: Hex[];
};

/** What every payer of a receiver was charged, with its channels. */
export async function readPayers(db: Db, receiver: Address): Promise<PayerBooks[]> {
  const { rows } = await db.query<{ payer: Buffer; calls: bigint; charged: bigint; opening: bigint; channels: Buffer[] }>(
    `WITH sold AS (SELECT channel_id, count(*) AS calls, sum(charged_atomic) AS charged FROM payment WHERE state = 'charged' GROUP BY channel_id)
     SELECT c.payer, sum(s.calls)::bigint AS calls, sum(s.charged) AS charged, sum(c.opening_charged) AS opening,
       array_agg(c.channel_id::bytea ORDER BY c.channel_id) AS channels
     FROM sold s JOIN channel c USING (channel_id) WHERE c.receiver = $1::bytea GROUP BY c.payer ORDER BY c.payer`,
    [toBytes(receiver)],
  );
  return rows.map((row) => ({
    payer: toAddress(row.payer),
    calls: Number(row.calls),
    chargedAtomic: row.charged,
    openingAtomic: row.opening,
    channelIds: row.channels.map(toHex),
  }));
}

export type DirectBooks = { payer: Address; calls: number; chargedAtomic: bigint };

/** What payers without a channel were charged (x402 `exact`). */
export async function readDirectPayers(db: Db): Promise<DirectBooks[]> {
  const { rows } = await db.query<{ payer: Buffer; calls: bigint; charged: bigint }>(
    "SELECT payer, count(*) AS calls, sum(charged_atomic) AS charged FROM payment WHERE state = 'charged' AND channel_id IS NULL GROUP BY payer ORDER BY payer",
  );
  return rows.map((row) => ({ payer: toAddress(row.payer), calls: Number(row.calls), chargedAtomic: row.charged }));
}

/** Charged on these channels, atomic units. */
export async function readChargedBy(db: Db, channelIds: readonly Hex[]): Promise<bigint> {
  const { rows } = await db.query<{ charged: bigint }>("SELECT coalesce(sum(charged - opening_charged), 0) AS charged FROM channel WHERE channel_id = ANY($1::bytea[])", [channelIds.map(toBytes)]);
  return rows[0]!.charged;
}

export type Progress = { chargedAtomic: bigint; settledAtomic: bigint; unresolved: number };

/** The totals that a progress bar shows. `unresolved` counts what is still under way: reservations and transactions. */
export async function readProgress(db: Db): Promise<Progress> {
  const { rows } = await db.query<{ charged: bigint; settled: bigint; unresolved: bigint }>(
    `SELECT (SELECT coalesce(sum(charged - opening_charged), 0) FROM channel) AS charged,
            (SELECT coalesce(sum(settled_atomic), 0) FROM settlement_batch WHERE state = 'done') AS settled,
            (SELECT count(*) FROM payment WHERE state IN ('reserved', 'settling'))
              + (SELECT count(*) FROM chain_tx WHERE state IN ('signed', 'broadcast')) AS unresolved`,
  );
  const { charged, settled, unresolved } = rows[0]!;
  return { chargedAtomic: charged, settledAtomic: settled, unresolved: Number(unresolved) };
}

export type MinedTransaction = { purpose: string; raw: Hex; gasUsed: bigint; reverted: boolean; payers: Address[] };

/** Every transaction that was mined, with the payers whose channels it touched. */
export async function readTransactions(db: Db): Promise<MinedTransaction[]> {
  const { rows } = await db.query<{ purpose: string; raw: Buffer; gas_used: bigint; state: string; payers: Buffer[] | null }>(
    `SELECT tx.purpose, tx.raw, tx.gas_used, tx.state, array_agg(touched.payer) FILTER (WHERE touched.payer IS NOT NULL) AS payers
     FROM chain_tx tx LEFT JOIN (
       SELECT tx_id, payer::bytea AS payer FROM deposit
       UNION SELECT batch.tx_id, channel.payer::bytea FROM settlement_batch batch JOIN settlement_row USING (batch_id) JOIN channel USING (channel_id)
       UNION SELECT tx_id, payer::bytea FROM exact_settlement
       UNION SELECT refund.tx_id, channel.payer::bytea FROM refund JOIN channel USING (channel_id)
     ) touched USING (tx_id)
     WHERE tx.gas_used IS NOT NULL
     GROUP BY tx.tx_id ORDER BY tx.tx_id`,
  );
  return rows.map((row) => ({
    purpose: row.purpose,
    raw: toHex(row.raw),
    gasUsed: row.gas_used,
    reverted: row.state === "reverted",
    payers: (row.payers ?? []).map(toAddress),
  }));
}
