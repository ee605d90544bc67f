// Services in the bazaar, as their owners list, change and end them. What is sold is the gateway's (services capability); what the registry has
// is asked before anything is signed for it; what is neither is kept here: the document, and how available its owner says it is.
import { isAddressEqual, getAddress, type Address, type Hex } from "viem";
import { termsHashOf, type ServiceStatus, type ServiceVisibility } from "../../../../sdk/src/bazaar.ts";
import { parseMetadata } from "../../../../sdk/src/bazaar/metadata.ts";
import { keyFrom, type Act } from "../../../../sdk/src/bazaar/terms.ts";
import { TallystickError } from "../../../../sdk/src/errors.ts";
import { violatedConstraint } from "../../db/pool.ts";
import { EVENT } from "../../telemetry/log.ts";
import type { GatewayDeps } from "../gateway/rail.ts";
import * as services from "../services/service.ts";
import { readNow, send, syncNow, type Consent, type Sent } from "./acts.ts";
import { registryStands, type ServiceView } from "./chain-view.ts";
import { checkRevision, checkTransition, proposalOf, refused, type Here, type Place, type Proposed } from "./logic.ts";
import type { WireOffer } from "./schemas.ts";
import { findListing, type Listing } from "./store.ts";
import * as store from "./terms-store.ts";

/** Documents that one address brought, and terms proposed for one service: they are kept for good, so not without end. */
const MOST_DOCUMENTS = 500;
const MOST_TERMS = 500;
const SIGN_WITHIN_S = 3_600n;

/** A listing, what its owner has to sign next, and what was sent. */
export type Acted = { listing: Listing; next: Act | undefined; sent: Sent | undefined };
export type Signed = { signature?: string | undefined; deadline?: string | undefined; revision?: number | undefined };

const hereOf = ({ config }: Pick<GatewayDeps, "config">): Here => ({ chainId: config.chainId, registry: config.bazaar.registry, token: config.token.address, publicUrl: config.publicUrl });

/** @throws TallystickError 404 `listing_unknown`. */
export async function listingOf({ db }: Pick<GatewayDeps, "db">, id: string): Promise<Listing> {
  const found = await findListing(db, id);
  if (found !== undefined) return found;
  throw new TallystickError({ code: "listing_unknown", status: 404, retry: "never", field: "id", detail: `No service is listed as ${id}.` });
}

/** What an identity owns is whoever's that has the identity now. @throws TallystickError 404, 403 `listing_not_yours`; 503 where the chain cannot say. */
async function ownListing(deps: GatewayDeps, caller: Address, id: string): Promise<Listing> {
  const found = await listingOf(deps, id);
  if (found.agentKey > 0n) await syncNow(deps, found.serviceId, keyFrom(found));
  const listing = found.agentKey > 0n ? await listingOf(deps, id) : found;
  if (isAddressEqual(listing.owner, caller)) return listing;
  throw new TallystickError({ code: "listing_not_yours", status: 403, retry: "never", field: "id", detail: `${id} is not ${caller}'s.` });
}

export type Creation = WireOffer & { name: string; agentId?: string; salt?: string };

/**
 * Stores the metadata, makes the gateway's service, and says what its owner has to sign. The same again changes nothing.
 * @throws TallystickError 400 with its field; 403 `not_owner`; 409 `listing_exists`, `listing_name_taken`, `idempotency_conflict`, as services do; 429 `metadata_full`.
 */
export async function create(deps: GatewayDeps, caller: Address, { name, agentId, salt, ...offer }: Creation, idempotencyKey: string | undefined): Promise<Acted> {
  const proposed = proposalOf(hereOf(deps), caller, { ...askedOf(caller, offer), name, agentId: agentId === undefined ? undefined : BigInt(agentId), salt: salt?.toLowerCase() as Hex | undefined });
  await checkFree(deps, caller, proposed, idempotencyKey);
  if (agentId !== undefined) await checkIdentity(deps, caller, proposed);
  await keepDocument(deps, caller, proposed);
  await sell(deps, caller, proposed);
  await propose(deps, caller, proposed, idempotencyKey);
  deps.log.info({ event: EVENT.listingProposed, serviceId: proposed.serviceId, service: name, owner: caller, contentHash: proposed.contentHash }, "listing proposed");
  if (await registryStands(deps)) await syncNow(deps, proposed.serviceId, proposed.key);
  const listing = await listingOf(deps, proposed.serviceId);
  return { listing, next: changeOfOther(deps, listing, proposed) ?? (await nextOf(deps, listing)), sent: undefined };
}

/** One that was delisted, or listed elsewhere, comes with other terms than the chain has: those first, then its status. */
function changeOfOther(deps: GatewayDeps, { status, serviceId, revision, termsHash }: Listing, { terms }: Proposed): Act | undefined {
  if (status === "none" || termsHash === termsHashOf(terms)) return undefined;
  return { kind: "update", serviceId, revision, terms, deadline: nowS(deps) + SIGN_WITHIN_S };
}

function askedOf(caller: Address, { metadata, payTo, visibility, ...place }: WireOffer): { metadata: unknown; place: Place; payTo: Address; visibility: ServiceVisibility } {
  return { metadata, place, payTo: payTo === undefined ? caller : getAddress(payTo.toLowerCase()), visibility: (visibility ?? "public") as ServiceVisibility };
}

async function checkFree(deps: GatewayDeps, caller: Address, { serviceId, name, terms }: Proposed, idempotencyKey: string | undefined): Promise<void> {
  const conflict = (code: string, field: string, detail: string) => new TallystickError({ code, status: 409, retry: "never", field, detail });
  const keyed = idempotencyKey === undefined ? undefined : await store.findByKey(deps.db, caller, idempotencyKey);
  if (keyed !== undefined && keyed.serviceId !== serviceId) throw conflict("idempotency_conflict", "Idempotency-Key", "This Idempotency-Key was used for another service.");
  const existing = await findListing(deps.db, serviceId);
  if (existing?.service !== undefined && existing.status !== "none" && existing.status !== "delisted" && existing.termsHash !== termsHashOf(terms)) {
    throw conflict("listing_exists", "name", `${existing.service ?? serviceId} is listed with other terms; PUT /api/v1/agents/${serviceId} changes them.`);
  }
  const named = await findListing(deps.db, name);
  if (named !== undefined && named.serviceId !== serviceId) throw conflict("listing_name_taken", "name", `The name ${name} belongs to service ${named.serviceId}.`);
}

async function checkIdentity(deps: GatewayDeps, caller: Address, { serviceId, key }: Proposed): Promise<void> {
  const { owner } = await readNow(deps, serviceId, key);
  if (owner !== undefined && isAddressEqual(owner, caller)) return;
  throw new TallystickError({ code: "not_owner", status: 403, retry: "never", field: "agentId", detail: owner === undefined ? `The identity registry knows no agent ${key.agent - 1n}.` : `Agent ${key.agent - 1n} belongs to ${owner}.` });
}

async function keepDocument({ db }: GatewayDeps, caller: Address, { contentHash, bytes }: Proposed): Promise<void> {
  if (await store.keepMetadata(db, contentHash, bytes, caller, MOST_DOCUMENTS)) return;
  throw new TallystickError({ code: "metadata_full", status: 429, retry: "never", field: "metadata", detail: `${caller} has brought ${MOST_DOCUMENTS} documents, as many as are kept for one address.` });
}

/** The gateway sells it; a service of that name that is the caller's already is changed. */
async function sell(deps: GatewayDeps, caller: Address, { name, wire }: Proposed): Promise<void> {
  try {
    await services.list(deps, caller, name, wire);
  } catch (error) {
    if (!(error instanceof TallystickError) || error.code !== "service_exists") throw error;
    await services.replace(deps, caller, name, wire);
  }
}

async function propose(deps: GatewayDeps, owner: Address, proposed: Proposed, idempotencyKey: string | undefined): Promise<void> {
  if (!(await place(deps, owner, proposed, idempotencyKey))) {
    // Somebody was faster since it was checked: perhaps this very request, sent twice, and then it is the same again.
    await checkFree(deps, owner, proposed, idempotencyKey);
    if (!(await place(deps, owner, proposed, idempotencyKey))) {
      throw new TallystickError({ code: "listing_name_taken", status: 409, retry: "never", field: "name", detail: `The name or the Idempotency-Key was used for another service.` });
    }
  }
  await keepTerms(deps.db, proposed);
}

/** Registers it, or its other terms. @returns false when another has its name or its key. */
async function place({ db }: GatewayDeps, owner: Address, { serviceId, name: service, key, terms }: Proposed, idempotencyKey: string | undefined): Promise<boolean> {
  try {
    if (!(await store.proposeListing(db, { serviceId, service, owner, key, terms, idempotencyKey }))) await store.nameListing(db, serviceId, service, owner);
    return true;
  } catch (error) {
    if (violatedConstraint(error) === undefined) throw error;
    return false;
  }
}

async function keepTerms(db: GatewayDeps["db"], { serviceId, terms, metadata }: Proposed): Promise<void> {
  if (await store.keepTerms(db, serviceId, terms, { proposed: true, periodS: metadata.pricing.periodS }, MOST_TERMS)) return;
  throw new TallystickError({ code: "terms_full", status: 429, retry: "never", detail: `${MOST_TERMS} terms were proposed for this service, as many as are kept.` });
}

/** What its owner has to sign so that it is listed with the terms it has; undefined: nothing. */
async function nextOf(deps: GatewayDeps, { serviceId, status, revision, termsHash }: Listing): Promise<Act | undefined> {
  const deadline = nowS(deps) + SIGN_WITHIN_S;
  if (status === "draft" || status === "suspended" || status === "delisted") return { kind: "status", serviceId, revision, status: "listed", deadline };
  if (status !== "none" || !(await registryStands(deps))) return undefined;
  const terms = await store.findTerms(deps.db, serviceId, termsHash);
  return terms === undefined ? undefined : { kind: "list", serviceId, terms, publish: true, deadline };
}

const nowS = ({ now }: GatewayDeps): bigint => BigInt(Math.floor(now().getTime() / 1_000));

/** Takes the owner's signature to the registry; without one, looks whether the owner has been there itself. @throws as send. */
export async function publish(deps: GatewayDeps, caller: Address, id: string, { publish: live = true, ...signed }: Signed & { publish?: boolean }): Promise<Acted> {
  const listing = await ownListing(deps, caller, id);
  const key = keyFrom(listing);
  const view = await syncNow(deps, listing.serviceId, key);
  const consent = consentOf(signed);
  if (consent === undefined) return acted(deps, listing.serviceId, undefined);
  if (view.status !== "none" && view.status !== "listed" && view.status !== "pending_review") return move(deps, listing, view, "listed", { ...signed, revision: signed.revision ?? view.revision });
  const terms = await store.findTerms(deps.db, listing.serviceId, listing.termsHash);
  if (terms === undefined) throw refused("metadata", "The terms are not known; POST /api/v1/agents again.");
  const sent = await send(deps, { act: { kind: "list", serviceId: listing.serviceId, terms, publish: live, deadline: consent.deadline }, key, owner: listing.owner, previous: undefined, consent });
  return synced(deps, listing, sent);
}

/**
 * New terms. Without a signature: what has to be signed; with one, it is sent, and the gateway sells at the new terms once the registry has them.
 * What concerns the gateway alone (origin, times) needs none.
 */
export async function update(deps: GatewayDeps, caller: Address, id: string, { signature, deadline, revision, ...offer }: WireOffer & Signed): Promise<Acted> {
  const listing = await ownListing(deps, caller, id);
  const proposed = await changeOf(deps, caller, listing, offer);
  await keepDocument(deps, caller, proposed);
  if (listing.status === "none") return create(deps, caller, { ...offer, ...placeOf(proposed), name: proposed.name, salt: listing.salt, ...(listing.agentKey === 0n ? {} : { agentId: String(listing.agentKey - 1n) }) }, undefined);
  await keepTerms(deps.db, proposed);
  const view = await syncNow(deps, listing.serviceId, proposed.key);
  const consent = consentOf({ signature, deadline });
  const isCurrent = view.termsTag !== undefined && termsHashOf(proposed.terms).startsWith(view.termsTag);
  if (isCurrent) {
    await services.replace(deps, caller, proposed.name, proposed.wire);
    return acted(deps, listing.serviceId, undefined);
  }
  const act = { kind: "update", serviceId: listing.serviceId, revision: revision ?? view.revision, terms: proposed.terms } as const;
  if (consent === undefined) return { listing: await listingOf(deps, listing.serviceId), next: { ...act, revision: view.revision, deadline: nowS(deps) + SIGN_WITHIN_S }, sent: undefined };
  checkRevision(revision ?? view.revision, view.revision);
  const previous = view.termsTag === undefined ? undefined : await store.findTerms(deps.db, listing.serviceId, view.termsTag);
  const sent = await send(deps, { act: { ...act, deadline: consent.deadline }, key: proposed.key, owner: listing.owner, previous, consent });
  const after = await synced(deps, listing, sent);
  if (sent.status === "confirmed") await services.replace(deps, caller, proposed.name, proposed.wire);
  return after;
}

const placeOf = ({ wire: { origin, url } }: Proposed): Place => (origin === undefined ? { url } : { origin });

/** Where it is sold stays as it is unless something else is said. */
async function changeOf(deps: GatewayDeps, caller: Address, { service, serviceId, salt, agentKey, visibility, payTo }: Listing, offer: WireOffer): Promise<Proposed> {
  const sold = service === undefined ? undefined : await deps.catalog.find(service);
  if (service === undefined || sold === undefined) throw new TallystickError({ code: "service_unknown", status: 404, retry: "never", field: "id", detail: `${service ?? serviceId} is off sale; POST /api/v1/agents sells it again.` });
  const place = offer.origin === undefined && offer.url === undefined ? (sold.origin === undefined ? { url: sold.url } : { origin: sold.origin }) : {};
  const { withdrawDelayS, upstreamTimeoutMs } = sold;
  // A deposit for so many calls is none for so many months.
  const sameUnit = (sold.subscription !== undefined) === isMonthly(offer.metadata);
  const asked = askedOf(caller, { ...(sameUnit ? { minDepositCalls: sold.minDepositCalls } : {}), withdrawDelayS, upstreamTimeoutMs, ...offer, ...place, payTo: offer.payTo ?? payTo, visibility: offer.visibility ?? visibility });
  return proposalOf(hereOf(deps), caller, { ...asked, name: service, salt, agentId: agentKey === 0n ? undefined : agentKey - 1n });
}

const isMonthly = (metadata: unknown): boolean => parseMetadata(metadata).pricing.unit === "month";

/** Pauses, resumes or ends a service. Without a signature: what has to be signed. One that is not on chain needs none. */
export async function setStatus(deps: GatewayDeps, caller: Address, id: string, status: ServiceStatus, signed: Signed): Promise<Acted> {
  const listing = await ownListing(deps, caller, id);
  if (listing.status === "none" && !(await registryStands(deps))) return endHere(deps, caller, listing, status);
  const view = await syncNow(deps, listing.serviceId, keyFrom(listing));
  if (view.status === "none") return endHere(deps, caller, listing, status);
  const after = await move(deps, listing, view, status, signed);
  if (status === "delisted" && after.listing.status === "delisted") await offSale(deps, caller, listing);
  return after;
}

async function move(deps: GatewayDeps, listing: Listing, view: ServiceView, status: ServiceStatus, signed: Signed): Promise<Acted> {
  const consent = consentOf(signed);
  const act = { kind: "status", serviceId: listing.serviceId, revision: signed.revision ?? view.revision, status } as const;
  if (view.status === status && (consent === undefined || act.revision === view.revision - 1)) return acted(deps, listing.serviceId, undefined);
  checkRevision(act.revision, view.revision);
  checkTransition(view.status, status);
  if (consent === undefined) return { listing: await listingOf(deps, listing.serviceId), next: { ...act, deadline: nowS(deps) + SIGN_WITHIN_S }, sent: undefined };
  return synced(deps, listing, await send(deps, { act: { ...act, deadline: consent.deadline }, key: keyFrom(listing), owner: listing.owner, previous: undefined, consent }));
}

async function endHere(deps: GatewayDeps, caller: Address, listing: Listing, status: ServiceStatus): Promise<Acted> {
  if (status !== "delisted") throw new TallystickError({ code: "transition_refused", status: 409, retry: "never", field: "status", detail: "The service is not on chain yet; POST .../publish lists it." });
  await offSale(deps, caller, listing);
  return acted(deps, listing.serviceId, undefined, true);
}

async function offSale(deps: GatewayDeps, caller: Address, { service }: Listing): Promise<void> {
  if (service !== undefined) await services.remove(deps, caller, service);
}

/** How available its owner says it is; what is offline is not sold. */
export async function setAvailability(deps: GatewayDeps, caller: Address, id: string, availability: string, availableAt: Date | undefined): Promise<Listing> {
  const { serviceId, service } = await ownListing(deps, caller, id);
  await store.saveAvailability(deps.db, serviceId, availability, availableAt);
  if (service !== undefined) deps.catalog.changed(service);
  return listingOf(deps, serviceId);
}

/** @throws TallystickError 400: one without the other. */
function consentOf({ signature, deadline }: Signed): Consent | undefined {
  if ((signature === undefined) !== (deadline === undefined)) throw refused(signature === undefined ? "signature" : "deadline", "signature and deadline go together.");
  return signature === undefined ? undefined : { signature: signature as Hex, deadline: BigInt(deadline!) };
}

async function synced(deps: GatewayDeps, { serviceId, service }: Listing, sent: Sent): Promise<Acted> {
  if (sent.status === "confirmed") await syncNow(deps, serviceId, keyFrom(await listingOf(deps, serviceId)));
  if (service !== undefined) deps.catalog.changed(service);
  return acted(deps, serviceId, sent);
}

async function acted(deps: GatewayDeps, serviceId: Hex, sent: Sent | undefined, isOver = false): Promise<Acted> {
  const listing = await listingOf(deps, serviceId);
  return { listing, next: isOver || sent !== undefined || listing.status !== "none" ? undefined : await nextOf(deps, listing), sent };
}
