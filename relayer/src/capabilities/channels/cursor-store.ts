// SQL of chain_cursor: how far each follower has read, and in which block, so that a reorganisation is noticed.
import type { Hex } from "viem";
import { toBytes, toHex } from "../../db/codec.ts";
import type { Queryable } from "../../db/pool.ts";

export type Cursor = { blockNumber: bigint; blockHash: Hex };

export async function findCursor(db: Queryable, name: string): Promise<Cursor | undefined> {
  const { rows } = await db.query<{ block_number: bigint; block_hash: Buffer }>("SELECT block_number, block_hash FROM chain_cursor WHERE name = $1", [name]);
  return rows[0] === undefined ? undefined : { blockNumber: rows[0].block_number, blockHash: toHex(rows[0].block_hash) };
}

export async function saveCursor(db: Queryable, name: string, { blockNumber, blockHash }: Cursor): Promise<void> {
  await db.query(
    `INSERT INTO chain_cursor (name, block_number, block_hash) VALUES ($1, $2, $3)
     ON CONFLICT (name) DO UPDATE SET block_number = EXCLUDED.block_number, block_hash = EXCLUDED.block_hash`,
    [name, blockNumber, toBytes(blockHash)],
  );
}
