// SQL of payments under mandates: the reserving statement, and what budgets come to.
import { keccak256, stringToBytes, type Hex } from "viem";
import { createBoundedCache } from "../../crypto/bounded-cache.ts";
import { toBytes, toHex } from "../../db/codec.ts";
import { inTransaction, type Db, type Queryable } from "../../db/pool.ts";
import type { Reservation, ReserveLimits, Verdict } from "../ledger/store.ts";
import { reserveValues } from "../ledger/store.ts";
import { MANDATE_REFUSALS, type MandateRefusal, type RefusalCode } from "./logic.ts";

/** As of ledger/store.ts, or the mandate that refuses; `spender` is the one that the channel spends under. */
export type MandateVerdict = Verdict | { mandate: MandateRefusal };

const isRefusal = (outcome: string): outcome is RefusalCode => MANDATE_REFUSALS.some((code) => code === outcome);

/** Sets prices aside on channels under mandates, in the order given: every mandate above is asked and charged. One verdict an item. */
export async function reserveWithin(db: Queryable, items: readonly Reservation[], limits: ReserveLimits): Promise<MandateVerdict[]> {
  const { rows } = await db.query<{ nth: bigint; outcome: string; refused_by: Buffer | null }>({
    name: "payments_reserve_within",
    text: "SELECT nth, outcome, refused_by FROM reserve_within_mandates($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)",
    values: [...reserveValues(items, limits), items.map(({ payment }) => toBytes(capabilityOf(payment.service)))],
  });
  const verdicts: MandateVerdict[] = [];
  for (const { nth, outcome, refused_by } of rows) {
    verdicts[Number(nth) - 1] = isRefusal(outcome) && refused_by !== null ? { mandate: { code: outcome, mandateId: toHex(refused_by) } } : (outcome as Verdict);
  }
  return verdicts;
}

const tags = createBoundedCache<string, Hex>(1_024);

/** What a mandate's `capability` is compared with. A service's tag is its name. */
export function capabilityOf(service: string): Hex {
  const known = tags.get(service);
  if (known !== undefined) return known;
  const tag = keccak256(stringToBytes(service));
  tags.set(service, tag);
  return tag;
}

/** Runs statements that raise what a channel under a mandate, or with an agreed price, has set aside; each asks by itself (payment_moves_budget, payment_within_session). */
export function withinMandate<T>(db: Db, work: (client: Queryable) => Promise<T>): Promise<T> {
  return inTransaction(db, async (client) => {
    await client.query("SELECT set_config('tallystick.within_mandate', 'on', true), set_config('tallystick.within_session', 'on', true)");
    return work(client);
  });
}

/** Adds up what payments did to budgets nobody has asked for lately. */
export async function foldIdle(db: Db, limit: number): Promise<void> {
  await inTransaction(db, async (client) => {
    const { rows } = await client.query<{ ids: Buffer[] }>(
      `SELECT coalesce(array_agg(locked.mandate_id), '{}') AS ids FROM (
         SELECT mandate_id FROM mandate WHERE mandate_id IN (SELECT DISTINCT mandate_id FROM mandate_move LIMIT $1) ORDER BY mandate_id FOR NO KEY UPDATE SKIP LOCKED) locked`,
      [limit],
    );
    await client.query("SELECT mandate_fold($1)", [rows[0]!.ids]);
  });
}
