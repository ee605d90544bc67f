// One paid call, from its header to its answer: decode -> match our own terms -> open the payment in its scheme -> run the
// upstream -> charge and store in one commit -> answer. Every exit before the charge charges nothing.
import type { PaymentRequirements } from "@x402/core/types";
import { extractPaymentIdentifier, isValidPaymentId } from "@x402/extensions/payment-identifier";
import { TallystickError } from "../../../../sdk/src/errors.ts";
import type { Hex } from "viem";
import type { Deps } from "../../deps.ts";
import { paymentIdFrom } from "../../payment-id.ts";
import { contentTypeOf } from "../ledger/logic.ts";
import { stopOf } from "../firewall/gate.ts";
import { approval } from "../audit/approval.ts";
import type { Delivery } from "../ledger/types.ts";
import { requestHash } from "./logic.ts";
import { pauseOf } from "./pause.ts";
import type { GatewayDeps, OpenPayment, Opened, Sale } from "./rail.ts";
import { railOf, schemesOf } from "./rails.ts";
import { decodeEnvelope, type Envelope } from "./schemas.ts";
import { deliverStream } from "./streaming.ts";
import { listServices, upsertService, type Service } from "./store.ts";
import { checkAccepted, schemeFault } from "./terms.ts";
import { deliveryOf, openUpstream, type Call, type UpstreamRun } from "./upstream.ts";

export type { Call } from "./upstream.ts";

/** Saves the configured services; the table is what the gateway sells from. */
export async function configureServices(deps: Deps): Promise<void> {
  for (const service of deps.config.services) await upsertService(deps.db, service, deps.config.token.address);
}

export async function services(deps: Deps): Promise<Service[]> {
  return listServices(deps.db);
}

/** @throws TallystickError 404 `service_unknown`. */
export async function serviceNamed(deps: GatewayDeps, name: string): Promise<Service> {
  const service = await deps.catalog.find(name);
  if (service !== undefined) return service;
  throw new TallystickError({ code: "service_unknown", status: 404, retry: "never", field: "service", detail: `No service is called ${name}.` });
}

/** A service that the gateway itself runs. @throws TallystickError 404 `service_unknown`, `service_self_hosted`. */
export async function gatewayService(deps: GatewayDeps, name: string): Promise<Service> {
  const service = await serviceNamed(deps, name);
  if (service.url === undefined) return service;
  throw new TallystickError({ code: "service_self_hosted", status: 404, retry: "never", field: "service", detail: `${name} is sold by its provider's own server: ${service.url}`, extra: { url: service.url } });
}

/** Public path of a call: what is bought, and what its hash covers. */
export const targetOf = (service: Pick<Service, "name">, path: string): string => `/s/${service.name}${path}`;

/** `standing`: made here, of a voucher that was left for a session. */
export type ReadPayment = { envelope: Envelope; paymentId: string; standing?: { clientId: string | undefined } };

/** Decodes a payment far enough to know its id, so that even its refusal carries it. @throws 400 that names the field. */
export function readPayment(header: string): ReadPayment {
  const envelope = decodeEnvelope(header);
  return { envelope, paymentId: paymentIdFrom(envelope.accepted.extra?.["paymentId"]) };
}

/** What is bought, whoever runs it: the gateway's upstream, or a provider's own server. */
export type Purchase = { service: Service; resource: string; requestHash: Hex };

/** Sets the price aside, or finds that nothing is left to run. @throws as Rail.open. */
export async function openPurchase(deps: GatewayDeps, purchase: Purchase, { envelope, paymentId, standing }: ReadPayment): Promise<Opened> {
  const rail = railOf(String(envelope.accepted.scheme), purchase.service);
  if (rail === undefined) throw schemeFault(envelope.accepted.scheme, schemesOf(purchase.service));
  const terms = rail.terms(deps, purchase.service, paymentId);
  checkAccepted(envelope.accepted, atPriceOf(envelope.accepted, terms, purchase.service));
  const opened = await rail.open(deps, { ...purchase, envelope, terms, paymentId, ...(standing === undefined ? { clientId: clientIdOf(envelope) } : { clientId: standing.clientId, standing: true }) });
  // Only now is it known whether this is new, or an answer that was paid for before.
  const pause = opened.outcome === "open" && opened.payment.stream?.owed !== true ? pauseOf(purchase.service) : undefined;
  if (opened.outcome === "open" && pause !== undefined) {
    await opened.payment.abandon("service_paused");
    throw pause;
  }
  if (opened.outcome === "open" && opened.payment.stream?.owed !== true) deps.audit.record(approval({ ...opened.payment, payee: purchase.service.receiver }));
  return opened;
}

/** Calls of a session cost less by volume, so a payment may come at the price of a call before or after it; what is charged the ledger says. */
function atPriceOf(accepted: Envelope["accepted"], terms: PaymentRequirements, { agreed }: Service): PaymentRequirements {
  const { amount } = accepted;
  return agreed?.prices.some((price) => price.toString() === amount) === true ? { ...terms, amount } : terms;
}

function clientIdOf(envelope: Envelope): string | undefined {
  const id = extractPaymentIdentifier(envelope as Parameters<typeof extractPaymentIdentifier>[0], false);
  if (id === null) return undefined;
  if (isValidPaymentId(id)) return id;
  throw new TallystickError({
    code: "payment_malformed",
    status: 400,
    retry: "never",
    field: "extensions.payment-identifier.info.id",
    detail: "A payment identifier has 16 to 128 characters of A-Z, a-z, 0-9, dash and underscore.",
  });
}

/** Sells one call. @throws TallystickError 402 for the buyer's faults (with terms added by the route), 5xx for ours. */
export async function buy(deps: GatewayDeps, service: Service, call: Call, payment: ReadPayment): Promise<Sale> {
  const opened = await openPurchase(deps, purchaseOf(deps, service, call), payment);
  return opened.outcome === "sold" ? opened.sale : deliver(deps, service, call, opened.payment);
}

export function purchaseOf(deps: Pick<Deps, "config">, service: Service, call: Omit<Call, "signal">): Purchase {
  const target = targetOf(service, call.path);
  return { service, resource: deps.config.publicUrl + target, requestHash: requestHash(call.method, target, contentTypeOf(call.headers), call.body) };
}

/** Runs the upstream for an open payment and charges what was delivered. */
export async function deliver(deps: GatewayDeps, service: Service, call: Call, payment: OpenPayment): Promise<Sale> {
  let run: UpstreamRun;
  let delivery: Delivery;
  // A month is charged with the whole answer, so one that streams is read first. What was paid before is of one call.
  const period = payment.prepaid === true ? undefined : service.subscription;
  try {
    const { streams, ...whole } = call;
    // Within a session the ledger's price is the one that counts, whatever the terms said.
    const sold = payment.price < service.price && payment.prepaid !== true ? { ...service, price: payment.price } : service;
    run = await openUpstream(deps, sold, payment.stream === undefined || streams === undefined || period !== undefined ? whole : call, payment.paymentId);
    if (payment.stream !== undefined && run.streams) return await deliverStream(deps, service, call, payment, payment.stream, run);
    delivery = await deliveryOf(deps, run);
    if (period !== undefined) delivery = { ...delivery, amount: payment.price, periodS: period.periodS };
  } catch (error) {
    await payment.abandon(call.signal.aborted ? "client_gone" : error instanceof TallystickError ? error.code : "failure");
    throw error;
  }
  if (delivery.answer.status >= 400) {
    return { answer: delivery.answer, settlement: await payment.abandon(`upstream_${delivery.answer.status}`), paymentId: payment.paymentId };
  }
  // The client left before anything was charged: it is not charged. From the commit on it is, and can fetch the answer.
  if (call.signal.aborted) {
    await payment.abandon("client_gone");
    throw new TallystickError({ code: "client_gone", status: 499, retry: "safe", detail: "The client closed the connection; nothing was charged." });
  }
  // A kill switch went on meanwhile: nothing is charged, and the answer stays here.
  const asked = payment.prepaid === true || payment.stream?.owed === true ? undefined : stopOf(deps, payment, service);
  const stop = asked instanceof Promise ? await asked : asked;
  if (stop !== undefined) {
    await payment.abandon("firewall_stop");
    throw stop;
  }
  return payment.charge(delivery);
}
