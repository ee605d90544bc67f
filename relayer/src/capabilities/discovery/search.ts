// Finding services: one search behind every form in which it is asked for.
import { getAddress, type Address, type Hex } from "viem";
import { SERVICE_CATEGORIES, SERVICE_SCHEMES } from "../../../../sdk/src/bazaar.ts";
import { TallystickError } from "../../../../sdk/src/errors.ts";
import type { Deps } from "../../deps.ts";
import { atomicOf, MOST_OFFSET, searchText, TEXT_WEIGHT } from "./logic.ts";
import * as store from "./search-store.ts";
import { lastRead } from "./sync-store.ts";
import type { FoundService } from "./types.ts";

export type SearchDeps = Pick<Deps, "config" | "db" | "now">;

/** A question as it is asked: names of schemes and categories, decimals of whole tokens. */
export type Question = {
  text?: string | undefined;
  capability?: string | undefined;
  category?: string | undefined;
  owner?: string | undefined;
  payTo?: string | undefined;
  token?: string | undefined;
  scheme?: string | undefined;
  maxPrice?: string | undefined;
  maxPriceAtomic?: string | undefined;
  maxResponseTime?: number | undefined;
  minRating?: number | undefined;
  uptime?: number | undefined;
};

export type Page = { limit: number; offset: number };
export type Found = { services: FoundService[]; /** Where the next page begins; undefined: this is the last. */ next: number | undefined; partial: boolean };

/** Longer without the indexer, and what is found may not be all. */
const STALE_MS = 300_000;

/** @throws TallystickError 400 that names the field. */
export function filterOf(question: Question): store.Filter {
  const text = question.text === undefined ? undefined : searchText(question.text);
  return {
    text: text === "" ? undefined : text,
    capability: question.capability,
    category: bitOf(SERVICE_CATEGORIES, question.category, "category"),
    owner: addressOf(question.owner),
    payTo: addressOf(question.payTo),
    token: addressOf(question.token),
    scheme: bitOf(SERVICE_SCHEMES, question.scheme, "scheme"),
    maxPrice: question.maxPriceAtomic !== undefined ? BigInt(question.maxPriceAtomic) : question.maxPrice === undefined ? undefined : atomicOf(question.maxPrice, "maxPrice"),
    maxResponseMs: question.maxResponseTime,
    minRating: question.minRating,
    minUptime: question.uptime,
  };
}

export async function searchServices(deps: SearchDeps, filter: store.Filter, { limit, offset }: Page): Promise<Found> {
  // One more than the page: whether there is a next one.
  const [services, partial] = await Promise.all([store.search(deps.db, filter, TEXT_WEIGHT, { limit: limit + 1, offset }), isPartial(deps)]);
  const next = services.length > limit && offset + limit <= MOST_OFFSET ? offset + limit : undefined;
  return { services: services.slice(0, limit), next, partial };
}

export async function countServices(deps: SearchDeps, filter: store.Filter): Promise<number> {
  return store.count(deps.db, filter);
}

/** True where this relayer cannot say that it knows all services of the chain. */
export async function isPartial({ config, db, now }: SearchDeps): Promise<boolean> {
  if (config.indexerUrl === undefined) return true;
  const readAt = await lastRead(db, "services");
  return readAt === undefined || now().getTime() - readAt.getTime() > STALE_MS;
}

/** @throws TallystickError 404 `service_unknown`. */
export async function knownService({ db }: Pick<Deps, "db">, idOrName: string): Promise<{ serviceId: Hex; shown: boolean; hiddenSince: Date | undefined }> {
  const known = await store.findKnown(db, idOrName);
  if (known === undefined) throw new TallystickError({ code: "service_unknown", status: 404, retry: "safe", field: "id", detail: `Search knows no service ${idOrName}.` });
  return known;
}

function bitOf(names: readonly string[], name: string | undefined, field: string): number | undefined {
  if (name === undefined) return undefined;
  const bit = names.indexOf(name);
  if (bit >= 0) return bit;
  throw new TallystickError({ code: "filter_unknown", status: 400, retry: "never", field, detail: `${field} is one of ${names.join(", ")}.` });
}

const addressOf = (address: string | undefined): Address | undefined => (address === undefined ? undefined : getAddress(address.toLowerCase()));
