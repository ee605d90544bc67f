// SQL of vectors: what was sent to a model once is not sent again.
import type { Hex } from "viem";
import { toBytes, toHex } from "../../db/codec.ts";
import type { Queryable } from "../../db/pool.ts";

export async function findVectors(db: Queryable, model: string, textHashes: readonly Hex[]): Promise<Map<Hex, Float32Array>> {
  const { rows } = await db.query<{ text_hash: Buffer; vector: number[] }>("SELECT text_hash, vector FROM discovery_vector WHERE model = $1 AND text_hash = ANY($2::bytea[])", [model, textHashes.map(toBytes)]);
  return new Map(rows.map(({ text_hash, vector }) => [toHex(text_hash), Float32Array.from(vector)]));
}

export async function keepVectors(db: Queryable, model: string, vectors: readonly { hash: Hex; vector: Float32Array }[]): Promise<void> {
  // One parameter a row: arrays of arrays of one length each would have to be of the same length too.
  for (const { hash, vector } of vectors) await db.query("INSERT INTO discovery_vector (text_hash, model, vector) VALUES ($1, $2, $3::real[]) ON CONFLICT DO NOTHING", [toBytes(hash), model, [...vector]]);
}
