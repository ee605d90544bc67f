// Discovery as x402's bazaar client asks for it: what cannot be applied is said, not ignored.
import { isAddress } from "viem";
import { SERVICE_SCHEMES } from "../../../../sdk/src/bazaar.ts";
import type { DiscoveryResource } from "@x402/extensions/bazaar";
import { BAZAAR, itemOf } from "./item.ts";
import { cursorOf, offsetOf } from "./logic.ts";
import type { OfficialSearchQuery, ResourcesQuery } from "./schemas.ts";
import { countServices, filterOf, isPartial, searchServices, type SearchDeps } from "./search.ts";
import type { Filter } from "./search-store.ts";

const DEFAULT_LIMIT = 20;
const MOST = 100;
const APPLIED = ["type", "payTo", "scheme", "network", "extensions", "limit"];

type Asked = Pick<ResourcesQuery, "type" | "payTo" | "scheme" | "network" | "extensions">;

/** @param given names of the query as it came. */
export async function resources(deps: SearchDeps, query: ResourcesQuery, given: readonly string[]) {
  const { limit, offset } = { limit: Math.min(query.limit ?? DEFAULT_LIMIT, MOST), offset: query.offset ?? 0 };
  const filter = officialFilter(deps, query, undefined);
  const [page, total] = filter === undefined ? [NOTHING, 0] : await Promise.all([searchServices(deps, filter, { limit, offset }), countServices(deps, filter)]);
  return { x402Version: 2, items: items(deps, page.services), pagination: { limit, offset, total }, ...(await honesty(deps, given, [...APPLIED, "offset"])) };
}

export async function officialSearch(deps: SearchDeps, query: OfficialSearchQuery, given: readonly string[]) {
  const { limit, offset } = { limit: Math.min(query.limit ?? DEFAULT_LIMIT, MOST), offset: offsetOf(query.cursor) };
  const filter = officialFilter(deps, query, query.query);
  const { services, next } = filter === undefined ? NOTHING : await searchServices(deps, filter, { limit, offset });
  return { x402Version: 2, resources: items(deps, services), pagination: { limit, cursor: next === undefined ? null : cursorOf(next) }, ...(await honesty(deps, given, [...APPLIED, "query", "cursor"])) };
}

const NOTHING = { services: [], next: undefined };

/** Undefined: a filter that nothing here can answer to, such as another network. */
function officialFilter({ config }: SearchDeps, { type, payTo, scheme, network, extensions }: Asked, text: string | undefined): Filter | undefined {
  if ((type ?? "http") !== "http" || (network ?? config.network) !== config.network) return undefined;
  if (extensions !== undefined && extensions !== BAZAAR && extensions !== "tallystick") return undefined;
  if (scheme !== undefined && !(SERVICE_SCHEMES as readonly string[]).includes(scheme)) return undefined;
  if (payTo !== undefined && !isAddress(payTo, { strict: false })) return undefined;
  return { ...filterOf({ text, payTo, scheme }), ...(extensions === BAZAAR ? { described: true } : {}) };
}

const items = ({ config }: SearchDeps, services: Parameters<typeof itemOf>[0][]): DiscoveryResource[] => services.map((service) => itemOf(service, config));

async function honesty(deps: SearchDeps, given: readonly string[], applied: readonly string[]) {
  const unapplied = given.filter((name) => !applied.includes(name)).slice(0, 20);
  return { ...(unapplied.length === 0 ? {} : { unappliedFilters: unapplied }), ...((await isPartial(deps)) ? { partialResults: true } : {}) };
}
