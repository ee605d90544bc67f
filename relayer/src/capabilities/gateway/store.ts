// SQL of the service table: what the gateway sells.
import type { Address } from "viem";
import { toAddress, toBytes } from "../../db/codec.ts";
import type { Queryable } from "../../db/pool.ts";
import type { ServiceConfig } from "../../config.ts";

/** A provider's API for sale; price in atomic units of `token`. */
export type Service = {
  name: string;
  /** Whom the gateway asks; undefined for a service that its provider's own server sells. */
  origin: string | undefined;
  /** Where such a server sells it. */
  url: string | undefined;
  /** Who may change it; undefined for what the relayer's configuration sells. */
  owner: Address | undefined;
  description: string;
  receiver: Address;
  token: Address;
  price: bigint;
  minDepositCalls: number;
  withdrawDelayS: number;
  upstreamTimeoutMs: number;
  /** What streamed answers cost step by step; undefined where they are sold at the price of a call only. */
  stream: { unit: string; unitPrice: bigint } | undefined;
  /** Sold by the month: `price` buys all calls of a buyer for so long (subscriptions/README.md). */
  subscription?: { periodS: number } | undefined;
  /** Not sold since then: its provider owes the relayer. */
  pausedSince?: Date | undefined;
  /** Not sold either: its owner paused it in the registry, or says that it is offline until then. */
  closed?: { why: "paused" | "offline"; until: Date | undefined } | undefined;
  /** Sold within a negotiated session: `price` is that of its next call. */
  agreed?: { sessionId: `0x${string}`; offerHash: `0x${string}`; /** Of any of its calls. */ prices: readonly bigint[] };
};

export type ServiceRow = {
  name: string; origin: string | null; url: string | null; owner: Buffer | null; description: string; receiver: Buffer; token: Buffer; price_atomic: bigint;
  min_deposit_calls: number; withdraw_delay_s: number; upstream_timeout_ms: number; stream_unit: string | null; stream_price_atomic: bigint | null; period_s: number | null;
  paused_since?: Date | null; closed?: "paused" | "offline" | null; closed_until?: Date | null;
};

const FIND_SERVICE = `SELECT s.*, (SELECT since FROM service_pause p WHERE p.receiver = s.receiver) AS paused_since, l.closed, l.closed_until
  FROM service s LEFT JOIN LATERAL (
    SELECT CASE WHEN status IN ('suspended', 'delisted') THEN 'paused' ELSE 'offline' END AS closed, CASE WHEN status IN ('suspended', 'delisted') THEN NULL ELSE available_at END AS closed_until
    FROM listing WHERE listing.service = s.name AND (status IN ('suspended', 'delisted') OR (availability = 'offline' AND (available_at IS NULL OR available_at > now())))) l ON true
  WHERE s.name = $1 AND s.removed_at IS NULL`;

export async function findService(db: Queryable, name: string): Promise<Service | undefined> {
  const { rows } = await db.query<ServiceRow>({ name: "service_find", text: FIND_SERVICE, values: [name] });
  return rows[0] === undefined ? undefined : serviceFromRow(rows[0]);
}

export async function listServices(db: Queryable): Promise<Service[]> {
  const { rows } = await db.query<ServiceRow>({ name: "service_list", text: "SELECT * FROM service WHERE removed_at IS NULL ORDER BY name LIMIT 1000" });
  return rows.map(serviceFromRow);
}

/** Who is paid by what is for sale. */
export async function servedReceivers(db: Queryable): Promise<Address[]> {
  const { rows } = await db.query<{ receiver: Buffer }>({ name: "service_receivers", text: "SELECT DISTINCT receiver FROM service WHERE removed_at IS NULL" });
  return rows.map((row) => toAddress(row.receiver));
}

/** Adds a service of the configuration or changes its terms; open channels keep theirs. A name that somebody listed before is taken over. */
export async function upsertService(db: Queryable, service: ServiceConfig, token: Address): Promise<void> {
  await db.query(
    `INSERT INTO service (name, origin, description, receiver, token, price_atomic, min_deposit_calls, withdraw_delay_s, upstream_timeout_ms,
       stream_unit, stream_price_atomic)
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
     ON CONFLICT (name) DO UPDATE SET origin = $2, description = $3, receiver = $4, token = $5, price_atomic = $6,
       min_deposit_calls = $7, withdraw_delay_s = $8, upstream_timeout_ms = $9, stream_unit = $10, stream_price_atomic = $11, period_s = NULL, owner = NULL, url = NULL, removed_at = NULL, updated_at = now()`,
    [service.name, service.origin, service.description, toBytes(service.receiver), toBytes(token), service.priceAtomic,
      service.minDepositCalls, service.withdrawDelayS, service.upstreamTimeoutMs, service.stream?.unit ?? null, service.stream?.unitPrice ?? null],
  );
}

export function serviceFromRow(row: ServiceRow): Service {
  return {
    name: row.name,
    origin: row.origin ?? undefined,
    url: row.url ?? undefined,
    owner: row.owner === null ? undefined : toAddress(row.owner),
    description: row.description,
    receiver: toAddress(row.receiver),
    token: toAddress(row.token),
    price: row.price_atomic,
    minDepositCalls: row.min_deposit_calls,
    withdrawDelayS: row.withdraw_delay_s,
    upstreamTimeoutMs: row.upstream_timeout_ms,
    stream: row.stream_unit === null || row.stream_price_atomic === null ? undefined : { unit: row.stream_unit, unitPrice: row.stream_price_atomic },
    ...(row.period_s === null ? {} : { subscription: { periodS: row.period_s } }),
    ...(row.paused_since == null ? {} : { pausedSince: row.paused_since }),
    ...(row.closed == null ? {} : { closed: { why: row.closed, until: row.closed_until ?? undefined } }),
  };
}
