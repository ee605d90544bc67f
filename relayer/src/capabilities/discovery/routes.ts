import type { FastifyInstance, FastifyRequest } from "fastify";
import type { Static } from "typebox";
import { capabilityTag } from "../../../../sdk/src/bazaar.ts";
import type { Deps } from "../../deps.ts";
import { problemResponse } from "../../problem-schema.ts";
import { healthOf } from "./health.ts";
import { cursorOf, offsetOf } from "./logic.ts";
import { officialSearch, resources } from "./official.ts";
import { recommend, type RecommendDeps } from "./recommend.ts";
import { DiscoverBody, DiscoverQuery, DiscoverView, HealthQuery, HealthView, IdParams, OfficialSearchQuery, OfficialSearchView, RecommendBody, ResourcesQuery, ResourcesView } from "./schemas.ts";
import { filterOf, searchServices, type Found, type Question } from "./search.ts";
import { agentView, healthView } from "./views.ts";

const tags = ["discovery"];
const refused = { 400: problemResponse("Malformed: `field` says where") };
const DEFAULT_LIMIT = 20;
const HISTORY = 100;

type DiscoveryDeps = Deps & RecommendDeps;

export function discoveryRoutes(app: FastifyInstance, deps: DiscoveryDeps): void {
  app.get<{ Querystring: ResourcesQuery }>(
    "/discovery/resources",
    { schema: { tags, summary: "x402's bazaar: what is listed, best first", querystring: ResourcesQuery, response: { 200: ResourcesView, ...refused } } },
    (request) => resources(deps, request.query, given(request)) as never,
  );
  app.get<{ Querystring: OfficialSearchQuery }>(
    "/discovery/search",
    { schema: { tags, summary: "x402's bazaar: search", querystring: OfficialSearchQuery, response: { 200: OfficialSearchView, ...refused } } },
    (request) => officialSearch(deps, request.query, given(request)) as never,
  );
  app.get<{ Querystring: DiscoverQuery }>(
    "/api/a2a/discover",
    { schema: { tags, summary: "Services by capability or words", querystring: DiscoverQuery, response: { 200: DiscoverView, ...refused } } },
    async ({ query: { service, ...rest } }) => discover(deps, { ...rest, ...meaning(service) }),
  );
  app.post<{ Body: DiscoverBody }>(
    "/api/v1/a2a/discover",
    { schema: { tags, summary: "Services by filters; each says why it stands where it stands", body: DiscoverBody, response: { 200: DiscoverView, ...refused } } },
    async ({ body }) => discover(deps, body),
  );
  app.post<{ Body: RecommendBody }>(
    "/api/v1/a2a/recommend",
    { schema: { tags, summary: "Services for a task in words; `method` says how they were found", body: RecommendBody, response: { 200: DiscoverView, ...refused } } },
    async ({ body: { task, limit = DEFAULT_LIMIT, cursor, ...question } }) => {
      const { found, method, why } = await recommend(deps, task, question, { limit, offset: offsetOf(cursor) });
      return discoverView(deps, found, method, why);
    },
  );
  app.get<{ Params: Static<typeof IdParams>; Querystring: Static<typeof HealthQuery> }>(
    "/api/v1/agents/:id/health",
    { schema: { tags, summary: "What probes of a service saw, the last week", params: IdParams, querystring: HealthQuery, response: { 200: HealthView, ...refused, 404: problemResponse("Not known to search") } } },
    async (request) => {
      const { serviceId, health, history } = await healthOf(deps, request.params.id, request.query.limit ?? HISTORY);
      return healthView(serviceId, health, history);
    },
  );
}

async function discover(deps: DiscoveryDeps, { limit = DEFAULT_LIMIT, cursor, ...question }: DiscoverBody): Promise<Static<typeof DiscoverView>> {
  return discoverView(deps, await searchServices(deps, filterOf(question as Question), { limit, offset: offsetOf(cursor) }), "lexical");
}

function discoverView({ config }: Deps, { services, next, partial }: Found, method: string, why?: string): Static<typeof DiscoverView> {
  return { agents: services.map((service) => agentView(service, config, why)), method, next: next === undefined ? null : cursorOf(next), partialResults: partial };
}

/** `service` is a tag when it reads as one with a dot, or words. */
function meaning(service: string | undefined): Pick<Question, "text" | "capability"> {
  if (service === undefined) return {};
  return isTag(service) && service.includes(".") ? { capability: service } : { text: service };
}

function isTag(text: string): boolean {
  try {
    return capabilityTag(text) !== undefined;
  } catch (error) {
    if (error instanceof RangeError) return false;
    throw error;
  }
}

/** Names in the query as it came: the schema drops none, but says nothing of those it does not know. */
const given = (request: FastifyRequest): string[] => Object.keys(request.query as object).map((name) => name.slice(0, 64));
