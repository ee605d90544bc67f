// SQL of what a session shows beside its channel. Reads only.
import type { Address, Hex } from "viem";
import { toBytes, toHex } from "../../db/codec.ts";
import type { Queryable } from "../../db/pool.ts";

/** The deposit that opened it, when we carried that. */
export async function findOpening(db: Queryable, channelId: Hex): Promise<Hex | undefined> {
  const { rows } = await db.query<{ hash: Buffer }>(
    "SELECT tx.hash FROM deposit d JOIN chain_tx tx USING (tx_id) WHERE d.channel_id = $1 AND tx.state = 'confirmed' ORDER BY tx.block_number, tx.tx_id LIMIT 1",
    [toBytes(channelId)],
  );
  return rows[0] === undefined ? undefined : toHex(rows[0].hash);
}

export async function findPrice(db: Queryable, channelId: Hex, receiver: Address): Promise<bigint | undefined> {
  const { rows } = await db.query<{ price: bigint | null }>(
    `SELECT coalesce(
       (SELECT s.price_atomic FROM payment p JOIN service s ON s.name = p.service WHERE p.channel_id = $1 ORDER BY p.reserved_at DESC LIMIT 1),
       (SELECT min(price_atomic) FROM service WHERE receiver = $2)) AS price`,
    [toBytes(channelId), toBytes(receiver)],
  );
  return rows[0]?.price ?? undefined;
}

/** A party's channels, the newest first. */
export async function listChannels(db: Queryable, party: Address, limit: number): Promise<Hex[]> {
  const { rows } = await db.query<{ channel_id: Buffer }>(
    "SELECT channel_id FROM channel WHERE payer = $1 OR payer_authorizer = $1 OR receiver = $1 ORDER BY created_at DESC, channel_id LIMIT $2",
    [toBytes(party), limit],
  );
  return rows.map((row) => toHex(row.channel_id));
}
