// What an owner asks for, as the registry and the gateway would have it. Pure.
import { keccak256, type Address, type Hex } from "viem";
import { bazaarRegistryDomain, serviceIdOf, SERVICE_STATUSES, type BazaarRegistryDomain, type ServiceKey, type ServiceStatus, type ServiceTerms, type ServiceVisibility } from "../../../../sdk/src/bazaar.ts";
import { metadataBytes, parseMetadata, priceAtomicOf, SUBSCRIPTION_PERIOD_S, type Metadata } from "../../../../sdk/src/bazaar/metadata.ts";
import { metadataUri, saltOfName, serviceKeyOf, termsOfMetadata, type Act } from "../../../../sdk/src/bazaar/terms.ts";
import { BATCH_SETTLEMENT } from "../../../../sdk/src/constants.ts";
import { TallystickError } from "../../../../sdk/src/errors.ts";
import type { WireTerms } from "../services/schemas.ts";

/** A name under /s/, or the registry's id. */
export const ID = /^(?:0x[0-9a-fA-F]{64}|[a-z0-9][a-z0-9-]{0,62})$/;

export type Place = { origin?: string | undefined; url?: string | undefined; minDepositCalls?: number; withdrawDelayS?: number; upstreamTimeoutMs?: number };
export type Asked = { name: string; metadata: unknown; place: Place; payTo: Address; visibility: ServiceVisibility; agentId: bigint | undefined; salt: Hex | undefined };
export type Here = { chainId: number; registry: Address; token: Address; publicUrl: string };

export type Proposed = { serviceId: Hex; key: ServiceKey; name: string; metadata: Metadata; bytes: Uint8Array; contentHash: Hex; terms: ServiceTerms; wire: WireTerms };

export const domainOf = ({ chainId, registry }: Pick<Here, "chainId" | "registry">): BazaarRegistryDomain => bazaarRegistryDomain(chainId, registry);

/** @throws TallystickError 400 that names the field. */
export function proposalOf(here: Here, owner: Address, { name, metadata: given, place, payTo, visibility, agentId, salt }: Asked): Proposed {
  const metadata = parseMetadata(given);
  if (metadata.pricing.token.toLowerCase() !== here.token.toLowerCase()) throw refused("metadata.pricing.token", `This relayer sells for ${here.token}.`);
  const bytes = metadataBytes(metadata);
  const contentHash = keccak256(bytes);
  const key = serviceKeyOf(owner, salt ?? saltOfName(name), agentId);
  const terms = termsOfMetadata(metadata, { payTo, visibility, uri: metadataUri(here.publicUrl, contentHash) });
  return { serviceId: serviceIdOf(domainOf(here), key), key, name, metadata, bytes, contentHash, terms, wire: wireOf(metadata, payTo, place) };
}

/** The same as the gateway sells it. */
function wireOf({ pricing, description, name, schemes }: Metadata, receiver: Address, { origin, url, ...rest }: Place): WireTerms {
  const priceAtomic = String(priceAtomicOf(pricing));
  if (pricing.unit === "unit" && url !== undefined) throw refused("metadata.pricing.unit", "Units of a stream are sold through the gateway only; a server of your own sells by the call.");
  const isMonthly = pricing.unit === "month" || pricing.model === "subscription";
  if (isMonthly) checkMonthly(pricing, schemes, url);
  return {
    ...(origin === undefined ? {} : { origin }), ...(url === undefined ? {} : { url }), ...rest,
    priceAtomic, receiver, description: (description === "" ? name : description).slice(0, 500), ...(pricing.unit === "unit" ? { streamUnit: "unit", streamPriceAtomic: priceAtomic } : {}), ...(isMonthly ? { per: "month" as const } : {}),
  };
}

/** What is signed says all of it: a month of so many seconds, paid by channel. */
function checkMonthly({ model, unit, periodS }: Metadata["pricing"], schemes: Metadata["schemes"], url: string | undefined): void {
  if (unit !== "month") throw refused("metadata.pricing.unit", "A subscription is sold by the month.");
  if (model !== "subscription") throw refused("metadata.pricing.model", "What is sold by the month is a subscription.");
  if (periodS === undefined) throw refused("metadata.pricing.periodS", `The terms say how long a month is: ${SUBSCRIPTION_PERIOD_S} seconds.`);
  if (url !== undefined) throw refused("metadata.pricing.unit", "Months are sold through the gateway only, which counts them; a server of your own sells by the call.");
  if (schemes.length !== 1 || schemes[0] !== BATCH_SETTLEMENT) throw refused("metadata.schemes", `A month is paid by channel: ${BATCH_SETTLEMENT}, and nothing else.`);
}

const MOST_AHEAD_S = 86_400n;

/** @throws TallystickError 400 `deadline_malformed`, 403 `signature_expired`. */
export function checkDeadline(deadline: bigint, nowS: bigint): void {
  if (deadline < nowS) throw new TallystickError({ code: "signature_expired", status: 403, retry: "never", field: "deadline", detail: `The signature counted until ${deadline}; it is ${nowS}. Ask again what to sign.` });
  if (deadline > nowS + MOST_AHEAD_S) throw new TallystickError({ code: "deadline_malformed", status: 400, retry: "never", field: "deadline", detail: `A deadline is at most a day ahead; ${deadline} is ${deadline - nowS} seconds.` });
}

/** @throws TallystickError 409 `revision_stale` that tells the current one. */
export function checkRevision(given: number, current: number): void {
  if (given === current) return;
  throw new TallystickError({ code: "revision_stale", status: 409, retry: "never", field: "revision", detail: `The service stands at revision ${current}; what was signed names ${given}, and each signature works once.`, extra: { revision: current } });
}

const MOVES: Partial<Record<ServiceStatus, readonly ServiceStatus[]>> = {
  listed: ["draft", "suspended", "delisted"], pending_review: ["draft", "suspended", "delisted"], suspended: ["listed"], delisted: ["draft", "pending_review", "listed", "suspended"],
};

/** @throws TallystickError 409 `transition_refused`. */
export function checkTransition(from: ServiceStatus, to: ServiceStatus): void {
  if (MOVES[to]?.includes(from) === true) return;
  throw new TallystickError({ code: "transition_refused", status: 409, retry: "never", field: "status", detail: `A service that is ${from} cannot become ${to} by its owner.` });
}

/** What is signed, as JSON: numbers that may be large are decimal strings, which wallets take. */
export function wireAct(act: Act): Record<string, unknown> {
  const plain = act.kind === "status" ? { ...act, status: SERVICE_STATUSES.indexOf(act.status) } : act;
  const { kind: _kind, ...message } = plain;
  return JSON.parse(JSON.stringify(message, (_name, value: unknown) => (typeof value === "bigint" ? value.toString() : value))) as Record<string, unknown>;
}

export function refused(field: string, detail: string): TallystickError {
  return new TallystickError({ code: "listing_malformed", status: 400, retry: "never", field, detail });
}
