// SQL of services that their owners list. The gateway's store.ts reads the same table.
import type { Address } from "viem";
import { toAddress, toBytes } from "../../db/codec.ts";
import type { Queryable } from "../../db/pool.ts";
import { serviceFromRow, type Service, type ServiceRow } from "../gateway/store.ts";

function values(service: Service): unknown[] {
  return [service.name, service.origin ?? null, service.url ?? null, service.owner === undefined ? null : toBytes(service.owner), service.description, toBytes(service.receiver), toBytes(service.token),
    service.price, service.minDepositCalls, service.withdrawDelayS, service.upstreamTimeoutMs, service.stream?.unit ?? null, service.stream?.unitPrice ?? null, service.subscription?.periodS ?? null];
}

/** Lists a new service, or one that the same owner took off sale, while the owner has fewer than `most`. @returns false when nothing was written. */
export async function insertService(db: Queryable, service: Service, most: number): Promise<boolean> {
  const { rowCount } = await db.query(
    `INSERT INTO service (name, origin, url, owner, description, receiver, token, price_atomic, min_deposit_calls, withdraw_delay_s, upstream_timeout_ms, stream_unit, stream_price_atomic, period_s)
     SELECT $1::text, $2, $3, $4::bytea, $5, $6::bytea, $7::bytea, $8::numeric, $9::int, $10::int, $11::int, $12, $13::numeric, $14::int
     WHERE (SELECT count(*) FROM service WHERE owner = $4::bytea AND name <> $1::text) < $15
     ON CONFLICT (name) DO UPDATE SET origin = $2, url = $3, description = $5, receiver = $6, token = $7, price_atomic = $8, min_deposit_calls = $9, withdraw_delay_s = $10,
       upstream_timeout_ms = $11, stream_unit = $12, stream_price_atomic = $13, period_s = $14, removed_at = NULL, updated_at = now()
     WHERE service.owner = $4 AND service.removed_at IS NOT NULL`,
    [...values(service), most],
  );
  return rowCount === 1;
}

/** Changes a service on sale; open channels keep their terms. @returns false when it is not the owner's or not on sale. */
export async function replaceService(db: Queryable, service: Service): Promise<boolean> {
  const { rowCount } = await db.query(
    `UPDATE service SET origin = $2, url = $3, description = $5, receiver = $6, token = $7, price_atomic = $8, min_deposit_calls = $9, withdraw_delay_s = $10, upstream_timeout_ms = $11,
       stream_unit = $12, stream_price_atomic = $13, period_s = $14, updated_at = now()
     WHERE name = $1 AND owner = $4 AND removed_at IS NULL`,
    values(service),
  );
  return rowCount === 1;
}

/** Takes it off sale. @returns false when it is not the owner's. */
export async function removeService(db: Queryable, name: string, owner: Address): Promise<boolean> {
  const { rowCount } = await db.query("UPDATE service SET removed_at = coalesce(removed_at, now()), updated_at = now() WHERE name = $1 AND owner = $2", [name, toBytes(owner)]);
  return rowCount === 1;
}

/** Who has the name, on sale or not. */
export async function findHolder(db: Queryable, name: string): Promise<{ owner: Address | undefined; onSale: Service | undefined } | undefined> {
  const { rows } = await db.query<ServiceRow & { removed_at: Date | null }>("SELECT * FROM service WHERE name = $1", [name]);
  const [row] = rows;
  if (row === undefined) return undefined;
  return { owner: row.owner === null ? undefined : toAddress(row.owner), onSale: row.removed_at === null ? serviceFromRow(row) : undefined };
}
