// Wire types of discovery.
import { Type, type Static } from "typebox";

const AddressString = Type.Unsafe<string>({ type: "string", pattern: "^0x[0-9a-fA-F]{40}$" });
const Text = Type.String({ maxLength: 4_000 });
const Decimal = Type.Unsafe<string>({ type: "string", maxLength: 40, description: 'Whole tokens, at most six decimals: "0.01" or "$0.01"' });
const Atomic = Type.Unsafe<string>({ type: "string", pattern: "^[0-9]{1,38}$", description: "Atomic token units" });

// ---------------------------------------------------------------- x402's bazaar

/** What we apply; whatever else is asked for is named in the answer. Empty text counts as not given. */
const officialFilters = {
  type: Type.Optional(Type.String({ maxLength: 64, description: "http; nothing else is listed here" })),
  payTo: Type.Optional(Type.String({ maxLength: 64 })),
  scheme: Type.Optional(Type.String({ maxLength: 64 })),
  network: Type.Optional(Type.String({ maxLength: 64 })),
  extensions: Type.Optional(Type.String({ maxLength: 64, description: "bazaar or tallystick" })),
  limit: Type.Optional(Type.Integer({ minimum: 1, maximum: 1_000_000, description: "At most 100 are answered" })),
};
export const ResourcesQuery = Type.Object({ ...officialFilters, offset: Type.Optional(Type.Integer({ minimum: 0, maximum: 10_000 })) });
export const OfficialSearchQuery = Type.Object({ query: Text, ...officialFilters, cursor: Type.Optional(Type.String({ maxLength: 64 })) });
export type ResourcesQuery = Static<typeof ResourcesQuery>;
export type OfficialSearchQuery = Static<typeof OfficialSearchQuery>;

const Item = Type.Object({ resource: Type.String(), type: Type.String(), x402Version: Type.Integer(), accepts: Type.Array(Type.Object({}, { additionalProperties: true })), lastUpdated: Type.String() }, { additionalProperties: true });
const Unapplied = Type.Optional(Type.Array(Type.String(), { description: "Filters that were asked for and are not known here" }));
const Partial = Type.Optional(Type.Boolean({ description: "True: this relayer does not know all services of the chain now" }));
export const ResourcesView = Type.Object({
  x402Version: Type.Integer(), items: Type.Array(Item), pagination: Type.Object({ limit: Type.Integer(), offset: Type.Integer(), total: Type.Integer() }), unappliedFilters: Unapplied, partialResults: Partial,
});
export const OfficialSearchView = Type.Object({
  x402Version: Type.Integer(), resources: Type.Array(Item), pagination: Type.Object({ limit: Type.Integer(), cursor: Type.Union([Type.String(), Type.Null()]) }), unappliedFilters: Unapplied, partialResults: Partial,
});

// ---------------------------------------------------------------- ours

const filters = {
  capability: Type.Optional(Type.String({ pattern: "^[a-z0-9][a-z0-9._-]{0,31}$", description: 'Tag, such as "web.search"' })),
  category: Type.Optional(Type.String({ maxLength: 32 })),
  maxPrice: Type.Optional(Decimal),
  maxPriceAtomic: Type.Optional(Atomic),
  maxResponseTime: Type.Optional(Type.Integer({ minimum: 1, maximum: 3_600_000, description: "Milliseconds: nine in ten answers measured, or the promise where nothing was measured" })),
  minRating: Type.Optional(Type.Number({ minimum: 0, maximum: 100, description: "Overall score from settled receipts; what nobody scored is left out" })),
  uptime: Type.Optional(Type.Number({ minimum: 0, maximum: 100, description: "Percent: measured, or the promise where nothing was measured" })),
  scheme: Type.Optional(Type.String({ maxLength: 32 })),
  token: Type.Optional(AddressString),
  owner: Type.Optional(AddressString),
  payTo: Type.Optional(AddressString),
  limit: Type.Optional(Type.Integer({ minimum: 1, maximum: 100 })),
  cursor: Type.Optional(Type.String({ maxLength: 64 })),
};
export const DiscoverQuery = Type.Object({ service: Type.Optional(Type.String({ maxLength: 4_000, description: "A capability tag, or words" })), ...filters }, { additionalProperties: false });
export const DiscoverBody = Type.Object({ text: Type.Optional(Text), ...filters }, { additionalProperties: false });
export const RecommendBody = Type.Object({ task: Type.String({ minLength: 1, maxLength: 4_000, description: "What is to be done, in words" }), ...filters }, { additionalProperties: false });
export type DiscoverQuery = Static<typeof DiscoverQuery>;
export type DiscoverBody = Static<typeof DiscoverBody>;
export type RecommendBody = Static<typeof RecommendBody>;

const orNull = <T extends Parameters<typeof Type.Union>[0][number]>(type: T) => Type.Union([type, Type.Null()]);
const FactorView = Type.Object({ factor: Type.String(), weight: Type.Number(), value: Type.Number({ description: "0 to 1" }), contribution: Type.Number({ description: "weight times value" }), why: Type.String() });
export const AgentView = Type.Object({
  serviceId: Type.String(), name: Type.String({ description: "Its provider's words, as are all texts: escape them" }), description: Type.String(), capability: Type.String(), categories: Type.Array(Type.String()),
  url: Type.String({ description: "Where it is called and paid" }), price: Type.String({ description: "Decimal, whole tokens" }), priceAtomic: Type.String(), unit: Type.String({ description: "What the price buys: a call, a unit of a stream, or a month of calls" }), token: Type.String(), network: Type.String(), schemes: Type.Array(Type.String()),
  payTo: Type.String(), owner: Type.String(), availability: Type.String(), availableAt: orNull(Type.String()),
  sla: orNull(Type.Object({ maxLatencyMs: Type.Integer(), minUptimePercent: Type.Number() })),
  measured: Type.Object({ uptimePercent: orNull(Type.Number()), p50Ms: orNull(Type.Integer()), p90Ms: orNull(Type.Integer()), p99Ms: orNull(Type.Integer()), priceHonestyPercent: orNull(Type.Number()) }),
  reputation: orNull(Type.Object({ overall: Type.Number() }, { additionalProperties: true })),
  terms: Type.Object({ version: Type.Integer(), contentHash: Type.String(), metadata: Type.String() }, { description: "Ask the registry's isCurrent before money depends on them" }),
  rank: Type.Object({ score: Type.Number(), factors: Type.Array(FactorView) }, { description: "The score is the sum of the contributions" }),
});
export const DiscoverView = Type.Object({ agents: Type.Array(AgentView), method: Type.String(), next: orNull(Type.String()), partialResults: Type.Boolean() });

// ---------------------------------------------------------------- health

export const IdParams = Type.Object({ id: Type.String({ pattern: "^(0x[0-9a-fA-F]{64}|[a-z0-9][a-z0-9-]{0,62})$", description: "serviceId, or the gateway's name" }) });
export const HealthQuery = Type.Object({ limit: Type.Optional(Type.Integer({ minimum: 1, maximum: 1_000 })) });
export const HealthView = Type.Object({
  serviceId: Type.String(),
  probes: Type.Integer(), since: orNull(Type.String()), lastProbedAt: orNull(Type.String()),
  uptimePercent: orNull(Type.Number()), p50Ms: orNull(Type.Integer()), p90Ms: orNull(Type.Integer()), p99Ms: orNull(Type.Integer()), priceHonestyPercent: orNull(Type.Number()),
  hidden: orNull(Type.Object({ since: Type.String(), reason: Type.String() })),
  history: Type.Array(
    Type.Object({
      at: Type.String(), kind: Type.String({ description: "terms: asked without payment; canary: paid" }), ok: Type.Boolean(), status: orNull(Type.Integer()), latencyMs: Type.Integer(), priceHonest: orNull(Type.Boolean()), fault: orNull(Type.String()),
      paidAtomic: Type.String(),
    }),
  ),
});
