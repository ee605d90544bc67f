// SQL of the copy that search reads: where its rows come from.
import type { Address, Hex } from "viem";
import type { ServiceStatus, ServiceVisibility } from "../../../../sdk/src/bazaar.ts";
import { toAddress, toBytes, toHex } from "../../db/codec.ts";
import type { Queryable } from "../../db/pool.ts";
import type { ChainService, Measured, Reputation } from "./types.ts";

export async function cursor(db: Queryable, name: string): Promise<bigint | undefined> {
  const { rows } = await db.query<{ read_to: bigint }>("SELECT read_to FROM discovery_cursor WHERE name = $1", [name]);
  return rows[0]?.read_to;
}

export async function setCursor(db: Queryable, name: string, readTo: bigint): Promise<void> {
  await db.query("INSERT INTO discovery_cursor (name, read_to) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET read_to = $2, read_at = now()", [name, readTo]);
}

/** When the indexer was last read to its end. */
export async function lastRead(db: Queryable, name: string): Promise<Date | undefined> {
  const { rows } = await db.query<{ read_at: Date }>("SELECT read_at FROM discovery_cursor WHERE name = $1", [name]);
  return rows[0]?.read_at;
}

/** Writes rows as the chain has them, in one statement; those that say nothing new are left alone. What was read of another document goes. */
export async function upsertServices(db: Queryable, services: readonly ChainService[], source: "indexer" | "listing"): Promise<void> {
  if (services.length === 0) return;
  const of = <T>(read: (service: ChainService) => T) => services.map(read);
  await db.query(
    `INSERT INTO discovery_service AS d (service_id, source, owner, agent_key, pay_to, token, price_atomic, capability, categories, schemes, visibility, status, version, content_hash, uri, bond_atomic, rating_count, chain_updated_at, blocked)
     SELECT s.service_id, $1, s.owner, s.agent_key, s.pay_to, s.token, s.price, s.capability, s.categories, s.schemes, s.visibility, s.status, s.version, s.content_hash, s.uri, s.bond, s.ratings, s.updated_at, s.service_id IN (SELECT b.service_id FROM blocked_listing b)
     FROM unnest($2::bytea[], $3::bytea[], $4::numeric[], $5::bytea[], $6::bytea[], $7::numeric[], $8::text[], $9::numeric[], $10::int[], $11::text[], $12::text[], $13::int[], $14::bytea[], $15::text[], $16::numeric[], $17::int[], $18::bigint[])
       AS s (service_id, owner, agent_key, pay_to, token, price, capability, categories, schemes, visibility, status, version, content_hash, uri, bond, ratings, updated_at)
     ON CONFLICT (service_id) DO UPDATE SET
       source = excluded.source, owner = excluded.owner, agent_key = excluded.agent_key, pay_to = excluded.pay_to, token = excluded.token, price_atomic = excluded.price_atomic, capability = excluded.capability,
       categories = excluded.categories, schemes = excluded.schemes, visibility = excluded.visibility, status = excluded.status, version = excluded.version, content_hash = excluded.content_hash, uri = excluded.uri,
       bond_atomic = excluded.bond_atomic, rating_count = excluded.rating_count, chain_updated_at = excluded.chain_updated_at, updated_at = now(),
       read_attempts = CASE WHEN d.content_hash = excluded.content_hash AND d.uri = excluded.uri THEN d.read_attempts ELSE 0 END,
       read_at = CASE WHEN d.content_hash = excluded.content_hash AND d.uri = excluded.uri THEN d.read_at ELSE now() END,
       read_hash = CASE WHEN d.capability = excluded.capability AND d.categories = excluded.categories THEN d.read_hash END
     WHERE (d.source, d.owner, d.pay_to, d.token, d.price_atomic, d.capability, d.categories, d.schemes, d.visibility, d.status, d.version, d.content_hash, d.uri, d.bond_atomic, d.rating_count, d.chain_updated_at)
       IS DISTINCT FROM (excluded.source, excluded.owner, excluded.pay_to, excluded.token, excluded.price_atomic, excluded.capability, excluded.categories, excluded.schemes, excluded.visibility, excluded.status, excluded.version,
         excluded.content_hash, excluded.uri, excluded.bond_atomic, excluded.rating_count, excluded.chain_updated_at)`,
    [
      source, of((s) => toBytes(s.serviceId)), of((s) => toBytes(s.owner)), of((s) => s.agentKey), of((s) => toBytes(s.payTo)), of((s) => toBytes(s.token)), of((s) => s.price), of((s) => s.capability), of((s) => s.categories),
      of((s) => s.schemes), of((s) => s.visibility), of((s) => s.status), of((s) => s.version), of((s) => toBytes(s.contentHash)), of((s) => s.uri), of((s) => s.bond), of((s) => s.ratingCount), of((s) => s.updatedAt),
    ],
  );
}

/** Rows of the indexer that changed at or after that second: those it no longer tells of were undone with their block. */
export async function knownSince(db: Queryable, since: bigint): Promise<Hex[]> {
  const { rows } = await db.query<{ service_id: Buffer }>("SELECT service_id FROM discovery_service WHERE source = 'indexer' AND chain_updated_at >= $1", [since]);
  return rows.map(({ service_id }) => toHex(service_id));
}

export async function removeServices(db: Queryable, ids: readonly Hex[]): Promise<void> {
  if (ids.length > 0) await db.query("DELETE FROM discovery_service WHERE service_id = ANY($1::bytea[])", [ids.map(toBytes)]);
}

type ListingRow = {
  service_id: Buffer; owner: Buffer; agent_key: bigint; pay_to: Buffer; token: Buffer; price_atomic: bigint; capability: string; categories: bigint; schemes: number; visibility: ServiceVisibility; status: ServiceStatus;
  version: number; content_hash: Buffer; uri: string; changed_at: string;
};

/** What is listed here and not (or not any more) in the indexer's part. */
export async function ownListings(db: Queryable): Promise<ChainService[]> {
  const { rows } = await db.query<ListingRow>(
    `SELECT l.service_id, l.owner, l.agent_key, l.pay_to, l.token, l.price_atomic, l.capability, l.categories, l.schemes, l.visibility, l.status, l.version, l.content_hash, l.uri, floor(extract(epoch FROM l.updated_at))::text AS changed_at
     FROM listing l WHERE l.service IS NOT NULL AND NOT EXISTS (SELECT 1 FROM discovery_service d WHERE d.service_id = l.service_id AND d.source = 'indexer')`,
  );
  return rows.map((row) => ({
    serviceId: toHex(row.service_id), owner: toAddress(row.owner), agentKey: row.agent_key, payTo: toAddress(row.pay_to), token: toAddress(row.token), price: row.price_atomic, capability: row.capability, categories: row.categories,
    schemes: row.schemes, visibility: row.visibility, status: row.status, version: row.version, contentHash: toHex(row.content_hash), uri: row.uri, bond: 0n, ratingCount: 0, updatedAt: BigInt(row.changed_at),
  }));
}

/** Forgets what was listed here and is neither any more nor on chain. */
export async function forgetUnlisted(db: Queryable): Promise<void> {
  await db.query("DELETE FROM discovery_service d WHERE source = 'listing' AND NOT EXISTS (SELECT 1 FROM listing l WHERE l.service_id = d.service_id)");
}

/** What only this relayer knows: the gateway's name, where it sells it, and whether it is there. */
export async function copyAvailability(db: Queryable, publicUrl: string): Promise<void> {
  await db.query(
    `UPDATE discovery_service d SET service = l.service, availability = l.availability, available_at = l.available_at, updated_at = now(),
       url = CASE WHEN l.service IS NULL THEN d.url ELSE coalesce(s.url, $1::text || '/s/' || l.service) END
     FROM listing l LEFT JOIN service s ON s.name = l.service AND s.removed_at IS NULL
     WHERE l.service_id = d.service_id AND (d.service IS DISTINCT FROM l.service OR d.availability <> l.availability OR d.available_at IS DISTINCT FROM l.available_at
       OR (l.service IS NOT NULL AND d.url IS DISTINCT FROM coalesce(s.url, $1::text || '/s/' || l.service)))`,
    [publicUrl],
  );
}

/** What the operator decided, of one service or of all. A decision brings its own; this finds a row that was written beside it. */
export async function copyBlocks(db: Queryable, serviceId?: Hex): Promise<void> {
  await db.query(
    `UPDATE discovery_service d SET blocked = decided.blocked, updated_at = now()
     FROM (SELECT k.service_id, b.service_id IS NOT NULL AS blocked FROM discovery_service k LEFT JOIN blocked_listing b ON b.service_id = k.service_id WHERE $1::bytea IS NULL OR k.service_id = $1::bytea) decided
     WHERE decided.service_id = d.service_id AND decided.blocked <> d.blocked`,
    [serviceId === undefined ? null : toBytes(serviceId)],
  );
}

/** Scores of services that search knows; others are told again when they are listed. */
export async function setReputations(db: Queryable, scores: readonly { serviceId: Hex; reputation: Reputation; updatedAt: bigint }[]): Promise<void> {
  await db.query(
    `UPDATE discovery_service d SET reputation = s.overall, reputation_detail = s.detail, reputation_at = s.at, updated_at = now()
     FROM unnest($1::bytea[], $2::double precision[], $3::jsonb[], $4::bigint[]) AS s (service_id, overall, detail, at)
     WHERE d.service_id = s.service_id AND (d.reputation, d.reputation_detail) IS DISTINCT FROM (s.overall, s.detail)`,
    [scores.map(({ serviceId }) => toBytes(serviceId)), scores.map(({ reputation }) => reputation.overall), scores.map(({ reputation }) => JSON.stringify(reputation)), scores.map(({ updatedAt }) => updatedAt)],
  );
}

type MeasuredRow = { service_id: Buffer; reputation: number | null; uptime: number | null; p90_ms: number | null; honesty: number | null; max_latency_ms: number | null; price_atomic: bigint; token: Buffer; bond_atomic: bigint; quality: number };

/** Rows whose place may have moved since then. */
export async function measuredSince(db: Queryable, since: Date): Promise<{ serviceId: Hex; quality: number; measured: Measured }[]> {
  const { rows } = await db.query<MeasuredRow>("SELECT service_id, reputation, uptime, p90_ms, honesty, max_latency_ms, price_atomic, token, bond_atomic, quality FROM discovery_service WHERE updated_at >= $1", [since]);
  return rows.map((row) => ({
    serviceId: toHex(row.service_id),
    quality: row.quality,
    measured: {
      reputation: row.reputation ?? undefined, uptime: row.uptime ?? undefined, p90Ms: row.p90_ms ?? undefined, honesty: row.honesty ?? undefined, promisedLatencyMs: row.max_latency_ms ?? undefined,
      price: row.price_atomic, token: toAddress(row.token) as Address, bond: row.bond_atomic,
    },
  }));
}

export async function setQualities(db: Queryable, qualities: readonly { serviceId: Hex; quality: number }[]): Promise<void> {
  if (qualities.length === 0) return;
  await db.query("UPDATE discovery_service d SET quality = s.quality FROM unnest($1::bytea[], $2::double precision[]) AS s (service_id, quality) WHERE d.service_id = s.service_id", [
    qualities.map(({ serviceId }) => toBytes(serviceId)), qualities.map(({ quality }) => quality),
  ]);
}

/** The database's clock, which rows are stamped by. */
export async function clock(db: Queryable): Promise<Date> {
  const { rows } = await db.query<{ at: Date }>("SELECT clock_timestamp() AS at");
  return rows[0]!.at;
}
