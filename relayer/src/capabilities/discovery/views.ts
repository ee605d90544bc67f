// What search answers, on the wire. Pure.
import type { Static } from "typebox";
import { SERVICE_CATEGORIES, SERVICE_SCHEMES, namesOf } from "../../../../sdk/src/bazaar.ts";
import type { Config } from "../../config.ts";
import type { ServiceHealth, ProbeEntry } from "./health-store.ts";
import { decimalOf, explain } from "./logic.ts";
import type { AgentView, HealthView } from "./schemas.ts";
import type { FoundService } from "./types.ts";

export function agentView(service: FoundService, config: Pick<Config, "network" | "token">, textWhy?: string): Static<typeof AgentView> {
  return {
    serviceId: service.serviceId,
    name: service.name,
    description: service.description,
    capability: service.capability,
    categories: namesOf(SERVICE_CATEGORIES, service.categories),
    url: service.url,
    price: decimalOf(service.price),
    priceAtomic: service.price.toString(),
    unit: service.facts.pricing?.unit ?? "call",
    token: service.token,
    network: config.network,
    schemes: namesOf(SERVICE_SCHEMES, BigInt(service.schemes)),
    payTo: service.payTo,
    owner: service.owner,
    availability: service.availability,
    availableAt: service.availableAt?.toISOString() ?? null,
    sla: service.facts.sla ?? null,
    measured: { uptimePercent: service.uptime ?? null, p50Ms: service.p50Ms ?? null, p90Ms: service.p90Ms ?? null, p99Ms: service.p99Ms ?? null, priceHonestyPercent: service.honesty ?? null },
    reputation: service.reputationDetail ?? null,
    terms: { version: service.version, contentHash: service.contentHash, metadata: service.uri },
    rank: explain(service, config.token.address, service.textMatch, textWhy),
  };
}

export function healthView(serviceId: string, health: ServiceHealth, history: readonly ProbeEntry[]): Static<typeof HealthView> {
  return {
    serviceId,
    probes: health.probes,
    since: health.since?.toISOString() ?? null,
    lastProbedAt: health.lastProbedAt?.toISOString() ?? null,
    uptimePercent: health.uptimePercent ?? null,
    p50Ms: health.p50Ms ?? null,
    p90Ms: health.p90Ms ?? null,
    p99Ms: health.p99Ms ?? null,
    priceHonestyPercent: health.priceHonestyPercent ?? null,
    hidden: health.hidden === undefined ? null : { since: health.hidden.since.toISOString(), reason: health.hidden.reason },
    history: history.map(({ at, kind, ok, status, latencyMs, honest, fault, paid }) => ({
      at: at.toISOString(), kind, ok, status: status ?? null, latencyMs, priceHonest: honest ?? null, fault: fault ?? null, paidAtomic: paid.toString(),
    })),
  };
}
