// One paid call, from its header to its answer: decode -> match the terms -> verify the voucher -> (carry the deposit) ->
// reserve -> run the upstream -> charge and store in one commit -> answer. Every exit before the charge charges nothing.
import type { PaymentRequirements, SettleResponse } from "@x402/core/types";
import { extractPaymentIdentifier, isValidPaymentId } from "@x402/extensions/payment-identifier";
import type { Address, Hex } from "viem";
import { TallystickError } from "../../../../sdk/src/errors.ts";
import type { Hasher } from "../../crypto/voucher.ts";
import type { Deps } from "../../deps.ts";
import { paymentIdFrom } from "../../payment-id.ts";
import { EVENT } from "../../telemetry/log.ts";
import { assertChainFresh } from "../channels/freshness.ts";
import * as channels from "../channels/service.ts";
import { findChannel, unknownChannel, type Channel } from "../channels/store.ts";
import { decide } from "../ledger/logic.ts";
import * as ledger from "../ledger/service.ts";
import type { Answer, Payment, PaymentRequest } from "../ledger/types.ts";
import { forwardable, privateCacheControl, requestHash } from "./logic.ts";
import { refusalFault } from "./refusals.ts";
import { decodeEnvelope, decodeSchemePayload, type Envelope, type SchemePayload } from "./schemas.ts";
import { findService, listServices, upsertService, type Service } from "./store.ts";
import { channelState, checkAccepted, checkConfig, fault, termsOf, X402_ERROR } from "./terms.ts";

/** An HTTP call on a service, already normalised. */
export type Call = {
  method: string;
  /** Path and query below /s/<service>. */
  path: string;
  headers: Record<string, string | string[] | undefined>;
  body: Buffer;
  /** Aborts when the client goes away before it was answered. */
  signal: AbortSignal;
};

/** What the route sends: the answer, and the settle response when a payment took part. */
export type Sale = { answer: Answer; settlement: SettleResponse | undefined; paymentId: string };

export type GatewayDeps = Deps & { hasher: Hasher };

/** Saves the configured services; the table is what the gateway sells from. */
export async function configureServices(deps: Deps): Promise<void> {
  for (const service of deps.config.services) await upsertService(deps.db, service, deps.config.token.address);
}

export async function services(deps: Deps): Promise<Service[]> {
  return listServices(deps.db);
}

/** @throws TallystickError 404 `service_unknown`. */
export async function serviceNamed(deps: Deps, name: string): Promise<Service> {
  const service = await findService(deps.db, name);
  if (service !== undefined) return service;
  throw new TallystickError({ code: "service_unknown", status: 404, retry: "never", field: "service", detail: `No service is called ${name}.` });
}

/** Decodes a payment far enough to know its id, so that even its refusal carries it. */
export function readPayment(header: string): { envelope: Envelope; payload: SchemePayload; paymentId: string } {
  const envelope = decodeEnvelope(header);
  const payload = decodeSchemePayload(envelope.payload);
  return { envelope, payload, paymentId: paymentIdFrom(envelope.accepted.extra?.["paymentId"]) };
}

type Purchase = { service: Service; call: Call; payload: SchemePayload; terms: PaymentRequirements; request: PaymentRequest };

/** Sells one call. @throws TallystickError 402 for the buyer's faults (with terms added by the route), 5xx for ours. */
export async function buy(deps: GatewayDeps, service: Service, call: Call, payment: ReturnType<typeof readPayment>): Promise<Sale> {
  const { envelope, payload, paymentId } = payment;
  const terms = termsOf(deps.config, service, deps.keyring.active, paymentId);
  checkAccepted(envelope.accepted, terms);
  checkConfig(payload.config, terms, deps.keyring.has(payload.config.receiverAuthorizer));
  const channelId = checkChannelId(deps, payload);
  assertChainFresh(deps);
  await checkVoucher(deps, payload, channelId);
  const request = {
    paymentId,
    channelId,
    payer: payload.config.payer,
    ceiling: payload.voucher.ceiling,
    signature: payload.voucher.signature,
    service: service.name,
    price: service.price,
    requestHash: requestHash(call.method, service.name, call.path, String(call.headers["content-type"] ?? ""), call.body),
    clientId: clientIdOf(envelope),
    deposit: undefined,
  };
  const purchase: Purchase = { service, call, payload, terms, request };
  return payload.type === "refund" ? refund(deps, purchase, payload.amount) : pay(deps, purchase);
}

function checkChannelId(deps: GatewayDeps, payload: SchemePayload): Hex {
  const channelId = deps.hasher.channelId(payload.config);
  if (channelId === payload.voucher.channelId) return channelId;
  throw fault({
    code: "channel_id_mismatch",
    field: "payload.voucher.channelId",
    x402Error: X402_ERROR.channelIdMismatch,
    detail: `payload.voucher.channelId is ${payload.voucher.channelId}, its channelConfig hashes to ${channelId} on ${deps.config.network}.`,
  });
}

async function checkVoucher(deps: GatewayDeps, payload: SchemePayload, channelId: Hex): Promise<void> {
  const { payerAuthorizer } = payload.config;
  if (payerAuthorizer === ZERO_ADDRESS) throw refusalFault("contract_wallet_unsupported", undefined, payload.voucher.ceiling, 0n);
  const signer: Address | undefined = await deps.hasher.voucherSigner(channelId, payload.voucher.ceiling, payload.voucher.signature);
  if (signer === payerAuthorizer) return;
  throw fault({
    code: "voucher_signature_invalid",
    field: "payload.voucher.signature",
    x402Error: X402_ERROR.voucherSignature,
    detail: `payload.voucher.signature is not payerAuthorizer ${payerAuthorizer}'s signature of this voucher (65 bytes, v 27 or 28, low s).`,
  });
}
const ZERO_ADDRESS = "0x0000000000000000000000000000000000000000";

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

async function pay(deps: GatewayDeps, purchase: Purchase): Promise<Sale> {
  const request = purchase.payload.type === "deposit" ? await withDeposit(deps, purchase) : purchase.request;
  await ensureChannel(deps, purchase);
  await ledger.limitUnbilledRuns(deps, request.payer);
  const taken = await ledger.take(deps, request, purchase.service.upstreamTimeoutMs);
  if (taken.outcome === "refused") return refuse(deps, request, taken.refusal, taken.channel);
  if (taken.outcome === "replay") return replayed(deps, taken.payment, taken.answer);
  deps.log.info({ event: EVENT.paymentReserved, paymentId: taken.payment.paymentId, channelId: request.channelId, service: request.service, priceAtomic: request.price.toString() }, "reserved");
  return deliver(deps, purchase, taken.payment);
}

/** Puts the deposit on chain first: only a confirmed balance counts. */
async function withDeposit(deps: GatewayDeps, purchase: Purchase): Promise<PaymentRequest> {
  const { payload, request } = purchase;
  if (payload.type !== "deposit") throw new Error("invariant: a deposit payload");
  const { amount, authorization } = payload.deposit;
  await refuseHopelessDeposit(deps, purchase, amount);
  const carried = await channels.carryDeposit(deps, { channelId: request.channelId, config: payload.config, amount, authorization, paymentId: request.paymentId });
  return { ...request, deposit: { hash: carried.txHash, amount } };
}

/** A voucher that could not pay even with its deposit is refused before money moves. A payment we know is a repetition: its deposit is done. */
async function refuseHopelessDeposit(deps: GatewayDeps, { payload, request }: Purchase, amount: bigint): Promise<void> {
  const known = await findChannel(deps.db, request.channelId);
  if (known !== undefined && (await ledger.isKnown(deps, request))) return;
  const channel = known ?? unknownChannel(request.channelId, payload.config, await channels.readOne(deps, request.channelId));
  const decision = decide({ ...channel, balance: channel.balance + amount }, request.ceiling, request.price);
  if (decision.accept || decision.refusal === "channel_busy") return;
  if (known !== undefined) await refuse(deps, request, decision.refusal, known);
  throw refusalFault(decision.refusal, channel, request.ceiling, request.price);
}

async function deliver(deps: GatewayDeps, { service, call }: Purchase, payment: PaymentRequest): Promise<Sale> {
  let answer: Answer;
  try {
    answer = await runUpstream(deps, service, call, payment.paymentId);
  } catch (error) {
    await ledger.giveBack(deps, payment.paymentId, call.signal.aborted ? "client_gone" : error instanceof TallystickError ? error.code : "failure");
    throw error;
  }
  if (answer.status >= 400) {
    await ledger.giveBack(deps, payment.paymentId, `upstream_${answer.status}`);
    return { answer, settlement: await depositOnly(deps, payment), paymentId: payment.paymentId };
  }
  // The client left before anything was charged: it is not charged. From the commit on it is, and can fetch the answer.
  if (call.signal.aborted) {
    await ledger.giveBack(deps, payment.paymentId, "client_gone");
    throw new TallystickError({ code: "client_gone", status: 499, retry: "safe", detail: "The client closed the connection; nothing was charged." });
  }
  const charged = await ledger.charge(deps, payment, payment.price, answer);
  if (charged === undefined) {
    throw new TallystickError({ code: "reservation_expired", status: 503, retry: "safe", detail: "The answer came after the reservation had run out; nothing was charged." });
  }
  deps.metrics.payments.inc({ outcome: "charged" });
  deps.log.info({ event: EVENT.paymentCharged, paymentId: payment.paymentId, channelId: payment.channelId, service: payment.service, chargedAtomic: payment.price.toString() }, "charged");
  return { answer, settlement: await settlementOf(deps, charged), paymentId: payment.paymentId };
}

async function runUpstream(deps: Deps, service: Service, call: Call, paymentId: string): Promise<Answer> {
  const response = await deps.outbound.fetch({
    method: call.method,
    url: service.origin + call.path,
    headers: { ...forwardable(call.headers), "tallystick-payment-id": paymentId },
    ...(call.body.length === 0 ? {} : { body: call.body }),
    timeoutMs: service.upstreamTimeoutMs,
    maxBytes: deps.config.limits.answerBytes,
    signal: call.signal,
  });
  if (response.status === 402) {
    throw new TallystickError({ code: "upstream_payment_required", status: 502, retry: "never", detail: "The service itself asked for a payment; nothing was charged." });
  }
  const headers = forwardable(response.headers);
  return { status: response.status, headers: { ...headers, "cache-control": privateCacheControl(headers["cache-control"]) }, body: response.body };
}

async function replayed(deps: Deps, payment: Payment, answer: Answer): Promise<Sale> {
  deps.metrics.payments.inc({ outcome: "replayed" });
  deps.log.info({ event: EVENT.paymentReplayed, paymentId: payment.paymentId }, "same payment, same answer, no charge");
  return { answer, settlement: await settlementOf(deps, payment), paymentId: payment.paymentId };
}

async function refuse(deps: Deps, request: PaymentRequest, refusal: Parameters<typeof refusalFault>[0], channel: Channel): Promise<never> {
  const refused = refusalFault(refusal, channel, request.ceiling, request.price);
  await ledger.recordRefusal(deps, request, refused.code, {
    ceiling: request.ceiling.toString(),
    price: request.price.toString(),
    charged: channel.charged.toString(),
    reserved: channel.reserved.toString(),
    balance: channel.balance.toString(),
  });
  throw refused;
}

/** The PAYMENT-RESPONSE of a charged payment; the same on a replay. */
async function settlementOf(deps: Deps, payment: Payment): Promise<SettleResponse> {
  const channel = await findChannel(deps.db, payment.channelId);
  if (channel === undefined || payment.charged === undefined || payment.chargedCumulative === undefined) throw new Error("invariant: a charged payment has a channel");
  return settlement(deps, payment, channel, payment.charged, payment.chargedCumulative);
}

/** A deposit that stands although the call failed: the buyer learns of it, charged nothing. */
async function depositOnly(deps: Deps, payment: PaymentRequest): Promise<SettleResponse | undefined> {
  const channel = payment.deposit === undefined ? undefined : await findChannel(deps.db, payment.channelId);
  return channel === undefined ? undefined : settlement(deps, payment, channel, 0n, channel.charged);
}

function settlement(deps: Deps, payment: PaymentRequest, channel: Channel, charged: bigint, chargedCumulative: bigint): SettleResponse {
  return {
    success: true,
    payer: payment.payer,
    transaction: payment.deposit?.hash ?? "",
    network: deps.config.network,
    amount: payment.deposit?.amount.toString() ?? "",
    extra: { chargedAmount: charged.toString(), paymentId: payment.paymentId, channelState: channelState(channel, chargedCumulative) },
  };
}

/** A channel we do not know is read from the chain once; a voucher on one without balance is refused there. */
async function ensureChannel(deps: Deps, { payload, request }: Purchase): Promise<void> {
  if ((await findChannel(deps.db, request.channelId)) === undefined) await channels.openChannel(deps, payload.config);
}

async function refund(deps: GatewayDeps, purchase: Purchase, amount: bigint | undefined): Promise<Sale> {
  const { payload, request } = purchase;
  await ensureChannel(deps, purchase);
  const channel = await findChannel(deps.db, request.channelId);
  // The payer must agree to what is owed; an old view gets what it needs to catch up.
  if (channel !== undefined && request.ceiling !== channel.charged) return refuse(deps, request, "ceiling_below_charged", channel);
  const done = await channels.refundChannel(deps, { channelId: request.channelId, config: payload.config, amount, voucher: payload.voucher, paymentId: request.paymentId });
  const body = Buffer.from(JSON.stringify({ message: "Refunded", channelId: request.channelId, amountAtomic: done.amount.toString(), transaction: done.txHash }));
  return {
    answer: { status: 200, headers: { "content-type": "application/json", "cache-control": "private" }, body },
    settlement: {
      success: true,
      payer: request.payer,
      transaction: done.txHash,
      network: deps.config.network,
      amount: done.amount.toString(),
      extra: { paymentId: request.paymentId, channelState: channelState(done.channel, done.channel.charged) },
    },
    paymentId: request.paymentId,
  };
}
