// SQL of what the prober measured, as others read it. The rows are public.
import type { Hex } from "viem";
import { toBytes } from "../../db/codec.ts";
import type { Queryable } from "../../db/pool.ts";

/** Over the last WINDOW_DAYS. Percent from 0 to 100; undefined: nothing measured. */
export type ServiceHealth = {
  probes: number;
  since: Date | undefined;
  lastProbedAt: Date | undefined;
  uptimePercent: number | undefined;
  p50Ms: number | undefined;
  p90Ms: number | undefined;
  p99Ms: number | undefined;
  priceHonestyPercent: number | undefined;
  hidden: { since: Date; reason: string } | undefined;
};

export type ProbeKind = "terms" | "canary";
export type ProbeEntry = { at: Date; kind: ProbeKind; ok: boolean; honest: boolean | undefined; status: number | undefined; latencyMs: number; fault: string | undefined; paid: bigint };

const WINDOW_DAYS = 7;

/** Latency is of what was answered; a canary's is of the whole paid call. */
export async function serviceHealth(db: Queryable, serviceId: Hex): Promise<ServiceHealth> {
  const { rows } = await db.query<{
    probes: bigint; since: Date | null; last: Date | null; uptime: number | null; p50: number | null; p90: number | null; p99: number | null; honesty: number | null; hidden_since: Date | null; hidden_reason: string | null;
  }>(
    `SELECT r.*, p.hidden_since, p.hidden_reason
     FROM (
       SELECT count(*) AS probes, min(probed_at) AS since, max(probed_at) AS last,
         round(100.0 * count(*) FILTER (WHERE ok) / nullif(count(*), 0), 2)::double precision AS uptime,
         (percentile_disc(0.5) WITHIN GROUP (ORDER BY latency_ms) FILTER (WHERE status IS NOT NULL)) AS p50,
         (percentile_disc(0.9) WITHIN GROUP (ORDER BY latency_ms) FILTER (WHERE status IS NOT NULL)) AS p90,
         (percentile_disc(0.99) WITHIN GROUP (ORDER BY latency_ms) FILTER (WHERE status IS NOT NULL)) AS p99,
         round(100.0 * count(*) FILTER (WHERE honest) / nullif(count(honest), 0), 2)::double precision AS honesty
       FROM probe_result WHERE service_id = $1::bytea AND probed_at > now() - make_interval(days => $2)
     ) r LEFT JOIN service_probe p ON p.service_id = $1::bytea`,
    [toBytes(serviceId), WINDOW_DAYS],
  );
  const row = rows[0]!;
  return {
    probes: Number(row.probes), since: row.since ?? undefined, lastProbedAt: row.last ?? undefined, uptimePercent: row.uptime ?? undefined, p50Ms: row.p50 ?? undefined, p90Ms: row.p90 ?? undefined, p99Ms: row.p99 ?? undefined,
    priceHonestyPercent: row.honesty ?? undefined, hidden: row.hidden_since === null ? undefined : { since: row.hidden_since, reason: row.hidden_reason ?? "" },
  };
}

/** The newest first. */
export async function probeHistory(db: Queryable, serviceId: Hex, most: number): Promise<ProbeEntry[]> {
  const { rows } = await db.query<{ probed_at: Date; kind: ProbeKind; ok: boolean; honest: boolean | null; status: number | null; latency_ms: number; fault: string | null; paid_atomic: bigint }>(
    "SELECT probed_at, kind, ok, honest, status, latency_ms, fault, paid_atomic FROM probe_result WHERE service_id = $1 ORDER BY probed_at DESC, id DESC LIMIT $2",
    [toBytes(serviceId), most],
  );
  return rows.map((row) => ({ at: row.probed_at, kind: row.kind, ok: row.ok, honest: row.honest ?? undefined, status: row.status ?? undefined, latencyMs: row.latency_ms, fault: row.fault ?? undefined, paid: row.paid_atomic }));
}
