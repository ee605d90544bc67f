// Services that their owners list themselves. The owner is who signed in when the name was listed first; nobody else may change it.
import { isDeepStrictEqual } from "node:util";
import { getAddress, isAddressEqual, type Address } from "viem";
import { SUBSCRIPTION_PERIOD_S } from "../../../../sdk/src/bazaar/metadata.ts";
import { parsePrice } from "../../../../sdk/src/charge.ts";
import { TallystickError } from "../../../../sdk/src/errors.ts";
import { readOrigin, SERVICE_DEFAULTS } from "../../config.ts";
import type { Deps } from "../../deps.ts";
import { isPublic } from "../../http/outbound.ts";
import { EVENT } from "../../telemetry/log.ts";
import type { GatewayDeps } from "../gateway/rail.ts";
import type { Service } from "../gateway/store.ts";
import { checkOrigin } from "./logic.ts";
import type { WireTerms } from "./schemas.ts";
import * as store from "./store.ts";

type ServiceDeps = Pick<GatewayDeps, "config" | "db" | "log" | "catalog">;

/** Names of one owner, on sale or not: they are taken for good, so not without end. */
const MOST_NAMES = 100;

/**
 * Lists a service. The same again changes nothing.
 * @throws TallystickError 409 `service_name_taken` (another's), `service_exists` (the caller's, with other terms), `services_too_many`; 400 for the terms.
 */
export async function list(deps: ServiceDeps, caller: Address, name: string, terms: WireTerms): Promise<Service> {
  const service = serviceOf(deps, caller, name, terms);
  if (await store.insertService(deps.db, service, MOST_NAMES)) {
    deps.catalog.changed(name);
    deps.log.info({ event: EVENT.serviceListed, service: name, owner: caller }, "service listed");
    return service;
  }
  const holder = await store.findHolder(deps.db, name);
  const conflict = (code: string, detail: string) => new TallystickError({ code, status: 409, retry: "never", field: "name", detail });
  if (holder === undefined || (isOwner(holder.owner, caller) && holder.onSale === undefined)) throw conflict("services_too_many", `${caller} has ${MOST_NAMES} names already.`);
  if (!isOwner(holder.owner, caller)) throw conflict("service_name_taken", `The name ${name} is somebody else's.`);
  if (isDeepStrictEqual(holder.onSale, service)) return service;
  throw conflict("service_exists", `${name} is for sale with other terms; PUT /api/v1/services/${name} changes them.`);
}

/** Changes it; channels that are open keep the terms they were opened under. @throws TallystickError 404, 403 `service_not_yours`; 400 for the terms. */
export async function replace(deps: ServiceDeps, caller: Address, name: string, terms: WireTerms): Promise<Service> {
  const service = serviceOf(deps, caller, name, terms);
  if (!(await store.replaceService(deps.db, service))) throw await notChangeable(deps, caller, name);
  deps.catalog.changed(name);
  deps.log.info({ event: EVENT.serviceListed, service: name, owner: caller }, "service changed");
  return service;
}

/** Takes it off sale; twice is once. What was bought stays charged; sales under way may still be charged. */
export async function remove(deps: ServiceDeps, caller: Address, name: string): Promise<void> {
  if (!(await store.removeService(deps.db, name, caller))) throw await notChangeable(deps, caller, name);
  deps.catalog.changed(name);
  deps.log.info({ event: EVENT.serviceRemoved, service: name, owner: caller }, "service taken off sale");
}

async function notChangeable(deps: ServiceDeps, caller: Address, name: string): Promise<TallystickError> {
  const holder = await store.findHolder(deps.db, name);
  if (holder === undefined || isOwner(holder.owner, caller)) return new TallystickError({ code: "service_unknown", status: 404, retry: "never", field: "name", detail: `No service is called ${name}.` });
  return new TallystickError({ code: "service_not_yours", status: 403, retry: "never", field: "name", detail: `${name} is not ${caller}'s to change.` });
}

const isOwner = (owner: Address | undefined, caller: Address): boolean => owner !== undefined && isAddressEqual(owner, caller);

function serviceOf({ config }: Pick<Deps, "config">, owner: Address, name: string, terms: WireTerms): Service {
  const { description, minDepositCalls, withdrawDelayS, upstreamTimeoutMs } = { ...SERVICE_DEFAULTS, ...(terms.per === "month" ? { minDepositCalls: LEAST_DEPOSIT_MONTHS } : {}), ...terms };
  return {
    name, owner, description, minDepositCalls, withdrawDelayS, upstreamTimeoutMs,
    ...whereOf(config, terms),
    receiver: terms.receiver === undefined ? owner : getAddress(terms.receiver.toLowerCase()),
    token: config.token.address,
    price: priceOf(terms),
    stream: streamOf(terms),
    ...subscriptionOf(terms),
  };
}

/** A voucher has room for the price on free calls too: a deposit of one month would be used up by the first. */
const LEAST_DEPOSIT_MONTHS = 2;

function subscriptionOf({ per, url, streamPriceAtomic, minDepositCalls }: WireTerms): Pick<Service, "subscription"> {
  if (per !== "month") return {};
  if (url !== undefined) throw malformed("per", "Months are sold through the gateway only, which counts them; a server of your own sells by the call.");
  if (streamPriceAtomic !== undefined) throw malformed("per", "What is sold by the month is not sold by the unit of a stream too.");
  if (minDepositCalls !== undefined && minDepositCalls < LEAST_DEPOSIT_MONTHS) throw malformed("minDepositCalls", `A deposit has room for ${LEAST_DEPOSIT_MONTHS} months at least: the price is set aside on free calls too, and comes back.`);
  return { subscription: { periodS: SUBSCRIPTION_PERIOD_S } };
}

/** Exactly one of the gateway's upstream and the provider's own server. */
function whereOf(config: Deps["config"], terms: WireTerms): Pick<Service, "origin" | "url"> {
  if ((terms.origin === undefined) === (terms.url === undefined)) throw malformed("origin", "Give either origin (the gateway forwards calls to it) or url (your own server sells it).");
  const field = terms.origin === undefined ? "url" : "origin";
  const url = readOrigin(terms[field]!);
  if (url === undefined) throw malformed(field, `${field} must be an http or https URL without query, fragment and credentials.`);
  if (field === "url") return { origin: undefined, url };
  checkOrigin(url, { allowPrivate: config.outboundAllowPrivate, ownOrigin: config.publicUrl, isPublic });
  return { origin: url, url: undefined };
}

function priceOf({ price, priceAtomic }: WireTerms): bigint {
  if ((price === undefined) === (priceAtomic === undefined)) throw malformed("priceAtomic", 'Give either priceAtomic ("1000") or price ("$0.001").');
  return priceAtomic === undefined ? parsePrice(price!) : BigInt(priceAtomic);
}

function streamOf({ url, streamUnit = "event", streamPriceAtomic }: WireTerms): Service["stream"] {
  if (streamPriceAtomic === undefined) return undefined;
  if (url !== undefined) throw malformed("streamPriceAtomic", "Streams are sold by the unit through the gateway only.");
  return { unit: streamUnit, unitPrice: BigInt(streamPriceAtomic) };
}

function malformed(field: string, detail: string): TallystickError {
  return new TallystickError({ code: "service_malformed", status: 400, retry: "never", field, detail });
}
