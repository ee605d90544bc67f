// Provider and agent of a negotiation, by hand: every message can be wrong.
import { randomBytes } from "node:crypto";
import { zeroHash, type Hex, type LocalAccount } from "viem";
import { privateKeyToAccount } from "viem/accounts";
import { BASE_SEPOLIA, SESSION_CHANNELS } from "../../sdk/src/constants.ts";
import { messageHash, negotiationDomain, signMessage, toWire, fromWire, type Acceptance, type Counter, type Intent, type MessageName, type Messages, type MessageSigner, type Offer, type PricePolicy, type Signed } from "../../sdk/src/negotiation/messages.ts";
import { RECEIPT_EXTENSION, type SignedReceipt } from "../../sdk/src/receipt.ts";
import { manualBuyer, requiredOf, settleOf } from "./buyer.ts";
import { addressOf, keyOf, ROLE } from "./config.ts";

export const NEGOTIATION = negotiationDomain(BASE_SEPOLIA.chainId, SESSION_CHANNELS);
export const PROVIDER = privateKeyToAccount(keyOf(ROLE.receiver));
export const inSeconds = (s: number): number => Math.floor(Date.now() / 1000) + s;
export const randomHash = (): Hex => `0x${randomBytes(32).toString("hex")}`;

// From 2 on: version 1 is older than whatever stands, never the same policy once more.
let versions = 1;

/** Lists at 0.01, sells at 0.006 at least. */
export function policyOf(change: Partial<PricePolicy> = {}): PricePolicy {
  return {
    service: "echo", serviceId: zeroHash, capability: "echo.text", provider: PROVIDER.address, operator: addressOf(ROLE.authorizer), payTo: PROVIDER.address, token: BASE_SEPOLIA.usdc.address, listPrice: 10_000n, floorPrice: 6_000n,
    tiers: [], sla: { maxLatencyMs: 2_000, minUptimePercent: 99 }, refundPolicy: { latencyCreditBps: 2_500, failureCreditBps: 5_000 }, offerTtlS: 300, sessionTtlS: 3_600, maxCalls: 1_000_000, version: ++versions, expiresAt: inSeconds(86_400), ...change,
  };
}

/** Promises what a machine that is busy with other things still keeps: for tests of prices. */
export const EASY_SLA = { maxLatencyMs: 60_000, minUptimePercent: 99 };

export function intentOf(agent: LocalAccount, change: Partial<Intent> = {}): Intent {
  return { intentId: randomHash(), agent: agent.address, service: "echo", capability: "", maxPricePerRequest: 8_000n, token: BASE_SEPOLIA.usdc.address, sla: { maxLatencyMs: 0, minUptimePercent: 0 }, expiresAt: inSeconds(600), ...change };
}

export type Answered = { status: number; body: any };

export async function send(url: string, method: string, path: string, body?: unknown): Promise<Answered> {
  const response = await fetch(url + path, { method, ...(body === undefined ? {} : { headers: { "content-type": "application/json" }, body: JSON.stringify(body) }) });
  return { status: response.status, body: await response.json() };
}

export async function signedBody<Name extends MessageName>(signer: LocalAccount, name: Name, message: Messages[Name], domain = NEGOTIATION) {
  return toWire(name, await signMessage(signer as unknown as MessageSigner, domain, name, message));
}

export async function publishPolicy(url: string, policy: PricePolicy, signer: LocalAccount = PROVIDER): Promise<Answered> {
  return send(url, "PUT", `/api/v1/services/${policy.service}/price-policy`, await signedBody(signer, "PricePolicy", policy));
}

export const offerIn = (wire: { message: Record<string, unknown>; signature: Hex }): Signed<"Offer"> => fromWire("Offer", { message: wire.message, signature: wire.signature });

/** An agent's side of one intent. */
export function negotiator(url: string, agent: LocalAccount) {
  const ask = async (change: Partial<Intent> = {}) => send(url, "POST", "/api/v1/intents", await signedBody(agent, "Intent", intentOf(agent, change)));
  const counter = async (offer: Offer, pricePerRequest: bigint, change: Partial<Counter> = {}) =>
    send(url, "POST", `/api/v1/intents/${offer.intentId}/counter`, await signedBody(agent, "Counter", { offerHash: messageHash(NEGOTIATION, "Offer", offer), agent: agent.address, pricePerRequest, expiresAt: inSeconds(60), ...change }));
  const acceptanceOf = (offer: Offer, budget: bigint, change: Partial<Acceptance> = {}): Acceptance => ({ offerHash: messageHash(NEGOTIATION, "Offer", offer), agent: agent.address, budget, sessionExpiresAt: inSeconds(600), ...change });
  const accept = async (offer: Offer, budget: bigint, change: Partial<Acceptance> = {}) => send(url, "POST", `/api/v1/intents/${offer.intentId}/accept`, await signedBody(agent, "Acceptance", acceptanceOf(offer, budget, change)));
  return { ask, counter, accept, acceptanceOf };
}

/** A session of the agent at the first offer, and its buyer. */
export async function agreed(url: string, agent: LocalAccount, budget: bigint, { intent = {}, acceptance = {}, service = "echo", salt = randomHash() }: { intent?: Partial<Intent>; acceptance?: Partial<Acceptance>; service?: string; salt?: Hex } = {}) {
  const by = negotiator(url, agent);
  const asked = await by.ask({ service, ...intent });
  if (asked.status !== 201 || asked.body.offers.length === 0) throw new Error(`no offer: ${JSON.stringify(asked.body)}`);
  const offer = offerIn(asked.body.offers[0]);
  const accepted = await by.accept(offer.message, budget, acceptance);
  if (accepted.status !== 201) throw new Error(`not accepted: ${JSON.stringify(accepted.body)}`);
  const buyer = sessionBuyer(`${url}/s/${service}`, agent, accepted.body.sessionId, salt);
  return { offer, session: accepted.body, buyer, by };
}

/** Pays in a session by hand: deposit first, then vouchers, one after the other. */
export function sessionBuyer(serviceUrl: string, agent: LocalAccount, sessionId: Hex | undefined, salt: Hex) {
  const headers: Record<string, string> = sessionId === undefined ? {} : { "x-402-session-id": sessionId };
  const buyer = manualBuyer(agent, serviceUrl, salt);
  const terms = async (path = "/") => requiredOf(await fetch(serviceUrl + path, { headers }));
  let ceiling = 0n;
  const paid = async (payment: unknown, path: string, to = serviceUrl) => {
    const response = await buyer.send(payment, { headers }, to + path);
    const receipt = response.status === 200 ? (settleOf(response) as unknown as { extensions: Record<string, { info: { receipt: SignedReceipt } }> }).extensions[RECEIPT_EXTENSION]!.info.receipt : undefined;
    if (receipt !== undefined) ceiling = BigInt(receipt.payload.cumulative);
    return { status: response.status, response, receipt, body: (await response.clone().json()) as any };
  };
  return {
    buyer, terms, headers, paid,
    ceiling: () => ceiling,
    async open(deposit: bigint, path = "/hello") {
      const required = await terms();
      return paid(await buyer.depositPayment(required, deposit, BigInt(required.accepts[0].amount)), path);
    },
    async call(path = "/hello", price?: bigint) {
      const required = await terms();
      return paid(await buyer.voucherPayment(required, ceiling + (price ?? BigInt(required.accepts[0].amount))), path);
    },
    /** A payment that nothing has sent yet. */
    payment: async (upto: bigint) => buyer.voucherPayment(await terms(), upto),
  };
}

/** What the provider itself may answer an intent with, as it was asked. */
export function liveOffer({ intentId, intentHash }: { intentId: Hex; intentHash: Hex }, agent: Hex, pricePerRequest: bigint): Offer {
  const { sla, refundPolicy, payTo, token, service, serviceId } = policyOf();
  return { offerId: randomHash(), intentId, intentHash, agent, provider: PROVIDER.address, service, serviceId, payTo, token, pricePerRequest, tiers: [], sla, refundPolicy, maxCalls: 10, sessionTtlS: 3_600, round: 0, policyHash: zeroHash, expiresAt: inSeconds(60) };
}
