// SQL of putting back what a receiver can prove.
import type { Hex } from "viem";
import { toBytes } from "../../db/codec.ts";
import type { Queryable } from "../../db/pool.ts";

export type Proof = { channelId: Hex; charged: bigint; ceiling: bigint; signature: Hex };

/**
 * Raises a channel to what its voucher proves. What comes on top was charged by payments that are lost, so it counts like what others
 * claimed: charged before what is known began.
 * @returns false when as much is known already.
 */
export async function raiseCharged(db: Queryable, { channelId, charged, ceiling, signature }: Proof): Promise<boolean> {
  const { rowCount } = await db.query(
    `UPDATE channel SET opening_charged = opening_charged + ($2::numeric - charged), charged = $2::numeric,
       signed_signature = CASE WHEN $3::numeric > signed_ceiling THEN $4 ELSE signed_signature END, signed_ceiling = GREATEST(signed_ceiling, $3::numeric)
     WHERE channel_id = $1 AND charged < $2::numeric`,
    [toBytes(channelId), charged, ceiling, toBytes(signature)],
  );
  return rowCount === 1;
}
