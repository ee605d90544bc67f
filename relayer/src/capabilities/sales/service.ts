// Sales by a provider's own server, under the gateway's money rules and in its ledger: take -> (the provider runs its handler) -> charge,
// or release. Every step can be repeated.
import { encodePaymentResponseHeader } from "@x402/core/http";
import type { SettleResponse } from "@x402/core/types";
import { isAddressEqual, type Address, type Hex } from "viem";
import { TallystickError, toProblem } from "../../../../sdk/src/errors.ts";
import { RECEIPT_EXTENSION } from "../../../../sdk/src/receipt.ts";
import { newPaymentId, paymentIdFrom } from "../../payment-id.ts";
import { challengeOf, unpaid } from "../gateway/challenge.ts";
import type { GatewayDeps, OpenPayment, Sale } from "../gateway/rail.ts";
import { pauseOf } from "../gateway/pause.ts";
import { resumePayment } from "../gateway/rails.ts";
import * as gateway from "../gateway/service.ts";
import type { Service } from "../gateway/store.ts";
import { fault, X402_ERROR } from "../gateway/terms.ts";
import { answerHash } from "../ledger/logic.ts";
import { inProgress } from "../ledger/service.ts";
import type { Delivery } from "../ledger/types.ts";
import { agreedFor, refusalOfSession, sessionExtension, soldAs, type AgreedService } from "../negotiation/agreed.ts";
import { notYours } from "../receipts/service.ts";
import { checkResource, readCharge, runTimes } from "./logic.ts";
import type { WireCharge, WireTake } from "./schemas.ts";
import * as store from "./store.ts";

/** What the buyer is to be sent, as it is. */
export type WireAnswer = { status: number; headers: Record<string, string | string[]>; bodyBase64: string };
export type Refused = { outcome: "unpaid" | "refused"; code: string; answer: WireAnswer };
export type Taken =
  | { outcome: "reserved"; paymentId: string; payer: Address; priceAtomic: string; leaseMs: number }
  /** Paid before with the same request, or a refund: nothing is to be run. */
  | { outcome: "replay"; code: string; answer: WireAnswer }
  | Refused;
export type Charged = { outcome: "charged"; chargedAtomic: string; headers: Record<string, string>; receipt?: Record<string, unknown> } | Refused;

/** What is for sale in this very call: the service at the call's own price, or at what was agreed where that is less. */
type Offer = { service: Service; resource: string; inputHash: Hex; agreed?: AgreedService | undefined };

/**
 * Sets the price of one call aside, or says what the buyer is to be sent instead.
 * @throws TallystickError for the provider's own faults: 403 `service_not_yours`, 404, 409 `service_not_self_hosted`, `idempotency_conflict`, 400 `resource_foreign`.
 */
export async function take(deps: GatewayDeps, caller: Address, wire: WireTake, takeKey: string | undefined): Promise<Taken> {
  const offer = await offerOf(deps, caller, wire);
  const known = takeKey === undefined ? undefined : await takenBefore(deps, caller, takeKey, offer);
  if (known !== undefined) return known;
  if (wire.payment === undefined) return refusal(deps, offer, newPaymentId(), pauseOf(offer.service) ?? (offer.agreed && refusalOfSession(offer.agreed)) ?? unpaid(), "unpaid");
  let paymentId: string | undefined;
  try {
    const payment = gateway.readPayment(wire.payment);
    paymentId = payment.paymentId;
    const { agreed, resource, inputHash: requestHash } = offer;
    const service = agreed === undefined ? offer.service : soldAs(agreed, offer.service, payment.envelope.accepted.amount);
    const opened = await gateway.openPurchase(deps, { service, resource, requestHash }, payment);
    return opened.outcome === "open" ? await reserved(deps, caller, opened.payment, takeKey) : await replayed(deps, offer, opened.sale);
  } catch (error) {
    if (!(error instanceof TallystickError)) throw error;
    // The first attempt of this very take is still on its way: it may have been made by now.
    const first = takeKey !== undefined && error.code === "payment_in_progress" ? await takenBefore(deps, caller, takeKey, offer) : undefined;
    return first ?? refusal(deps, offer, paymentId ?? newPaymentId(), error, "refused");
  }
}

async function offerOf(deps: GatewayDeps, caller: Address, { service: name, priceAtomic, resource, inputHash, session }: WireTake): Promise<Offer> {
  const service = await gateway.serviceNamed(deps, name);
  if (service.owner === undefined || !isAddressEqual(service.owner, caller)) {
    throw new TallystickError({ code: "service_not_yours", status: 403, retry: "never", field: "service", detail: `${name} is not ${caller}'s to sell.` });
  }
  if (service.url === undefined) {
    throw new TallystickError({ code: "service_not_self_hosted", status: 409, retry: "never", field: "service", detail: `${name} is sold by the gateway; list it with a url instead of an origin to sell it from your own server.` });
  }
  checkResource(resource, service.url);
  const asked = { ...service, price: priceAtomic === undefined ? service.price : BigInt(priceAtomic) };
  return { service: asked, resource, inputHash: inputHash as Hex, agreed: withoutRaise(asked, await agreedFor(deps, asked, session)) };
}

/** An agreed price is a ceiling: a call that costs less costs less. */
const withoutRaise = ({ price }: Service, agreed: AgreedService | undefined): AgreedService | undefined =>
  agreed === undefined || agreed.service.price <= price ? agreed : { ...agreed, service: { ...agreed.service, price } };

async function takenBefore(deps: GatewayDeps, caller: Address, takeKey: string, { service, resource, inputHash }: Offer): Promise<Taken | undefined> {
  const known = await store.findByTakeKey(deps.db, caller, takeKey);
  if (known === undefined || known.state === "released") return undefined;
  if (known.service !== service.name || known.resource !== resource || known.requestHash !== inputHash || (!known.inSession && known.price !== service.price)) {
    throw new TallystickError({ code: "idempotency_conflict", status: 409, retry: "never", field: "Idempotency-Key", detail: "This Idempotency-Key was used for another take." });
  }
  return known.state === "reserved" ? view(known) : undefined;
}

const view = ({ paymentId, payer, price, leaseMs }: Pick<store.TakenSale, "paymentId" | "payer" | "price" | "leaseMs">): Taken => ({ outcome: "reserved", paymentId, payer, priceAtomic: price.toString(), leaseMs });

async function reserved(deps: GatewayDeps, caller: Address, payment: OpenPayment, takeKey: string | undefined): Promise<Taken> {
  // Bought from the gateway before its owner moved it: its stream broke off, and only the gateway knows how to go on.
  if (payment.stream?.owed === true) {
    await payment.abandon("service_moved");
    throw inProgress(payment.paymentId);
  }
  try {
    return view({ ...payment, leaseMs: await store.insertSale(deps.db, payment.paymentId, caller, takeKey) });
  } catch (error) {
    await payment.abandon("sale_not_recorded");
    throw error;
  }
}

async function replayed(deps: GatewayDeps, { service }: Offer, sale: Sale): Promise<Taken> {
  // Services of one receiver share their buyers' channels. What one of them delivered is not another's to hand out.
  const bought = await store.serviceOfPayment(deps.db, sale.paymentId);
  if (bought !== undefined && bought !== service.name) {
    throw fault({ code: "voucher_used", field: "payload.voucher.maxClaimableAmount", x402Error: X402_ERROR.ceilingMismatch, detail: "This payment was made to another service." });
  }
  const { status, headers, body } = sale.answer;
  return { outcome: "replay", code: "replay", answer: { status, headers: { ...headers, ...paymentHeaders(sale.paymentId, sale.settlement) }, bodyBase64: body.toString("base64") } };
}

/**
 * Charges what was delivered and stores the answer, in one commit: only then may a byte of it leave. The same again gives the same.
 * @throws TallystickError 404, 400 `charge_above_price`, 409 `sale_released` (its lease ran out: nothing was charged, deliver nothing), `sale_charged_otherwise`; 503 safe.
 */
export async function charge(deps: GatewayDeps, caller: Address, paymentId: string, wire: WireCharge): Promise<Charged> {
  const sale = await saleOf(deps, caller, paymentId);
  const { amount, answer, tookMs } = readCharge(wire, sale.price, deps.config.limits.answerBytes);
  const reservedAtMs = sale.reservedAt.getTime();
  const nowMs = deps.now().getTime();
  // Where latency is agreed it goes by our clock alone: its provider pays for being late.
  const { startedAtMs, endedAtMs } = runTimes(sale.inSession ? nowMs - reservedAtMs : tookMs, reservedAtMs, nowMs);
  const delivery = { amount, answer, startedAt: new Date(startedAtMs), endedAt: new Date(endedAtMs) };
  if (sale.state === "released") throw released(sale);
  try {
    if (sale.state === "reserved") return await chargeNow(deps, sale, delivery);
    return await chargedBefore(deps, sale, delivery);
  } catch (error) {
    if (!(error instanceof TallystickError) || error.status !== 402) throw error;
    return refusal(deps, await offerAgain(deps, sale), paymentIdFrom(paymentId), error, "refused");
  }
}

async function chargeNow(deps: GatewayDeps, sale: store.TakenSale, delivery: Delivery): Promise<Charged> {
  const opened = await resumePayment(deps, sale.paymentId);
  if (opened?.outcome === "open") {
    try {
      return chargedView(await opened.payment.charge(delivery), delivery.amount);
    } catch (error) {
      if (!(error instanceof TallystickError) || error.code !== "reservation_expired") throw error;
    }
  }
  // Meanwhile the lease ran out, or the same charge came twice at once and the other was faster.
  const now = await store.findSale(deps.db, sale.paymentId);
  if (now === undefined || now.state === "reserved" || now.state === "released") throw released(now ?? sale);
  return chargedBefore(deps, now, delivery);
}

async function chargedBefore(deps: GatewayDeps, sale: store.TakenSale, delivery: Delivery): Promise<Charged> {
  const amount = sale.charged ?? sale.price; // withheld until an exact transfer is through: it is always for the price
  const isSame = sale.inSession ? amount <= delivery.amount : amount === delivery.amount; // a session's credit is taken off
  if (sale.outputHash !== answerHash(delivery.answer) || (sale.scheme === "batch-settlement" && !isSame)) {
    throw new TallystickError({ code: "sale_charged_otherwise", status: 409, retry: "never", field: "answer", detail: `Payment ${sale.paymentId} was charged ${amount} for another answer or another amount; that stands.` });
  }
  const opened = await resumePayment(deps, sale.paymentId);
  if (opened?.outcome === "sold") return chargedView(opened.sale, amount);
  throw new TallystickError({ code: "answer_expired", status: 410, retry: "never", detail: `The answer of payment ${sale.paymentId} is no longer kept.` });
}

function chargedView({ paymentId, settlement, answer }: Sale, amount: bigint): Charged {
  const { info } = (settlement?.extensions?.[RECEIPT_EXTENSION] ?? {}) as { info?: { receipt: Record<string, unknown> } };
  const { chargedAmount } = (settlement?.extra ?? {}) as { chargedAmount?: string };
  const headers = { ...paymentHeaders(paymentId, settlement), "Cache-Control": String(answer.headers["cache-control"]) };
  return { outcome: "charged", chargedAtomic: chargedAmount ?? amount.toString(), headers, ...(info === undefined ? {} : { receipt: info.receipt }) };
}

/**
 * Gives the price back; twice is once. @returns headers for the answer: a deposit that came with the payment stands.
 * @throws TallystickError 404, 409 `sale_charged`.
 */
export async function release(deps: GatewayDeps, caller: Address, paymentId: string, reason: string): Promise<{ headers: Record<string, string> }> {
  const sale = await saleOf(deps, caller, paymentId);
  const opened = sale.state === "reserved" ? await resumePayment(deps, paymentId) : undefined;
  const settlement = opened?.outcome === "open" ? await opened.payment.abandon(sale.inSession ? faultOf(reason) : reason) : undefined;
  const now = await store.findSale(deps.db, paymentId);
  if (now?.state === "charged" || now?.state === "settling") {
    throw new TallystickError({ code: "sale_charged", status: 409, retry: "never", detail: `Payment ${paymentId} is charged; it cannot be released any more.` });
  }
  return { headers: paymentHeaders(paymentId, settlement) };
}

/** As the gateway calls it when an upstream fails, so that a session's failures count the same. */
const faultOf = (reason: string): string => (reason === "client_gone" ? reason : `upstream_${reason.replace(/^handler_/, "")}`);

/** Only whoever took it. */
async function saleOf(deps: GatewayDeps, caller: Address, paymentId: string): Promise<store.TakenSale> {
  const sale = await store.findSale(deps.db, paymentId);
  if (sale === undefined || !isAddressEqual(sale.owner, caller)) throw notYours("sale");
  return sale;
}

async function offerAgain(deps: GatewayDeps, { service, resource, requestHash, price }: store.TakenSale): Promise<Offer> {
  return { service: { ...(await gateway.serviceNamed(deps, service)), price }, resource, inputHash: requestHash };
}

function released({ paymentId, releaseReason }: store.TakenSale): TallystickError {
  return new TallystickError({
    code: "sale_released", status: 409, retry: "never", extra: { reason: releaseReason ?? "lease_expired" },
    detail: `Payment ${paymentId} was given back (${releaseReason ?? "lease_expired"}): nothing was charged, and nothing may be delivered for it.`,
  });
}

function paymentHeaders(paymentId: string, settlement: SettleResponse | undefined): Record<string, string> {
  return { "Tallystick-Payment-Id": paymentId, ...(settlement === undefined ? {} : { "PAYMENT-RESPONSE": encodePaymentResponseHeader(settlement) }) };
}

/** A refusal as the buyer is to hear it; 402 with the terms. */
async function refusal(deps: GatewayDeps, { service: asked, resource, agreed }: Offer, paymentId: string, error: TallystickError, outcome: Refused["outcome"]): Promise<Refused> {
  const said = (status: number, headers: Record<string, string>, problem: Record<string, unknown>): Refused => ({ outcome, code: error.code, answer: { status, headers, bodyBase64: Buffer.from(JSON.stringify(problem)).toString("base64") } });
  if (error.status === 402) {
    const service = agreed === undefined || agreed.over !== undefined ? asked : agreed.service;
    const { headers, problem } = await challengeOf(deps, { service, url: resource, paymentId, problem: error, ...(agreed === undefined ? {} : { extensions: await sessionExtension(deps, agreed) }) });
    return said(402, headers, problem);
  }
  const retryAfter = error.extra["retryAfterS"];
  const headers = { "Cache-Control": "no-store", "Content-Type": "application/problem+json", "Tallystick-Payment-Id": paymentId, ...(typeof retryAfter === "number" ? { "Retry-After": String(retryAfter) } : {}) };
  return said(error.status, headers, { ...toProblem(error), paymentId });
}
