// The indexer's GraphQL, as search reads it. Where it is was configured by the operator.
import { getAddress, type Address, type Hex } from "viem";
import { TallystickError } from "../../../../sdk/src/errors.ts";
import type { ServiceStatus, ServiceVisibility } from "../../../../sdk/src/bazaar.ts";
import type { ChainService, Reputation } from "./types.ts";

const TIMEOUT_MS = 10_000;
const PAGE = 500;

const SERVICE_FIELDS = "id owner agent payTo token price capabilityTag categories schemes visibility status version contentHash uri bond unbonding ratingCount updatedAt";

type Row = Record<string, string | number | null>;
type Page = { items: Row[]; pageInfo: { hasNextPage: boolean; endCursor: string | null } };

export type Scored = { serviceId: Hex; updatedAt: bigint; reputation: Reputation };

export type IndexerReader = {
  /** Unix seconds of the newest block that is indexed; undefined: none yet. */
  headTime(): Promise<bigint | undefined>;
  /** Pages of services that changed at or after that second, oldest first. */
  servicesSince(since: bigint): AsyncGenerator<ChainService[]>;
  servicesById(ids: readonly Hex[]): Promise<ChainService[]>;
  /** Undefined: this indexer scores nobody. */
  scoresSince(since: bigint): AsyncGenerator<Scored[]> | undefined;
};

/** @throws TallystickError `indexer_unavailable` from each call that the indexer does not answer. */
export async function openIndexer(url: string): Promise<IndexerReader> {
  const endpoint = new URL("/graphql", url).href;
  const ask = <T>(query: string, variables: Record<string, unknown> = {}) => askGraphql<T>(endpoint, query, variables);
  const scores = await reputationFields(ask);
  async function* pages(query: string, since: bigint): AsyncGenerator<Row[]> {
    for (let after: string | null = null; ; ) {
      const { page }: { page: Page } = await ask(query, { since: String(since), after });
      if (page.items.length > 0) yield page.items;
      if (!page.pageInfo.hasNextPage) return;
      after = page.pageInfo.endCursor;
    }
  }
  return {
    async headTime() {
      const { _meta } = await ask<{ _meta: { status: Record<string, { block: { timestamp: number } | null }> } }>("{ _meta { status } }");
      const timestamp = Object.values(_meta.status)[0]?.block?.timestamp;
      return timestamp === undefined ? undefined : BigInt(timestamp);
    },
    async *servicesSince(since) {
      const query = `query ($since: BigInt!, $after: String) { page: services(where: { updatedAt_gte: $since }, orderBy: "updatedAt", limit: ${PAGE}, after: $after) { items { ${SERVICE_FIELDS} } pageInfo { hasNextPage endCursor } } }`;
      for await (const items of pages(query, since)) yield items.map(serviceOf);
    },
    async servicesById(ids) {
      const query = `query ($ids: [String!]) { page: services(where: { id_in: $ids }, limit: ${PAGE}) { items { ${SERVICE_FIELDS} } } }`;
      const found: ChainService[] = [];
      for (let at = 0; at < ids.length; at += PAGE) found.push(...(await ask<{ page: Page }>(query, { ids: ids.slice(at, at + PAGE) })).page.items.map(serviceOf));
      return found;
    },
    scoresSince: (since) => (scores === undefined ? undefined : scorePages(pages, scores, since)),
  };
}

async function* scorePages(pages: (query: string, since: bigint) => AsyncGenerator<Row[]>, fields: string[], since: bigint): AsyncGenerator<Scored[]> {
  const query = `query ($since: BigInt!, $after: String) { page: reputations(where: { updatedAt_gte: $since }, orderBy: "updatedAt", limit: ${PAGE}, after: $after) { items { serviceId updatedAt ${fields.join(" ")} } pageInfo { hasNextPage endCursor } } }`;
  for await (const items of pages(query, since)) yield items.flatMap(scoredOf);
}

const SCORES = ["overall", "reliability", "quality", "speed", "honesty", "collaboration", "trust"];

/** The scorer's table is there or not, by the indexer's own schema. */
async function reputationFields(ask: <T>(query: string) => Promise<T>): Promise<string[] | undefined> {
  const { __type } = await ask<{ __type: { fields: { name: string }[] } | null }>('{ __type(name: "reputation") { fields { name } } }');
  const names = __type?.fields.map(({ name }) => name) ?? [];
  return names.includes("overall") && names.includes("serviceId") && names.includes("updatedAt") ? SCORES.filter((name) => names.includes(name)) : undefined;
}

function scoredOf({ serviceId, updatedAt, ...scores }: Row): Scored[] {
  const overall = Number(scores["overall"]);
  if (typeof serviceId !== "string" || !(overall >= 0 && overall <= 100)) return [];
  const { trust, ...numbers } = scores;
  return [{ serviceId: serviceId as Hex, updatedAt: BigInt(updatedAt ?? 0), reputation: { ...Object.fromEntries(Object.entries(numbers).map(([name, score]) => [name, Number(score)])), overall, ...(typeof trust === "string" ? { trust } : {}) } }];
}

function serviceOf(row: Row): ChainService {
  const text = (name: string) => String(row[name] ?? "");
  return {
    serviceId: text("id") as Hex,
    owner: getAddress(text("owner")) as Address,
    agentKey: BigInt(text("agent")),
    payTo: getAddress(text("payTo")),
    token: getAddress(text("token")),
    price: BigInt(text("price")),
    capability: text("capabilityTag"),
    categories: BigInt(text("categories")),
    schemes: Number(row["schemes"]),
    visibility: text("visibility") as ServiceVisibility,
    status: text("status") as ServiceStatus,
    version: Number(row["version"]),
    contentHash: text("contentHash") as Hex,
    uri: text("uri"),
    bond: BigInt(text("bond")) - BigInt(text("unbonding")),
    ratingCount: Number(row["ratingCount"]),
    updatedAt: BigInt(text("updatedAt")),
  };
}

async function askGraphql<T>(endpoint: string, query: string, variables: Record<string, unknown>): Promise<T> {
  const unavailable = (detail: string, cause?: unknown) => new TallystickError({ code: "indexer_unavailable", status: 503, retry: "safe", detail, cause });
  const response = await fetch(endpoint, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ query, variables }), signal: AbortSignal.timeout(TIMEOUT_MS) }).catch((cause: unknown) => {
    throw unavailable("The indexer cannot be reached.", cause);
  });
  const { data, errors } = (await response.json().catch(() => ({}))) as { data?: T; errors?: { message: string }[] };
  if (data === undefined || data === null || errors !== undefined) throw unavailable(`The indexer answers ${response.status}: ${errors?.[0]?.message.slice(0, 200) ?? "no data"}`);
  return data;
}
