// SQL of what the facilitator sent: chain_tx by what it was asked for. Looks at the lane's newest transactions only.
import type { Address, Hex } from "viem";
import { toBytes } from "../../db/codec.ts";
import type { Queryable } from "../../db/pool.ts";

const NEWEST = 1_000;

/** The first of our transactions that does exactly this and has not failed: under way, or (`orDone`) confirmed. */
export async function findSent(db: Queryable, signer: Address, label: string, orDone: boolean): Promise<bigint | undefined> {
  const { rows } = await db.query<{ tx_id: bigint }>(
    `SELECT tx_id FROM chain_tx
     WHERE signer = $1 AND nonce >= (SELECT next_nonce FROM chain_signer WHERE address = $1) - $3 AND payment_id = $2
       AND (state IN ('signed', 'broadcast') OR ($4 AND state = 'confirmed'))
     ORDER BY nonce LIMIT 1`,
    [toBytes(signer), label, NEWEST, orDone],
  );
  return rows[0]?.tx_id;
}

/** Which of these channels buy, or are buying, from this relayer: their books are here, and only here. */
export async function channelsSoldOn(db: Queryable, channelIds: readonly Hex[]): Promise<number> {
  const { rows } = await db.query<{ sold: bigint }>(
    "SELECT count(*) AS sold FROM channel WHERE channel_id = ANY ($1::bytea[]) AND (request_count > 0 OR reserved > 0)",
    [channelIds.map(toBytes)],
  );
  return Number(rows[0]!.sold);
}
