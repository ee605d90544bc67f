// Agreeing on a price: intent -> offer -> counter-offer -> acceptance. Every message is signed by whoever it binds, the same again changes
// nothing, and nothing here moves money: what is charged is decided by the ledger, within what was accepted.
import { createHash, randomBytes } from "node:crypto";
import { isAddressEqual, zeroHash, type Address, type Hex } from "viem";
import { TallystickError } from "../../../../sdk/src/errors.ts";
import { messageHash, negotiationDomain, type Counter, type Intent, type MessageName, type Offer, type Signed } from "../../../../sdk/src/negotiation/messages.ts";
import { callsFor, LONGEST_INTENT_S, MOST_ROUNDS, outsidePolicy, policyPrice, tiersBelow, whyNoOffer } from "../../../../sdk/src/negotiation/terms.ts";
import type { Deps } from "../../deps.ts";
import { EVENT } from "../../telemetry/log.ts";
import { ownerOf } from "../firewall/registry.ts";
import type { GatewayDeps } from "../gateway/rail.ts";
import type { Service } from "../gateway/store.ts";
import { isSignedBy } from "../mandates/signatures.ts";
import { listingMismatch, mismatchNow, type Named } from "./listed.ts";
import * as sessions from "./session-store.ts";
import * as store from "./store.ts";

export type NegotiationDeps = Pick<GatewayDeps, "config" | "db" | "chain" | "keyring" | "log" | "now" | "catalog" | "listings">;

/** Intents cost a row each, and offers more. */
const MOST_INTENTS = 200;
const MOST_OFFERS = 50;
/** What clocks may differ by. */
const CLOCK_S = 60;

export const domainOf = ({ config }: Pick<Deps, "config">) => negotiationDomain(config.chainId, config.sessionChannels);
export const refuse = (code: string, status: number, detail: string, field?: string): TallystickError => new TallystickError({ code, status, retry: "never", detail: `${detail} Nothing moved.`, ...(field === undefined ? {} : { field }) });
const nowS = ({ now }: Pick<Deps, "now">): number => Math.floor(now().getTime() / 1000);

async function checkSigned<Name extends MessageName>(deps: NegotiationDeps, name: Name, signed: Signed<Name>, by: Address): Promise<Hex> {
  const hash = messageHash(domainOf(deps), name, signed.message);
  if (await isSignedBy(deps, by, hash, signed.signature)) return hash;
  throw refuse("signature_invalid", 403, `The ${name.toLowerCase()} is not signed by ${by} for this chain.`, "signature");
}

/** @throws TallystickError 409 `negotiation_listing_mismatch` with the field; 503 `registry_stale`. */
export async function checkListed(deps: NegotiationDeps, name: "pricePolicy" | "offer", named: Named): Promise<void> {
  const mismatch = await mismatchNow(deps, named);
  if (mismatch !== undefined) throw refuse("negotiation_listing_mismatch", 409, mismatch.detail, `${name}.${mismatch.field}`);
}

export type Negotiation = { intentHash: Hex; intent: Signed<"Intent">; offers: store.StoredOffer[]; declined: { service: string; reason: string }[] };

/** @throws TallystickError 403 `signature_invalid`; 409 `intent_id_taken`; 400 `intent_expired`, `intent_unbounded`, `intent_token`; 429 `intents_too_many`. */
export async function publishIntent(deps: NegotiationDeps, intent: Signed<"Intent">): Promise<Negotiation> {
  const { message } = intent;
  const intentHash = await checkSigned(deps, "Intent", intent, message.agent);
  const known = await store.findIntent(deps.db, message.intentId);
  if (known !== undefined && known.intentHash !== intentHash) throw refuse("intent_id_taken", 409, "Another intent has this id.", "intent.intentId");
  if (known === undefined) {
    if (message.expiresAt <= nowS(deps)) throw refuse("intent_expired", 400, "The intent is over.", "intent.expiresAt");
    if (message.expiresAt > nowS(deps) + LONGEST_INTENT_S + CLOCK_S) throw refuse("intent_unbounded", 400, `An intent waits ${LONGEST_INTENT_S} seconds at most.`, "intent.expiresAt");
    if (message.service === "" && message.capability === "") throw refuse("negotiation_malformed", 400, "Name a service or a capability.", "intent.service");
    if (!isAddressEqual(message.token, deps.config.token.address)) throw refuse("intent_token", 400, `Only ${deps.config.token.address} is paid in here.`, "intent.token");
    if (!(await store.insertIntent(deps.db, intentHash, intent, MOST_INTENTS)) && (await store.findIntent(deps.db, message.intentId)) === undefined) throw refuse("intents_too_many", 429, `${message.agent} has ${MOST_INTENTS} open intents.`);
    deps.log.info({ event: EVENT.intentPublished, intentId: message.intentId }, "intent");
  }
  const declined = known === undefined || (await store.offersFor(deps.db, message.intentId)).length === 0 ? await answerByPolicies(deps, intentHash, message) : [];
  return { ...(await negotiationOf(deps, message.intentId)), declined };
}

/** @throws TallystickError 404 `intent_unknown`. */
export async function negotiationOf(deps: NegotiationDeps, intentId: Hex): Promise<Negotiation> {
  const found = await store.findIntent(deps.db, intentId);
  if (found === undefined) throw refuse("intent_unknown", 404, `There is no intent ${intentId}.`, "intentId");
  return { ...found, offers: await store.offersFor(deps.db, intentId), declined: [] };
}

/** Providers that are away answer by the policy they signed. */
async function answerByPolicies(deps: NegotiationDeps, intentHash: Hex, intent: Intent): Promise<{ service: string; reason: string }[]> {
  const declined: { service: string; reason: string }[] = [];
  if (intent.expiresAt <= nowS(deps)) return declined;
  for (const standing of await store.standingPolicies(deps.db, intent, MOST_OFFERS)) {
    const { service } = standing.policy.message;
    const reason = (await whyNotOnSale(deps, standing)) ?? whyNoOffer(standing.policy.message, intent);
    if (reason !== undefined) declined.push({ service, reason });
    else await offerByPolicy(deps, standing, intentHash, intent, { round: 0, pricePerRequest: policyPrice(standing.policy.message, intent, 0) });
  }
  return declined;
}

/** A policy counts only while the service is sold by whom and to whom the policy says, and this relayer may speak for it. */
async function whyNotOnSale(deps: NegotiationDeps, { policy: { message } }: store.StoredPolicy): Promise<string | undefined> {
  const service = await deps.catalog.find(message.service);
  if (service === undefined || service.pausedSince !== undefined) return "it is not on sale";
  if (service.subscription !== undefined) return "it is sold by the month";
  if (!isAddressEqual(ownerOf(service), message.provider) || !isAddressEqual(service.receiver, message.payTo)) return "its owner or payee is another now";
  const mismatch = listingMismatch(deps, message);
  if (mismatch !== undefined) return `its listing says otherwise: ${mismatch.field}`;
  return deps.keyring.has(message.operator) ? undefined : "its policy names another operator";
}

type Terms = { round: number; pricePerRequest: bigint; renews?: Hex };

async function offerByPolicy(deps: NegotiationDeps, { policy: { message: policy }, policyHash }: store.StoredPolicy, intentHash: Hex, intent: Intent, { round, pricePerRequest, renews }: Terms): Promise<store.StoredOffer> {
  const { provider, service, serviceId, payTo, token, sla, refundPolicy, maxCalls, sessionTtlS, offerTtlS, operator } = policy;
  const offer: Offer = {
    offerId: `0x${randomBytes(32).toString("hex")}`, intentId: intent.intentId, intentHash, agent: intent.agent, provider, service, serviceId, payTo, token, pricePerRequest, tiers: tiersBelow(policy.tiers, pricePerRequest),
    sla, refundPolicy, maxCalls, sessionTtlS, round, policyHash, expiresAt: Math.min(nowS(deps) + offerTtlS, policy.expiresAt),
  };
  const outside = outsidePolicy(offer, policy);
  if (outside !== undefined) throw new Error(`invariant: an offer within its policy: ${outside}`);
  const domain = domainOf(deps);
  const signature = await deps.keyring.signerFor(operator).signOffer(domain, offer);
  const stored: store.StoredOffer = { offerHash: messageHash(domain, "Offer", offer), offer: { message: offer, signature }, policyHash, renews };
  if (await store.insertOffer(deps.db, stored)) return stored;
  // Another process answered this round.
  return (await store.offerOfRound(deps.db, intent.intentId, service, round))!;
}

/** An offer that its provider makes itself, to an intent or a counter-offer. @throws TallystickError 403, 404, 409 `round_answered`; 400 `offer_other`, `offer_expired`. */
export async function makeOffer(deps: NegotiationDeps, intentId: Hex, offer: Signed<"Offer">): Promise<store.StoredOffer> {
  const { message } = offer;
  const { intent, intentHash } = await negotiationOf(deps, intentId);
  const service = await deps.catalog.find(message.service);
  if (service === undefined) throw refuse("service_unknown", 404, `No service is called ${message.service}.`, "offer.service");
  if (!isAddressEqual(ownerOf(service), message.provider)) throw refuse("offer_forged", 403, `${message.service} is not ${message.provider}'s to offer.`, "offer.provider");
  const offerHash = await checkSigned(deps, "Offer", offer, message.provider);
  await checkListed(deps, "offer", message);
  const other = otherThan(message, intent.message, intentHash, service);
  if (other !== undefined) throw refuse("offer_other", 400, `The offer's ${other} is not that of the intent and the service.`, `offer.${other}`);
  const known = await store.findOffer(deps.db, offerHash);
  if (known !== undefined) return known;
  if (message.expiresAt <= nowS(deps)) throw refuse("offer_expired", 400, "The offer is over.", "offer.expiresAt");
  if (message.round > MOST_ROUNDS) throw refuse("rounds_exhausted", 409, `There are ${MOST_ROUNDS} rounds.`, "offer.round");
  const stored = { offerHash, offer, policyHash: undefined, renews: undefined };
  if (await store.insertOffer(deps.db, stored)) return stored;
  throw refuse("round_answered", 409, `Round ${message.round} has its offer.`, "offer.round");
}

function otherThan(offer: Offer, intent: Intent, intentHash: Hex, service: Pick<Service, "receiver" | "token" | "subscription">): string | undefined {
  if (offer.intentId !== intent.intentId) return "intentId";
  if (offer.intentHash !== intentHash) return "intentHash";
  if (!isAddressEqual(offer.agent, intent.agent)) return "agent";
  if (intent.service !== "" && intent.service !== offer.service) return "service";
  if (!isAddressEqual(offer.payTo, service.receiver)) return "payTo";
  if (!isAddressEqual(offer.token, service.token)) return "token";
  if (offer.policyHash !== zeroHash) return "policyHash";
  return service.subscription === undefined ? undefined : "service";
}

/** The agent asks for less; a policy answers at once, a provider when it comes by. @returns the answer, or undefined while there is none. */
export async function counterOffer(deps: NegotiationDeps, intentId: Hex, counter: Signed<"Counter">): Promise<store.StoredOffer | undefined> {
  const { message } = counter;
  const { intent, intentHash } = await negotiationOf(deps, intentId);
  const before = await offerOf(deps, intentId, message.offerHash);
  if (!isAddressEqual(message.agent, intent.message.agent)) throw refuse("counter_other", 403, "The intent is another agent's.", "counter.agent");
  const counterHash = await checkSigned(deps, "Counter", counter, message.agent);
  const { round, pricePerRequest, service } = before.offer.message;
  if (message.expiresAt <= nowS(deps) || before.offer.message.expiresAt <= nowS(deps)) throw refuse("offer_expired", 409, "The offer or the counter-offer is over.", "counter.expiresAt");
  if (message.pricePerRequest >= pricePerRequest) throw refuse("counter_not_less", 400, "A counter-offer asks for less than was offered.", "counter.pricePerRequest");
  if (round >= MOST_ROUNDS || before.renews !== undefined) throw refuse("rounds_exhausted", 409, `There are ${MOST_ROUNDS} rounds; take the offer, or leave it.`);
  if ((await sessions.sessionOfOffer(deps.db, message.offerHash)) !== undefined) throw refuse("offer_taken", 409, "The offer was accepted.");
  if ((await store.insertCounter(deps.db, counterHash, counter)) !== counterHash) throw refuse("offer_countered", 409, "The offer was countered before, at another price.");
  const known = await store.offerOfRound(deps.db, intentId, service, round + 1);
  if (known !== undefined) return known;
  const standing = before.policyHash === undefined ? undefined : await store.findPolicy(deps.db, before.policyHash);
  if (standing === undefined) return undefined;
  if ((await whyNotOnSale(deps, standing)) !== undefined || standing.policy.message.expiresAt <= nowS(deps)) throw refuse("policy_over", 409, "The policy behind the offer no longer stands; ask anew.");
  return offerByPolicy(deps, standing, intentHash, intent.message, { round: round + 1, pricePerRequest: policyPrice(standing.policy.message, intent.message, round + 1, pricePerRequest, message as Counter) });
}

async function offerOf(deps: NegotiationDeps, intentId: Hex, offerHash: Hex): Promise<store.StoredOffer> {
  const found = await store.findOffer(deps.db, offerHash);
  if (found !== undefined && found.offer.message.intentId === intentId) return found;
  throw refuse("offer_unknown", 404, `There is no offer ${offerHash} for this intent.`, "offerHash");
}

/** `token` only for whoever accepted first: a signed acceptance may be seen by others. */
export type Accepted = { session: sessions.NegotiatedSession; token: string | undefined; isNew: boolean };

/** @throws TallystickError 403, 404, 409 `offer_taken`, `offer_expired`, `session_unbounded`, `offer_void`, `negotiation_listing_mismatch`; 400 `budget_too_small`. */
export async function acceptOffer(deps: NegotiationDeps, intentId: Hex, acceptance: Signed<"Acceptance">): Promise<Accepted> {
  const { message } = acceptance;
  const { offer: { message: offer } } = await offerOf(deps, intentId, message.offerHash);
  if (!isAddressEqual(message.agent, offer.agent)) throw refuse("offer_of_another", 403, `The offer was made to ${offer.agent}.`, "acceptance.agent");
  const sessionId = await checkSigned(deps, "Acceptance", acceptance, message.agent);
  const known = await sessions.findSession(deps.db, sessionId);
  if (known !== undefined) return { session: known, token: undefined, isNew: false };
  if (offer.expiresAt <= nowS(deps)) throw refuse("offer_expired", 409, "The offer is over.");
  if (message.sessionExpiresAt <= nowS(deps) || message.sessionExpiresAt > nowS(deps) + offer.sessionTtlS + CLOCK_S) throw refuse("session_unbounded", 409, `The offer is for a session of ${offer.sessionTtlS} seconds at most.`, "acceptance.sessionExpiresAt");
  const service = await deps.catalog.find(offer.service);
  if (service === undefined || !isAddressEqual(service.receiver, offer.payTo) || !isAddressEqual(ownerOf(service), offer.provider) || service.subscription !== undefined) throw refuse("offer_void", 409, "The service is off sale, another's, or sold by the month now.");
  await checkListed(deps, "offer", offer);
  const calls = callsFor(offer, message.budget);
  if (calls < 1) throw refuse("budget_too_small", 400, "The budget pays for no call.", "acceptance.budget");
  const token = `tsn_${randomBytes(32).toString("hex")}`;
  if (!(await sessions.insertSession(deps.db, sessionId, acceptance, offer, calls, sessionTokenHash(token)))) {
    const again = await sessions.findSession(deps.db, sessionId);
    if (again !== undefined) return { session: again, token: undefined, isNew: false };
    throw refuse("offer_taken", 409, "The offer was accepted before, or has just run out.");
  }
  deps.log.info({ event: EVENT.offerAccepted, sessionId, service: offer.service, calls }, "price agreed");
  return { session: (await sessions.findSession(deps.db, sessionId))!, token, isNew: true };
}

export const sessionTokenHash = (token: string): Hex => `0x${createHash("sha256").update(token).digest("hex")}`;

/** For its agent and its provider. @throws TallystickError 404 `session_unknown`. */
export async function sessionFor(deps: NegotiationDeps, sessionId: Hex, caller: Address): Promise<sessions.NegotiatedSession> {
  const session = await sessions.findSession(deps.db, sessionId);
  if (session !== undefined && [session.agent, session.provider].some((party) => isAddressEqual(party, caller))) return session;
  throw refuse("session_unknown", 404, "There is no such session, or it is not yours.", "sessionId");
}

/** What to go on with after a session that is over; undefined when its provider offers nothing by policy. */
export async function renewalFor(deps: NegotiationDeps, session: sessions.NegotiatedSession): Promise<store.StoredOffer | undefined> {
  const known = await store.renewalOf(deps.db, session.sessionId);
  if (known !== undefined) return known;
  const found = await store.findIntent(deps.db, session.intentId);
  const [standing] = await store.standingPolicies(deps.db, { service: session.service, capability: "" }, 1);
  if (found === undefined || standing === undefined || (await whyNotOnSale(deps, standing)) !== undefined) return undefined;
  const { intent: { message: intent }, intentHash } = found;
  if (whyNoOffer(standing.policy.message, intent) !== undefined) return undefined;
  const { listPrice, floorPrice } = standing.policy.message;
  const again = session.pricePerRequest < floorPrice ? floorPrice : session.pricePerRequest > listPrice ? listPrice : session.pricePerRequest;
  return offerByPolicy(deps, standing, intentHash, intent, { round: MOST_ROUNDS, pricePerRequest: again, renews: session.sessionId });
}
