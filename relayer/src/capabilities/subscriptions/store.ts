// SQL of services sold by the month (migration 0028): charging a call, and who has a month now.
import type { Address } from "viem";
import { toAddress, toBytes } from "../../db/codec.ts";
import type { Queryable } from "../../db/pool.ts";
import { chargedFrom, chargeValues, type Charge, type Charged, type ChargedRow } from "../ledger/store.ts";

/** As ledger/store.ts chargeAll: the price where no month of the buyer stands, which begins one; else nothing. */
export async function chargeByPeriod(db: Queryable, items: readonly Charge[], ttlS: number): Promise<(Charged | undefined)[]> {
  const { rows } = await db.query<ChargedRow>({
    name: "payments_charge_by_period",
    text: "SELECT * FROM charge_by_period($1, $2, $3, $4, $5, $6, $7, $8, $9)",
    values: [...chargeValues(items, ttlS), items.map(({ periodS }) => periodS)],
  });
  return chargedFrom(rows, items);
}

/** A month that is paid for and not over. Price in atomic units of the service's token. */
export type Subscription = { service: string; payer: Address; payerAuthorizer: Address; paymentId: string; price: bigint; startedAt: Date; until: Date };

/** Those that an address has a part in: it pays, signs, or is paid. The one that ends last comes first. */
export async function standing(db: Queryable, party: Address, service: string | undefined, limit: number): Promise<Subscription[]> {
  const { rows } = await db.query<{ service: string; payer: Buffer; payer_authorizer: Buffer; payment_id: string; price_atomic: bigint; started_at: Date; until: Date }>(
    `SELECT s.* FROM subscription s
     WHERE (s.payer = $1::bytea OR s.payer_authorizer = $1::bytea OR s.service IN (SELECT g.name FROM service g WHERE g.receiver = $1::bytea OR g.owner = $1::bytea))
       AND ($2::text IS NULL OR s.service = $2) AND subscription_stands(s, clock_timestamp())
     ORDER BY s.until DESC, s.payment_id LIMIT $3`,
    [toBytes(party), service ?? null, limit],
  );
  return rows.map((row) => ({
    service: row.service, payer: toAddress(row.payer), payerAuthorizer: toAddress(row.payer_authorizer), paymentId: row.payment_id, price: row.price_atomic, startedAt: row.started_at, until: row.until,
  }));
}
