// The scheme `exact`: one EIP-3009 transfer a call. Verify -> reserve the nonce -> upstream -> store the answer, withheld -> settle ->
// answer. While settling fails, the answer stays withheld and settling goes on until validBefore.
import type { PaymentRequirements, SettleResponse } from "@x402/core/types";
import { setTimeout as sleep } from "node:timers/promises";
import type { Address } from "viem";
import { TallystickError } from "../../../../sdk/src/errors.ts";
import { violatedConstraint } from "../../db/pool.ts";
import type { Deps } from "../../deps.ts";
import { newPaymentId } from "../../payment-id.ts";
import { EVENT } from "../../telemetry/log.ts";
import { checkAuthorization, checkAuthorizationTerms, checkSigned, exactFault, type Wanted } from "../exact/authorization.ts";
import * as payments from "../exact/payment-store.ts";
import { admit } from "../firewall/gate.ts";
import { ownerOf } from "../firewall/registry.ts";
import type { ExactPayment, ExactRequest } from "../exact/payment-store.ts";
import { decodeExactPayload } from "../exact/schemas.ts";
import { settleAuthorization, sweepQueue } from "../exact/service.ts";
import { findSettlement } from "../exact/store.ts";
import type { Authorization, Settled } from "../exact/types.ts";
import * as ledger from "../ledger/service.ts";
import { limitStoredAnswers } from "../answers/service.ts";
import { findAnswer, sealDelivery } from "../ledger/answer-store.ts";
import type { Answer, Delivery } from "../ledger/types.ts";
import type { GatewayDeps, OpenPayment, Opened, Order, Rail, Sale } from "./rail.ts";
import { directReceipt, receiptExtensions } from "./receipts.ts";
import type { Service } from "./store.ts";

export const exactRail: Rail = { scheme: "exact", terms, open, resume };

/** What a lease adds to the upstream's time limit. */
const LEASE_MARGIN_MS = 15_000;
/** How long the same payment waits for its first attempt. */
const BUSY_WAIT_MS = 3_000;
const BUSY_POLL_MS = 25;
const AT = "payload.authorization";

function terms({ config }: Pick<Deps, "config">, service: Service, paymentId: string): PaymentRequirements {
  return {
    scheme: "exact",
    network: config.network,
    amount: service.price.toString(),
    asset: service.token,
    payTo: service.receiver,
    // The authorisation has to outlive the upstream and the transaction.
    maxTimeoutSeconds: maxTimeoutSeconds(service.upstreamTimeoutMs),
    extra: { name: config.token.name, version: config.token.version, assetTransferMethod: "eip3009", paymentId },
  };
}

const maxTimeoutSeconds = (upstreamTimeoutMs: number): number => Math.ceil(upstreamTimeoutMs / 1000) + 60;

async function open(deps: GatewayDeps, order: Order): Promise<Opened> {
  const authorization = decodeExactPayload(order.envelope.payload);
  const { service } = order;
  const request: ExactRequest = {
    paymentId: order.paymentId, authorization, token: service.token, service: service.name, resource: order.resource, price: service.price, requestHash: order.requestHash, clientId: order.clientId,
  };
  const known = await knownPayment(deps, request);
  if (known !== undefined) return again(deps, request, known, service);
  return openNew(deps, request, service);
}

async function openNew(deps: GatewayDeps, request: ExactRequest, service: Service): Promise<Opened> {
  const { authorization, token } = request;
  checkAuthorizationTerms(deps, authorization, wantedOf(deps, service));
  // In flight for another seller that asked our facilitator: it cannot pay twice.
  const carried = await findSettlement(deps.db, { token, payer: authorization.from, nonce: authorization.nonce });
  const { used, balance } = await checkAuthorization(deps, authorization).catch((error: unknown) => recordAndThrow(deps, request, error));
  if (used || carried !== undefined) return refuseUsed(deps, request);
  await ledger.limitUnbilledRuns(deps, authorization.from);
  await limitStoredAnswers(deps, authorization.from);
  const { paymentId, requestHash, resource, price } = request;
  await admit(deps, {
    identity: { scheme: "exact", token, nonce: authorization.nonce, requestHash }, paymentId, payer: authorization.from, payee: authorization.to as Address, service: service.name, serviceOwner: ownerOf(service), resource, price,
  });
  return reserve(deps, request, balance, service);
}

/** The money must have moved, or be unable to, while the answer is kept. */
function wantedOf({ config }: Pick<Deps, "config">, { receiver, price, upstreamTimeoutMs }: Service): Wanted {
  return { payTo: receiver, amount: price, mostAheadS: Math.max(config.limits.answerTtlS, maxTimeoutSeconds(upstreamTimeoutMs) + 60) };
}

/** Money rule 5: what is refused after a valid signature leaves a row. */
async function recordAndThrow(deps: GatewayDeps, { paymentId, authorization, service, price }: ExactRequest, error: unknown): Promise<never> {
  if (error instanceof TallystickError && error.status === 402 && !UNSIGNED.has(error.code)) {
    await ledger.recordRefusal(deps, { paymentId, channelId: undefined, payer: authorization.from, payee: authorization.to, service }, error.code, { nonce: authorization.nonce, price: price.toString() });
  }
  throw error;
}
/** Anybody can be named as the payer of these. */
const UNSIGNED = new Set(["authorization_signature_invalid", "wallet_not_deployed"]);

async function knownPayment(deps: Deps, { clientId, authorization, service, token, requestHash }: ExactRequest): Promise<ExactPayment | undefined> {
  const named = clientId === undefined ? undefined : await payments.findByClientId(deps.db, authorization.from, service, clientId);
  if (named !== undefined && named.requestHash !== requestHash) {
    throw new TallystickError({ code: "payment_identifier_conflict", status: 409, retry: "never", field: "extensions.payment-identifier.info.id", detail: `Payment identifier ${clientId} was used with another request.` });
  }
  return named ?? payments.findByNonce(deps.db, token, authorization.from, authorization.nonce);
}

async function reserve(deps: GatewayDeps, request: ExactRequest, balance: bigint, service: Service): Promise<Opened> {
  try {
    if (!(await payments.reserve(deps.db, request, balance, service.upstreamTimeoutMs + LEASE_MARGIN_MS))) {
      const promised = exactFault("insufficient_funds", `${AT}.value`, `The payer holds ${balance}, and calls under way are paid from it; this one costs ${request.price} more.`);
      return await recordAndThrow(deps, request, promised);
    }
  } catch (error) {
    const constraint = violatedConstraint(error);
    if (constraint === "payment_pkey") return reserve(deps, { ...request, paymentId: newPaymentId() }, balance, service);
    if (constraint !== "payment_authorization" && constraint !== "payment_client_id_by_payer") throw error;
    const known = await knownPayment(deps, request);
    if (known !== undefined) return again(deps, request, known, service);
    return reserve(deps, request, balance, service); // released in between
  }
  deps.reached("exact.reserved");
  const { paymentId, price } = request;
  deps.log.info({ event: EVENT.paymentReserved, paymentId, scheme: "exact", service: service.name, priceAtomic: price.toString() }, "reserved");
  return { outcome: "open", payment: openPayment(deps, request) };
}

/**
 * Money rule 2: the same payment for the same request gets the same answer. Once broadcast, the authorisation is public: then it
 * alone proves nothing, and the answer needs the payment-identifier it was bought with.
 */
async function again(deps: GatewayDeps, request: ExactRequest, known: ExactPayment, service: Service): Promise<Opened> {
  await mustBeTheirs(deps, request, known);
  const current = await whileReserved(deps, known);
  if (current.requestHash !== request.requestHash) return refuseUsed(deps, request);
  if (current.state === "released") return openNew(deps, request, service); // its nonce is free again, when the chain agrees
  if (current.state === "reserved") {
    throw new TallystickError({ code: "payment_in_progress", status: 503, retry: "safe", detail: `Payment ${current.paymentId} is still being served; send the same payment again.`, extra: { retryAfterS: 1 } });
  }
  const identified = request.clientId !== undefined && request.clientId === current.clientId;
  if (current.state === "charged" && !identified) return refuseUsed(deps, request);
  const sale = await finish(deps, current);
  if (!identified) throw pending(current.paymentId, sale.settlement?.transaction ?? "");
  deps.metrics.payments.inc({ outcome: "replayed" });
  deps.log.info({ event: EVENT.paymentReplayed, paymentId: current.paymentId }, "same payment, same answer, no charge");
  return { outcome: "sold", sale };
}

/** Whoever repeats a payment must be able to sign it: a header made up around a nonce seen on chain learns nothing. */
async function mustBeTheirs(deps: GatewayDeps, { authorization }: ExactRequest, { authorization: stored }: ExactPayment): Promise<void> {
  if (authorization.nonce !== stored.nonce || authorization.signature.toLowerCase() !== stored.signature.toLowerCase()) await checkSigned(deps, authorization);
}

async function whileReserved(deps: Deps, known: ExactPayment): Promise<ExactPayment> {
  let payment = known;
  for (const deadline = Date.now() + BUSY_WAIT_MS; payment.state === "reserved" && Date.now() < deadline; ) {
    await sleep(BUSY_POLL_MS);
    payment = (await payments.findExact(deps.db, payment.paymentId)) ?? payment;
  }
  return payment;
}

async function refuseUsed(deps: GatewayDeps, { paymentId, authorization, service, price }: Pick<ExactRequest, "paymentId" | "authorization" | "service" | "price">): Promise<never> {
  const refused = exactFault("authorization_used", `${AT}.nonce`, "This authorisation has been used; sign one with a fresh nonce.");
  await ledger.recordRefusal(deps, { paymentId, channelId: undefined, payer: authorization.from, payee: authorization.to, service }, refused.code, { nonce: authorization.nonce, price: price.toString() });
  throw refused;
}

type Held = Pick<ExactRequest, "paymentId" | "authorization" | "service" | "price" | "requestHash">;

function openPayment(deps: GatewayDeps, { paymentId, authorization, service, price, requestHash }: Held): OpenPayment {
  return {
    paymentId, payer: authorization.from, service, price, requestHash,
    async charge(delivery: Delivery) {
      // The transfer is for the whole price and cannot be changed: a provider that wants less has to sell by channel.
      if (delivery.amount !== price) deps.log.warn({ event: EVENT.paymentCharged, paymentId, asked: delivery.amount.toString(), priceAtomic: price.toString() }, "exact pays the price, whatever the service asked for");
      const kept = await payments.store(deps.db, paymentId, sealDelivery(deps, paymentId, delivery), deps.config.limits.answerTtlS);
      if (kept === "stored") deps.reached("exact.stored");
      if (kept === "told") {
        await ledger.giveBack(deps, paymentId, "authorization_used");
        return refuseUsed(deps, { paymentId, authorization, service, price });
      }
      if (kept === "gone") throw new TallystickError({ code: "reservation_expired", status: 503, retry: "safe", detail: "The answer came after the reservation had run out; nothing was charged." });
      return finish(deps, (await payments.findExact(deps.db, paymentId))!);
    },
    async abandon(reason) {
      await ledger.giveBack(deps, paymentId, reason);
      return undefined;
    },
  };
}

async function resume(deps: GatewayDeps, paymentId: string): Promise<Opened | undefined> {
  const payment = await payments.findExact(deps.db, paymentId);
  if (payment === undefined || payment.state === "released") return undefined;
  if (payment.state === "reserved") return { outcome: "open", payment: openPayment(deps, payment) };
  return { outcome: "sold", sale: await finish(deps, payment) };
}

/** Settles what is stored and hands it out. @throws 503 `settlement_pending` (safe), 402 when the money can never move. */
async function finish(deps: GatewayDeps, payment: ExactPayment): Promise<Sale> {
  const txHash = payment.settledTx ?? (await moveMoney(deps, payment));
  const answer = await findAnswer(deps, payment.paymentId);
  if (answer === undefined) throw new TallystickError({ code: "answer_expired", status: 410, retry: "never", detail: `The answer of payment ${payment.paymentId} is no longer kept.` });
  return saleOf(deps, payment, txHash, answer);
}

async function moveMoney(deps: GatewayDeps, payment: ExactPayment): Promise<`0x${string}`> {
  const settled = await settleStored(deps, payment).catch((error: unknown) => {
    // Ours, and the answer is stored: whoever signed another payment now would pay twice.
    if (error instanceof TallystickError && error.status >= 500) throw pending(payment.paymentId, "", error);
    throw error;
  });
  if (settled.status === "settled") return settled.txHash;
  if (settled.status === "pending") throw pending(payment.paymentId, settled.txHash ?? "");
  if (!settled.final) throw pending(payment.paymentId, "");
  throw exactFault(settled.reason, AT, `The payment could not be settled (${settled.reason}); nothing was charged and nothing is delivered.`);
}

/** One attempt to settle a stored payment, with its outcome written down. */
export async function settleStored(deps: GatewayDeps, { paymentId, authorization, service, price }: ExactPayment, waitMs?: number): Promise<Settled> {
  const settled = await settleAuthorization(deps, authorization, { paymentId, ...(waitMs === undefined ? {} : { waitMs }) });
  if (settled.status === "settled" && (await payments.markSettled(deps.db, paymentId, settled.txHash))) {
    deps.reached("exact.settled");
    deps.metrics.payments.inc({ outcome: "charged" });
    deps.metrics.chargedAtomic.inc(Number(price));
    deps.log.info({ event: EVENT.paymentCharged, paymentId, scheme: "exact", service, chargedAtomic: price.toString(), txHash: settled.txHash }, "charged");
  }
  if (settled.status === "failed" && settled.final && (await payments.markNever(deps.db, paymentId, `settlement_${settled.reason}`))) {
    deps.metrics.payments.inc({ outcome: "released" });
    deps.log.warn({ event: EVENT.paymentReleased, paymentId, reason: settled.reason }, "the money can no longer move: nothing charged, nothing delivered");
  }
  return settled;
}

const SETTLE_BATCH = 500;
/** Long enough for a transaction on a quick chain; what takes longer is looked at again. */
const SWEEP_WAIT_MS = 3_000;

/** For the sweeper of every process: what a crash or a slow chain left stored and unsettled. */
export async function settleWithheld(deps: GatewayDeps): Promise<void> {
  const taken = await payments.takeSettling(deps.db, SETTLE_BATCH);
  await Promise.all([sweepQueue(deps), ...taken.map((payment) => settleStored(deps, payment, SWEEP_WAIT_MS).catch((err: unknown) => deps.log.warn({ event: EVENT.failure, paymentId: payment.paymentId, err }, "not settled yet; tried again soon")))]);
}

function pending(paymentId: string, txHash: string, cause?: unknown): TallystickError {
  return new TallystickError({
    code: "settlement_pending",
    status: 503,
    retry: "safe",
    detail: `Payment ${paymentId} is being settled; send the same payment again, do not sign another.`,
    extra: { retryAfterS: 2, x402Error: "settlement_pending", ...(txHash === "" ? {} : { txHash }) },
    cause,
  });
}

async function saleOf(deps: GatewayDeps, payment: ExactPayment, txHash: `0x${string}`, answer: Answer): Promise<Sale> {
  return { answer, paymentId: payment.paymentId, settlement: { ...settlement(deps, payment, payment.authorization, txHash), ...(await extensions(deps, payment)) } };
}

function settlement({ config }: Pick<Deps, "config">, { paymentId, price }: ExactPayment, { from }: Authorization, txHash: string): SettleResponse {
  return { success: true, payer: from, transaction: txHash, network: config.network, amount: price.toString(), extra: { chargedAmount: price.toString(), paymentId } };
}

async function extensions(deps: GatewayDeps, payment: ExactPayment): Promise<{ extensions?: Record<string, unknown> }> {
  const { outputHash, startedAt, endedAt, authorization, token, paymentId, resource, requestHash, price, agreed } = payment;
  if (outputHash === undefined || startedAt === undefined || endedAt === undefined) return {};
  const facts = { paymentId, scheme: "exact", resource, payer: authorization.from, receiver: authorization.to as Address, token, requestHash, amount: price, outputHash, startedAt, endedAt, agreed };
  const extensions = await receiptExtensions(deps, directReceipt(deps, facts));
  return extensions === undefined ? {} : { extensions };
}
