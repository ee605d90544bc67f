// SQL of metadata documents: which are still to be read, and what was read.
import type { Hex } from "viem";
import { toBytes, toHex } from "../../db/codec.ts";
import type { Queryable } from "../../db/pool.ts";
import type { ReadDocument } from "./document.ts";

export type Unread = { serviceId: Hex; contentHash: Hex; uri: string; capability: string; categories: bigint; attempts: number; soldHere: boolean; body: Uint8Array | undefined };

/** Takes up to `most` that are due, whose document is here or is not, and sets them back by `leaseS` so that no other process does the same meanwhile. */
export async function takeUnread(db: Queryable, here: boolean, most: number, leaseS: number): Promise<Unread[]> {
  const { rows } = await db.query<{ service_id: Buffer; content_hash: Buffer; uri: string; capability: string; categories: bigint; read_attempts: number; service: string | null; body: Buffer | null }>(
    `WITH due AS (
       SELECT service_id FROM discovery_service s
       WHERE read_hash IS DISTINCT FROM content_hash AND read_at <= now()
         AND (EXISTS (SELECT 1 FROM metadata_document m WHERE m.content_hash = s.content_hash) OR EXISTS (SELECT 1 FROM discovery_document f WHERE f.content_hash = s.content_hash)) = $3
       ORDER BY read_at LIMIT $1 FOR UPDATE SKIP LOCKED
     )
     UPDATE discovery_service d SET read_at = now() + make_interval(secs => $2) FROM due WHERE d.service_id = due.service_id
     RETURNING d.service_id, d.content_hash, d.uri, d.capability, d.categories, d.read_attempts, d.service,
       coalesce((SELECT m.body FROM metadata_document m WHERE m.content_hash = d.content_hash), (SELECT f.body FROM discovery_document f WHERE f.content_hash = d.content_hash)) AS body`,
    [most, leaseS, here],
  );
  return rows.map((row) => ({
    serviceId: toHex(row.service_id), contentHash: toHex(row.content_hash), uri: row.uri, capability: row.capability, categories: row.categories, attempts: row.read_attempts, soldHere: row.service !== null, body: row.body ?? undefined,
  }));
}

export async function keepDocument(db: Queryable, contentHash: Hex, body: Uint8Array): Promise<void> {
  await db.query("INSERT INTO discovery_document (content_hash, body) VALUES ($1, $2) ON CONFLICT DO NOTHING", [toBytes(contentHash), body]);
}

/** What was read, unless the terms changed meanwhile. `url` undefined: the one that is known stays. */
export async function setDocument(db: Queryable, { serviceId, contentHash }: Pick<Unread, "serviceId" | "contentHash">, document: ReadDocument, url: string | undefined): Promise<void> {
  const [title, tags, about] = document.words;
  await db.query(
    `UPDATE discovery_service SET read_hash = $2, name = $3, description = $4, facts = $5, max_latency_ms = $6, min_uptime = $7, url = coalesce($8, url), read_fault = NULL, read_attempts = 0, updated_at = now(),
       words = setweight(to_tsvector('english', $9), 'A') || setweight(to_tsvector('english', $10), 'A') || setweight(to_tsvector('english', $11), 'C')
     WHERE service_id = $1 AND content_hash = $2::bytea`,
    [toBytes(serviceId), toBytes(contentHash), document.name, document.description, JSON.stringify(document.facts), document.maxLatencyMs ?? null, document.minUptime ?? null, url ?? null, title, tags, about],
  );
}

/** It could not be read; tried again after `againS`. A service whose new document cannot be read is not shown with the old one's words. */
export async function setUnreadable(db: Queryable, { serviceId, contentHash }: Pick<Unread, "serviceId" | "contentHash">, fault: string, againS: number): Promise<void> {
  await db.query(
    `UPDATE discovery_service SET read_fault = $3, read_attempts = read_attempts + 1, read_at = now() + make_interval(secs => $4), read_hash = NULL, name = NULL, description = NULL, facts = NULL, max_latency_ms = NULL, min_uptime = NULL,
       words = to_tsvector('english', capability), updated_at = now()
     WHERE service_id = $1 AND content_hash = $2::bytea`,
    [toBytes(serviceId), toBytes(contentHash), fault, againS],
  );
}
