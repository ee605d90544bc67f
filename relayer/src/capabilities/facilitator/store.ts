// SQL of what the facilitator sent: chain_tx by what it was asked for, in whichever lane it went.
import type { Hex } from "viem";
import { toBytes } from "../../db/codec.ts";
import type { Queryable } from "../../db/pool.ts";

/** What a transaction was asked for, as its payment_id says it. The prefix is that of the index `chain_tx_facilitator`. */
export const labelOf = (digest: Hex): string => `facilitator ${digest}`;

/** The first of our transactions that does exactly this and has not failed: under way, or (`orDone`) confirmed. */
export async function findSent(db: Queryable, label: string, orDone: boolean): Promise<bigint | undefined> {
  const { rows } = await db.query<{ tx_id: bigint }>(
    `SELECT tx_id FROM chain_tx
     WHERE payment_id = $1 AND payment_id LIKE 'facilitator %' AND (state IN ('signed', 'broadcast') OR ($2 AND state = 'confirmed'))
     ORDER BY tx_id LIMIT 1`,
    [label, orDone],
  );
  return rows[0]?.tx_id;
}

/**
 * Makes transaction `txId` the only one under way for this; asked in the database transaction that commits it.
 * @returns false when there is one already: the other lanes' are waited for, since lanes do not wait for each other.
 */
export async function takeLabel(client: Queryable, label: string, txId: bigint, orDone: boolean): Promise<boolean> {
  await client.query("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", [label]);
  const { rowCount } = await client.query(
    `SELECT 1 FROM chain_tx WHERE payment_id = $1 AND payment_id LIKE 'facilitator %' AND tx_id <> $2
       AND (state IN ('signed', 'broadcast') OR ($3 AND state = 'confirmed')) LIMIT 1`,
    [label, txId, orDone],
  );
  return rowCount === 0;
}

/** Which of these channels buy, or are buying, from this relayer: their books are here, and only here. */
export async function channelsSoldOn(db: Queryable, channelIds: readonly Hex[]): Promise<number> {
  const { rows } = await db.query<{ sold: bigint }>(
    "SELECT count(*) AS sold FROM channel WHERE channel_id = ANY ($1::bytea[]) AND (request_count > 0 OR reserved > 0)",
    [channelIds.map(toBytes)],
  );
  return Number(rows[0]!.sold);
}
