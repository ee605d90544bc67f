// A relayer's negotiation API, as an agent uses it. What comes back is checked: an offer that its provider did not sign, or did not let anybody make, is refused. Browser-safe.
import { isAddressEqual, type Hex } from "viem";
import { TallystickError } from "../errors.ts";
import type { ChannelConfig } from "../typed-data.ts";
import { offerFaults } from "./check.ts";
import { fromWire, messageHash, signMessage, toWire, type Acceptance, type Counter, type Intent, type MessageSigner, type NegotiationDomain, type Offer, type PricePolicy, type Signed, type SignedMessage } from "./messages.ts";
import type { SignedVoucher } from "./session-file.ts";

export type NegotiationClientOptions = { relayerUrl: string; account: MessageSigner; domain: NegotiationDomain; fetch?: typeof fetch };
/** An offer that is proven, with the policy behind it. */
export type ProvenOffer = { offerHash: Hex; offer: Signed<"Offer">; policy: Signed<"PricePolicy"> | undefined };
export type Declined = { service: string; reason: string };
/** `sessionToken` only the first time. Amounts in token units, as the relayer writes them. */
export type SessionTerms = { sessionId: Hex; calls: number; callsLeft: number; pricePerRequest: string; budget: string; state: string; expiresAt: string; sessionToken?: string };

type WireOffer = SignedMessage & { offerHash: Hex; policyHash: Hex | null };
type WireNegotiation = { intentId: Hex; offers: WireOffer[]; declined: Declined[] };

export class NegotiationClient {
  readonly #options: NegotiationClientOptions;

  constructor(options: NegotiationClientOptions) {
    this.#options = options;
  }

  get domain(): NegotiationDomain {
    return this.#options.domain;
  }

  async publishIntent(intent: Intent): Promise<{ offers: ProvenOffer[]; declined: Declined[] }> {
    const told = (await this.#send("POST", "/api/v1/intents", toWire("Intent", await this.#sign("Intent", intent)))) as WireNegotiation;
    return { offers: await this.#proven(told.offers, intent), declined: told.declined };
  }

  async offers(intent: Intent): Promise<ProvenOffer[]> {
    return this.#proven(((await this.#send("GET", `/api/v1/intents/${intent.intentId}/offers`)) as WireNegotiation).offers, intent);
  }

  /** @returns the answer, or undefined while the provider has not come by. */
  async counter(intent: Intent, counter: Counter): Promise<ProvenOffer | undefined> {
    const told = (await this.#send("POST", `/api/v1/intents/${intent.intentId}/counter`, toWire("Counter", await this.#sign("Counter", counter)))) as { offer: WireOffer | null };
    return told.offer === null ? undefined : (await this.#proven([told.offer], intent))[0];
  }

  async accept(offer: Offer, acceptance: Acceptance): Promise<{ session: SessionTerms; acceptance: Signed<"Acceptance"> }> {
    const signed = await this.#sign("Acceptance", acceptance);
    const session = (await this.#send("POST", `/api/v1/intents/${offer.intentId}/accept`, toWire("Acceptance", signed))) as SessionTerms;
    if (session.sessionId !== messageHash(this.domain, "Acceptance", acceptance)) throw fault("session_other", "The relayer opened another session than was accepted.");
    return { session, acceptance: signed };
  }

  /** So that the session's calls need its id and token only. The same again changes nothing. */
  async leaveVoucher(sessionId: Hex, token: string, left: { channelConfig: ChannelConfig; voucher: SignedVoucher }): Promise<SessionTerms> {
    return (await this.#send("POST", `/api/v1/negotiated-sessions/${sessionId}/voucher`, left, { "x-402-session-token": token })) as SessionTerms;
  }

  /** As a service's owner. */
  async publishPolicy(policy: PricePolicy): Promise<Hex> {
    const told = (await this.#send("PUT", `/api/v1/services/${policy.service}/price-policy`, toWire("PricePolicy", await this.#sign("PricePolicy", policy)))) as { policyHash: Hex };
    return told.policyHash;
  }

  #sign<Name extends "Intent" | "Counter" | "Acceptance" | "PricePolicy">(name: Name, message: Parameters<typeof signMessage<Name>>[3]): Promise<Signed<Name>> {
    return signMessage(this.#options.account, this.domain, name, message);
  }

  /** @throws TallystickError `offer_invalid`. */
  async #proven(offers: readonly WireOffer[], intent: Intent): Promise<ProvenOffer[]> {
    const policies = new Map<Hex, Signed<"PricePolicy">>();
    const proven: ProvenOffer[] = [];
    for (const wire of offers) {
      const offer = fromWire("Offer", { message: wire.message, signature: wire.signature });
      const { policyHash } = wire;
      if (policyHash !== null && !policies.has(policyHash)) {
        const { message, signature } = (await this.#send("GET", `/api/v1/price-policies/${policyHash}`)) as SignedMessage;
        policies.set(policyHash, fromWire("PricePolicy", { message, signature }));
      }
      const policy = policyHash === null ? undefined : policies.get(policyHash);
      const [first] = await offerFaults(this.domain, offer, policy);
      if (first !== undefined) throw fault("offer_invalid", first.detail);
      if (offer.message.intentHash !== messageHash(this.domain, "Intent", intent) || !isAddressEqual(offer.message.agent, intent.agent)) throw fault("offer_invalid", "The offer answers another intent.");
      if (!isAddressEqual(offer.message.token, intent.token)) throw fault("offer_invalid", "The offer is in another token.");
      proven.push({ offerHash: messageHash(this.domain, "Offer", offer.message), offer, policy });
    }
    return proven;
  }

  async #send(method: string, path: string, body?: unknown, more: Record<string, string> = {}): Promise<unknown> {
    const { relayerUrl, fetch: fetcher = globalThis.fetch } = this.#options;
    const response = await fetcher(relayerUrl + path, { method, ...(body === undefined ? {} : { headers: { "content-type": "application/json", ...more }, body: JSON.stringify(body) }) });
    const told = (await response.json()) as { code?: string; detail?: string };
    if (response.ok) return told;
    throw new TallystickError({ code: told.code ?? "negotiation_failed", status: response.status, retry: "never", detail: told.detail ?? `The relayer answered ${response.status}.` });
  }
}

export function fault(code: string, detail: string): TallystickError {
  return new TallystickError({ code, status: 502, retry: "never", detail });
}
