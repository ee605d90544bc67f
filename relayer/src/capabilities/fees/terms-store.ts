// SQL of fee terms. Terms are only ever added, each good from a moment on.
import type { Address } from "viem";
import { toAddress, toBytes } from "../../db/codec.ts";
import type { Queryable } from "../../db/pool.ts";

/** Of everybody without terms of their own. */
export const EVERYBODY: Address = "0x0000000000000000000000000000000000000000";

/** The newest terms of each receiver; undefined: everybody's. */
export async function newestTerms(db: Queryable): Promise<Map<Address, number | undefined>> {
  const { rows } = await db.query<{ receiver: Buffer; fee_bps: number | null }>("SELECT DISTINCT ON (receiver) receiver, fee_bps FROM fee_terms ORDER BY receiver, from_at DESC");
  return new Map(rows.map((row) => [toAddress(row.receiver), row.fee_bps ?? undefined]));
}

/** From now on; the caller holds the books, so that no payment of before is booked after by other terms. */
export async function addTerms(client: Queryable, receiver: Address, bps: number | undefined): Promise<void> {
  await client.query("INSERT INTO fee_terms (receiver, from_at, fee_bps) VALUES ($1, clock_timestamp(), $2)", [toBytes(receiver), bps ?? null]);
}
