// SQL of ratings that this relayer sent.
import type { Address, Hex } from "viem";
import { toBytes, toHex } from "../../db/codec.ts";
import type { Queryable } from "../../db/pool.ts";

export type SentRating = { txId: bigint; hash: Hex; state: string };

export async function findSent(db: Queryable, digest: Hex): Promise<SentRating | undefined> {
  const { rows } = await db.query<{ tx_id: bigint; hash: Buffer; state: string }>("SELECT tx_id, tx.hash, tx.state FROM rating_act JOIN chain_tx tx USING (tx_id) WHERE digest = $1", [toBytes(digest)]);
  return rows[0] === undefined ? undefined : { txId: rows[0].tx_id, hash: toHex(rows[0].hash), state: rows[0].state };
}

export async function countSent(db: Queryable, rater: Address): Promise<{ ofRater: number; inAll: number }> {
  const { rows } = await db.query<{ of_rater: number; in_all: number }>(
    "SELECT count(*) FILTER (WHERE rater = $1::bytea)::int AS of_rater, count(*)::int AS in_all FROM rating_act WHERE created_at > now() - interval '1 day'",
    [toBytes(rater)],
  );
  return { ofRater: rows[0]!.of_rater, inAll: rows[0]!.in_all };
}

const LOCK = 0x7a11_59; // any constant that nothing else uses

/** Until the end of the transaction, so that quotas are counted one after the other. */
export async function lockRatings(client: Queryable): Promise<void> {
  await client.query("SELECT pg_advisory_xact_lock($1)", [LOCK]);
}

/** False when the signature was used before and what it made did not fail. */
export async function insertSent(client: Queryable, digest: Hex, serviceId: Hex, rater: Address, txId: bigint): Promise<boolean> {
  const { rowCount } = await client.query(
    `INSERT INTO rating_act (digest, service_id, rater, tx_id) VALUES ($1, $2, $3, $4)
     ON CONFLICT (digest) DO UPDATE SET tx_id = $4 WHERE (SELECT state FROM chain_tx WHERE tx_id = rating_act.tx_id) IN ('reverted', 'dropped')`,
    [toBytes(digest), toBytes(serviceId), toBytes(rater), txId],
  );
  return rowCount === 1;
}
