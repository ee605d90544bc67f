// SQL of webhooks. Where one stands in its owner's events is a position as in events/store.ts.
import type { Address } from "viem";
import { toAddress, toBytes } from "../../db/codec.ts";
import type { Queryable } from "../../db/pool.ts";
import type { Position } from "../events/store.ts";

export type Webhook = { webhookId: string; owner: Address; url: string; kinds: string[]; createdAt: Date; /** Nobody took an event for days; undefined: it is told. */ disabledAt: Date | undefined };
export type DueWebhook = Webhook & { sealedSecret: Buffer; told: Position; attempts: number };

type Row = { webhook_id: string; owner: Buffer; url: string; kinds: string[]; created_at: Date; disabled_at: Date | null; sealed_secret: Buffer; told: string; told_event: bigint; attempts: number };
const fromRow = (row: Row): Webhook => ({ webhookId: row.webhook_id, owner: toAddress(row.owner), url: row.url, kinds: row.kinds, createdAt: row.created_at, disabledAt: row.disabled_at ?? undefined });

/** From now on. @returns false when the owner has as many as are kept. */
export async function insertWebhook(db: Queryable, hook: Pick<Webhook, "webhookId" | "owner" | "url" | "kinds">, sealedSecret: Buffer, from: Position, most: number): Promise<boolean> {
  const { rowCount } = await db.query(
    `INSERT INTO webhook (webhook_id, owner, url, kinds, sealed_secret, told_xid, told_event) SELECT $1, $2::bytea, $3, $4::text[], $5::bytea, $6::text::xid8, $7::bigint
     WHERE (SELECT count(*) FROM webhook WHERE owner = $2::bytea) < $8`,
    [hook.webhookId, toBytes(hook.owner), hook.url, hook.kinds, sealedSecret, String(from.xid), from.eventId, most],
  );
  return rowCount === 1;
}

export async function listWebhooks(db: Queryable, owner: Address): Promise<Webhook[]> {
  const { rows } = await db.query<Row>("SELECT * FROM webhook WHERE owner = $1 ORDER BY created_at", [toBytes(owner)]);
  return rows.map(fromRow);
}

export async function deleteWebhook(db: Queryable, owner: Address, webhookId: string): Promise<boolean> {
  const { rowCount } = await db.query("DELETE FROM webhook WHERE webhook_id = $1 AND owner = $2", [webhookId, toBytes(owner)]);
  return rowCount === 1;
}

/** It goes on where it stood, at once and with all its attempts. @returns undefined when it is none of the owner's. */
export async function enable(db: Queryable, owner: Address, webhookId: string): Promise<Webhook | undefined> {
  const { rows } = await db.query<Row>("UPDATE webhook SET disabled_at = NULL, attempts = 0, due_at = now() WHERE webhook_id = $1 AND owner = $2 RETURNING *", [webhookId, toBytes(owner)]);
  return rows[0] === undefined ? undefined : fromRow(rows[0]);
}

/** Takes webhooks that are due, each for one process, for so long. */
export async function leaseWebhooks(db: Queryable, limit: number, leaseS: number): Promise<DueWebhook[]> {
  const { rows } = await db.query<Row>(
    `UPDATE webhook SET leased_until = now() + $2 * interval '1 second' WHERE webhook_id IN (
       SELECT webhook_id FROM webhook WHERE disabled_at IS NULL AND due_at <= now() AND leased_until < now() ORDER BY due_at LIMIT $1 FOR UPDATE SKIP LOCKED)
     RETURNING *, told_xid::text AS told`,
    [limit, leaseS],
  );
  return rows.map((row) => ({ ...fromRow(row), sealedSecret: row.sealed_secret, told: { xid: BigInt(row.told), eventId: row.told_event }, attempts: row.attempts }));
}

/** The event was taken, given up, or not wanted: the next one's turn. */
export async function advance(db: Queryable, webhookId: string, { xid, eventId }: Position): Promise<void> {
  await db.query("UPDATE webhook SET told_xid = $2::text::xid8, told_event = $3, attempts = 0 WHERE webhook_id = $1", [webhookId, String(xid), eventId]);
}

export async function release(db: Queryable, webhookId: string, inS: number): Promise<void> {
  await db.query("UPDATE webhook SET leased_until = '-infinity', due_at = now() + $2 * interval '1 second' WHERE webhook_id = $1", [webhookId, inS]);
}

/** @returns attempts at this event so far. */
export async function countFailure(db: Queryable, webhookId: string): Promise<number> {
  const { rows } = await db.query<{ attempts: number }>("UPDATE webhook SET attempts = attempts + 1 WHERE webhook_id = $1 RETURNING attempts", [webhookId]);
  return rows[0]?.attempts ?? 0;
}

export async function disable(db: Queryable, webhookId: string): Promise<void> {
  await db.query("UPDATE webhook SET disabled_at = now(), leased_until = '-infinity' WHERE webhook_id = $1", [webhookId]);
}

export type Delivery = { event: Position; kind: string; attempt: number; status: number | undefined; fault: string | undefined };

/** One that is tried anew after it was retired is counted from one again: the latest attempt of a number is kept. */
export async function recordDelivery(db: Queryable, webhookId: string, { event, kind, attempt, status, fault }: Delivery): Promise<void> {
  await db.query(
    `INSERT INTO webhook_delivery (webhook_id, event_xid, event_id, kind, attempt, status, fault) VALUES ($1, $2::text::xid8, $3, $4, $5, $6, $7)
     ON CONFLICT (webhook_id, event_xid, event_id, attempt) DO UPDATE SET at = clock_timestamp(), status = EXCLUDED.status, fault = EXCLUDED.fault`,
    [webhookId, String(event.xid), event.eventId, kind, attempt, status ?? null, fault ?? null],
  );
}

/** The newest first. */
export async function listDeliveries(db: Queryable, owner: Address, webhookId: string, limit: number): Promise<(Delivery & { at: Date })[]> {
  const { rows } = await db.query<{ xid: string; event_id: bigint; kind: string; at: Date; attempt: number; status: number | null; fault: string | null }>(
    `SELECT d.event_xid::text AS xid, d.event_id, d.kind, d.at, d.attempt, d.status, d.fault FROM webhook_delivery d JOIN webhook w USING (webhook_id)
     WHERE d.webhook_id = $1 AND w.owner = $2 ORDER BY d.at DESC LIMIT $3`,
    [webhookId, toBytes(owner), limit],
  );
  return rows.map((row) => ({ event: { xid: BigInt(row.xid), eventId: row.event_id }, kind: row.kind, at: row.at, attempt: row.attempt, status: row.status ?? undefined, fault: row.fault ?? undefined }));
}

export async function deleteOldDeliveries(db: Queryable, keptS: number): Promise<void> {
  await db.query("DELETE FROM webhook_delivery WHERE at < now() - $1 * interval '1 second'", [keptS]);
}
