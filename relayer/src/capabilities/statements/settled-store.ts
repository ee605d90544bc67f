// SQL of settled_event: what the chain paid to receivers.
import type { Address, Hex } from "viem";
import { toBytes } from "../../db/codec.ts";
import { inTransaction, type Db, type Queryable } from "../../db/pool.ts";
import { saveCursor, type Cursor } from "../channels/cursor-store.ts";

export type SettledEvent = { blockNumber: bigint; logIndex: number; txHash: Hex; receiver: Address; token: Address; amount: bigint; at: Date };

/** Raised when another process followed the chain meanwhile. */
class Overtaken extends Error {
  override name = "Overtaken";
}

/**
 * Replaces what was known of a range of blocks, and moves the cursor, in one commit. Receivers that no channel of ours pays are left out.
 * @returns false when another process was faster: nothing was written.
 */
export async function replaceRange(db: Db, name: string, from: Cursor, to: Cursor, fromBlock: bigint, events: readonly SettledEvent[]): Promise<boolean> {
  try {
    await inTransaction(db, async (client) => {
      const { rowCount } = await client.query("SELECT 1 FROM chain_cursor WHERE name = $1 AND block_number = $2 AND block_hash = $3 FOR UPDATE", [name, from.blockNumber, toBytes(from.blockHash)]);
      if (rowCount !== 1) throw new Overtaken();
      await client.query("DELETE FROM settled_event WHERE block_number >= $1", [fromBlock]);
      await insertEvents(client, events);
      await saveCursor(client, name, to);
    });
    return true;
  } catch (error) {
    if (error instanceof Overtaken) return false;
    throw error;
  }
}

async function insertEvents(client: Queryable, events: readonly SettledEvent[]): Promise<void> {
  if (events.length === 0) return;
  await client.query(
    `INSERT INTO settled_event (block_number, log_index, tx_hash, receiver, token, amount, at)
     SELECT * FROM unnest($1::bigint[], $2::int[], $3::bytea[], $4::bytea[], $5::bytea[], $6::numeric[], $7::timestamptz[]) AS e (block_number, log_index, tx_hash, receiver, token, amount, at)
     WHERE EXISTS (SELECT 1 FROM channel c WHERE c.receiver = e.receiver)`,
    [
      events.map(({ blockNumber }) => blockNumber), events.map(({ logIndex }) => logIndex), events.map(({ txHash }) => toBytes(txHash)), events.map(({ receiver }) => toBytes(receiver)),
      events.map(({ token }) => toBytes(token)), events.map(({ amount }) => amount), events.map(({ at }) => at),
    ],
  );
}

/** The first block that anything of ours was mined in; undefined for a new relayer. */
export async function firstBlock(db: Queryable): Promise<bigint | undefined> {
  const { rows } = await db.query<{ first: bigint | null }>("SELECT min(block_number) AS first FROM chain_tx");
  return rows[0]?.first ?? undefined;
}
