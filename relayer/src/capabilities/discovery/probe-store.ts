// SQL of the prober: whose turn it is, what it saw, and what follows.
import type { Address, Hex } from "viem";
import { toAddress, toBytes, toHex } from "../../db/codec.ts";
import type { Queryable } from "../../db/pool.ts";
import type { ProbeKind, ServiceHealth } from "./health-store.ts";
import type { Registered, Standing } from "./probe-logic.ts";
import type { DocumentFacts } from "./types.ts";

export type Target = Registered & { serviceId: Hex; url: string; facts: DocumentFacts; version: number; canaryAt: Date | undefined; standing: Standing; suspendedVersion: number | undefined; soldHere: boolean };
export type Look = { kind: ProbeKind; ok: boolean; honest: boolean | undefined; status: number | undefined; latencyMs: number; fault: string | undefined; detail: string | undefined; paid: bigint };

/** What is shown, or would be if it were not hidden, is looked at. */
export async function enrol(db: Queryable): Promise<void> {
  await db.query(
    `INSERT INTO service_probe (service_id) SELECT service_id FROM discovery_service d
     WHERE status = 'listed' AND visibility = 'public' AND url IS NOT NULL AND read_hash = content_hash AND NOT EXISTS (SELECT 1 FROM service_probe p WHERE p.service_id = d.service_id)
     ON CONFLICT DO NOTHING`,
  );
}

type Row = {
  service_id: Buffer; url: string; facts: DocumentFacts; pay_to: Buffer; token: Buffer; price_atomic: bigint; schemes: number; version: number; canary_at: Date | null; failures: number; successes: number; hidden_since: Date | null;
  hidden_reason: string | null; suspended_version: number | null; service: string | null;
};

/** Takes up to `most` whose turn it is; nobody else gets them for `leaseS`. */
export async function lease(db: Queryable, most: number, leaseS: number): Promise<Target[]> {
  const { rows } = await db.query<Row>(
    `WITH due AS (
       SELECT p.service_id FROM service_probe p JOIN discovery_service d USING (service_id)
       WHERE p.due_at <= now() AND p.leased_until <= now() AND d.status = 'listed' AND d.visibility = 'public' AND NOT d.blocked AND d.url IS NOT NULL AND d.read_hash = d.content_hash
       ORDER BY p.due_at LIMIT $1 FOR UPDATE OF p SKIP LOCKED
     )
     UPDATE service_probe p SET leased_until = now() + make_interval(secs => $2) FROM due JOIN discovery_service d USING (service_id) WHERE p.service_id = due.service_id
     RETURNING p.service_id, d.url, d.facts, d.pay_to, d.token, d.price_atomic, d.schemes, d.version, p.canary_at, p.failures, p.successes, p.hidden_since, p.hidden_reason, p.suspended_version, d.service`,
    [most, leaseS],
  );
  return rows.map((row) => ({
    serviceId: toHex(row.service_id), url: row.url, facts: row.facts, payTo: toAddress(row.pay_to) as Address, token: toAddress(row.token) as Address, price: row.price_atomic, schemes: row.schemes, version: row.version,
    canaryAt: row.canary_at ?? undefined, suspendedVersion: row.suspended_version ?? undefined, soldHere: row.service !== null,
    standing: { failures: row.failures, successes: row.successes, hiddenSince: row.hidden_since ?? undefined, hiddenReason: row.hidden_reason ?? undefined },
  }));
}

export async function insertLook(db: Queryable, serviceId: Hex, look: Look): Promise<void> {
  await db.query("INSERT INTO probe_result (service_id, kind, ok, honest, status, latency_ms, fault, detail, paid_atomic) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)", [
    toBytes(serviceId), look.kind, look.ok, look.honest ?? null, look.status ?? null, look.latencyMs, look.fault ?? null, look.detail?.slice(0, 300) ?? null, look.paid,
  ]);
}

/** Gives the lease back. */
export async function setStanding(db: Queryable, serviceId: Hex, { failures, successes, hiddenSince, hiddenReason }: Standing, periodS: number, paid: boolean): Promise<void> {
  await db.query(
    `UPDATE service_probe SET failures = $2, successes = $3, hidden_since = $4, hidden_reason = $5, due_at = now() + make_interval(secs => $6), leased_until = '-infinity',
       canary_at = CASE WHEN $7 THEN now() ELSE canary_at END
     WHERE service_id = $1`,
    [toBytes(serviceId), failures, successes, hiddenSince ?? null, hiddenReason ?? null, periodS, paid],
  );
}

/** What search ranks and hides by. */
export async function copyHealth(db: Queryable, serviceId: Hex, { uptimePercent, p50Ms, p90Ms, p99Ms, priceHonestyPercent, hidden }: ServiceHealth): Promise<void> {
  await db.query("UPDATE discovery_service SET uptime = $2, p50_ms = $3, p90_ms = $4, p99_ms = $5, honesty = $6, hidden_since = $7, updated_at = now() WHERE service_id = $1", [
    toBytes(serviceId), uptimePercent ?? null, p50Ms ?? null, p90Ms ?? null, p99Ms ?? null, priceHonestyPercent ?? null, hidden?.since ?? null,
  ]);
}

/** @returns false: the day's budget does not reach. What is reserved and not spent stays reserved until the day ends. */
export async function reserveCanary(db: Queryable, price: bigint, budget: bigint): Promise<boolean> {
  if (price > budget) return false;
  const { rowCount } = await db.query(
    `INSERT INTO probe_budget AS b (day, reserved_atomic) VALUES ((now() AT TIME ZONE 'UTC')::date, $1)
     ON CONFLICT (day) DO UPDATE SET reserved_atomic = b.reserved_atomic + $1 WHERE b.reserved_atomic + $1 <= $2`,
    [price, budget],
  );
  return rowCount === 1;
}

/** @returns false when another process was first. */
export async function setSuspended(db: Queryable, serviceId: Hex, version: number): Promise<boolean> {
  const { rowCount } = await db.query("UPDATE service_probe SET suspended_version = $2 WHERE service_id = $1 AND suspended_version IS DISTINCT FROM $2", [toBytes(serviceId), version]);
  return rowCount === 1;
}

/** Forgets what is older than `days`, and services that are gone. */
export async function forgetOld(db: Queryable, days: number): Promise<void> {
  await db.query("DELETE FROM probe_result WHERE probed_at < now() - make_interval(days => $1)", [days]);
}
