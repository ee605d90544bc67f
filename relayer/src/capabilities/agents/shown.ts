// Listings as they are shown.
import { isAddressEqual, type Address, type Hex } from "viem";
import type { Static } from "typebox";
import { actTypedData, keyFrom } from "../../../../sdk/src/bazaar/terms.ts";
import { TallystickError } from "../../../../sdk/src/errors.ts";
import type { GatewayDeps } from "../gateway/rail.ts";
import { callOf } from "./acts.ts";
import { domainOf, wireAct } from "./logic.ts";
import type { ActView, AgentView, ToSign } from "./schemas.ts";
import type { Acted } from "./service.ts";
import { categoriesOf, findMetadata, listings, schemesOf, type Listing, type ListingFilter } from "./store.ts";
import { findTerms } from "./terms-store.ts";

type ShowDeps = Pick<GatewayDeps, "config" | "db" | "catalog">;

const PAGE = 50;

export async function agentOf(deps: ShowDeps, listing: Listing): Promise<Static<typeof AgentView>> {
  const body = await findMetadata(deps.db, listing.contentHash);
  return view(deps, listing, body === undefined ? null : JSON.parse(body.toString()));
}

/** Without metadata, which is at `uri`. Others see what is listed in public. */
export async function agentsOf(deps: ShowDeps, filter: Omit<ListingFilter, "limit" | "statuses" | "visibility" | "elsewhere"> & { limit?: number | undefined }, caller: Address | undefined): Promise<{ agents: Static<typeof AgentView>[]; next: string | null }> {
  const limit = filter.limit ?? PAGE;
  const isOwn = caller !== undefined && filter.owner !== undefined && isAddressEqual(caller, filter.owner);
  const found = await listings(deps.db, { ...filter, limit, elsewhere: isOwn, ...(isOwn ? {} : { statuses: ["listed"] as const, visibility: "public" as const }) });
  return { agents: await Promise.all(found.map((listing) => view(deps, listing, null))), next: found.length < limit ? null : (found.at(-1)?.serviceId ?? null) };
}

/** @throws TallystickError 404 `metadata_unknown`. */
export async function documentOf({ db }: Pick<GatewayDeps, "db">, contentHash: Hex): Promise<Buffer> {
  const body = await findMetadata(db, contentHash);
  if (body !== undefined) return body;
  throw new TallystickError({ code: "metadata_unknown", status: 404, retry: "never", field: "hash", detail: `No document here hashes to ${contentHash}.` });
}

export async function actOf(deps: ShowDeps, { listing, next, sent }: Acted): Promise<Static<typeof ActView>> {
  return { agent: await agentOf(deps, listing), sign: next === undefined ? null : await toSign(deps, listing, next), transaction: sent ?? null };
}

async function toSign({ config, db }: ShowDeps, listing: Listing, act: NonNullable<Acted["next"]>): Promise<Static<typeof ToSign>> {
  const { domain, types, primaryType } = actTypedData(domainOf({ chainId: config.chainId, registry: config.bazaar.registry }), act);
  const previous = act.kind === "update" ? await findTerms(db, listing.serviceId, listing.termsHash) : undefined;
  return { primaryType, domain, types: types as unknown as Record<string, unknown>, message: wireAct(act), transaction: { to: config.bazaar.registry, data: callOf(keyFrom(listing), act, previous, undefined) } };
}

async function view({ config, catalog }: ShowDeps, listing: Listing, metadata: unknown): Promise<Static<typeof AgentView>> {
  const { serviceId, service, agentKey, availableAt } = listing;
  const sold = service === undefined ? undefined : await catalog.find(service);
  return {
    id: serviceId, name: service ?? null, url: service === undefined ? null : (sold?.url ?? `${config.publicUrl}/s/${service}`), owner: listing.owner, agentId: agentKey === 0n ? null : String(agentKey - 1n), salt: listing.salt,
    status: listing.status, version: listing.version, revision: listing.revision, current: listing.isCurrent, payTo: listing.payTo, token: listing.token, network: config.network, registry: config.bazaar.registry,
    priceAtomic: String(listing.price), capability: listing.capability, categories: categoriesOf(listing), schemes: schemesOf(listing), visibility: listing.visibility, contentHash: listing.contentHash, uri: listing.uri,
    availability: listing.availability, availableAt: availableAt?.toISOString() ?? null, metadata, chainBlock: String(listing.chainBlock), registeredAt: listing.registeredAt.toISOString(), updatedAt: listing.updatedAt.toISOString(),
  };
}
