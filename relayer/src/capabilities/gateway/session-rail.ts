// The scheme `batch-settlement`: vouchers on a channel. Decode -> match the terms -> verify the voucher -> (carry the deposit) ->
// reserve; charge and answer in one commit.
import type { SettleResponse } from "@x402/core/types";
import type { Hex } from "viem";
import { TallystickError } from "../../../../sdk/src/errors.ts";
import type { ChannelConfig } from "../../../../sdk/src/typed-data.ts";
import { EVENT } from "../../telemetry/log.ts";
import { assertChainFresh } from "../channels/freshness.ts";
import * as channels from "../channels/service.ts";
import { admit, type Asked } from "../firewall/gate.ts";
import { ownerOf } from "../firewall/registry.ts";
import { findChannel, unknownChannel, type Channel } from "../channels/store.ts";
import { decide, framedHash } from "../ledger/logic.ts";
import * as ledger from "../ledger/service.ts";
import { findAnswer } from "../ledger/answer-store.ts";
import { findPayment, type Standing } from "../ledger/store.ts";
import type { Answer, Payment, PaymentRequest } from "../ledger/types.ts";
import { endStream, leaseMsOf, MAX_RUNS } from "../streams/service.ts";
import { reopenFixed } from "../streams/store.ts";
import type { GatewayDeps, OpenPayment, Opened, Order, Rail, Sale, StreamSale } from "./rail.ts";
import { BOTH_RECEIPTS, receiptExtensions, receiptWish, sessionReceipt, signReceipt, type ReceiptWish } from "./receipts.ts";
import { refusalFault } from "./refusals.ts";
import { decodeSchemePayload, type SchemePayload } from "./schemas.ts";
import { endOwed } from "./streaming.ts";
import { channelState, checkConfig, fault, sessionTerms, X402_ERROR } from "./terms.ts";

export const sessionRail: Rail = {
  scheme: "batch-settlement",
  terms: (deps, service, paymentId) => sessionTerms(deps.config, service, deps.keyring.active, paymentId),
  open,
  resume,
};

type Purchase = { order: Order; payload: SchemePayload; request: PaymentRequest };

async function open(deps: GatewayDeps, order: Order): Promise<Opened> {
  const payload = decodeSchemePayload(order.envelope.payload);
  checkConfig(payload.config, order.terms, deps.keyring.has(payload.config.receiverAuthorizer));
  const channelId = checkChannelId(deps, payload);
  assertChainFresh(deps);
  await checkVoucher(deps, payload, channelId);
  const request = {
    paymentId: order.paymentId,
    channelId,
    payer: payload.config.payer,
    ceiling: payload.voucher.ceiling,
    signature: payload.voucher.signature,
    service: order.service.name,
    resource: order.resource,
    price: order.service.price,
    requestHash: order.requestHash,
    clientId: order.clientId,
    deposit: undefined,
    session: order.service.agreed?.sessionId,
    ...(order.standing === true ? { sharedVoucher: true } : {}),
  };
  const purchase: Purchase = { order, payload, request };
  return payload.type === "refund" ? { outcome: "sold", sale: await refund(deps, purchase, payload.amount) } : reserve(deps, purchase);
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

const NO_BYTES = new Uint8Array();
const ZERO_ADDRESS = "0x0000000000000000000000000000000000000000";

async function checkVoucher(deps: GatewayDeps, payload: SchemePayload, channelId: Hex): Promise<void> {
  const { payerAuthorizer } = payload.config;
  if (payerAuthorizer === ZERO_ADDRESS) throw refusalFault("contract_wallet_unsupported", undefined, payload.voucher.ceiling, 0n);
  const ours = await deps.hasher.isVoucherOf(payerAuthorizer, channelId, payload.voucher.ceiling, payload.voucher.signature);
  if (ours) return;
  throw fault({
    code: "voucher_signature_invalid",
    field: "payload.voucher.signature",
    x402Error: X402_ERROR.voucherSignature,
    detail: `payload.voucher.signature is not payerAuthorizer ${payerAuthorizer}'s signature of this voucher (65 bytes, v 27 or 28, low s).`,
  });
}

async function reserve(deps: GatewayDeps, purchase: Purchase): Promise<Opened> {
  const request = purchase.payload.type === "deposit" ? await withDeposit(deps, purchase) : purchase.request;
  await ensureChannel(deps, purchase);
  const admitted = () => admit(deps, askedOf(deps, purchase));
  // No promise where no policy is about it.
  const waiting = admitted();
  if (waiting !== undefined) await waiting;
  const taken = await take(deps, purchase, request, admitted);
  if (taken.outcome === "refused") return refuse(deps, request, taken.refusal, taken.channel);
  if (taken.outcome === "replay") {
    deps.metrics.payments.inc({ outcome: "replayed" });
    deps.log.info({ event: EVENT.paymentReplayed, paymentId: taken.payment.paymentId }, "same payment, same answer, no charge");
    return { outcome: "sold", sale: await replayOf(deps, taken.payment, taken.answer, receiptWish(purchase.order.envelope)) };
  }
  if (taken.outcome === "owed") return { outcome: "open", payment: await owedPayment(deps, taken.payment, purchase.order) };
  const { payment } = taken;
  deps.log.debug({ event: EVENT.paymentReserved, paymentId: payment.paymentId, channelId: request.channelId, service: request.service, priceAtomic: request.price.toString() }, "reserved");
  return { outcome: "open", payment: openPayment(deps, payment, purchase.payload.config, receiptWish(purchase.order.envelope)) };
}

/** As the firewall sees it. */
function askedOf(deps: GatewayDeps, { order, payload: { config }, request }: Purchase): Asked {
  const { paymentId, channelId, ceiling, payer, service, resource, price } = request;
  // Calls that share a voucher are approved one by one.
  const requestHash = request.sharedVoucher === true ? framedHash([request.requestHash, request.clientId ?? paymentId], NO_BYTES) : request.requestHash;
  return {
    identity: { scheme: "batch-settlement", channelId, ceiling, requestHash }, paymentId, channelId, payer, payerAuthorizer: config.payerAuthorizer, payee: config.receiver, service, serviceOwner: ownerOf(order.service), resource, price,
    isPaid: () => ledger.isPaid(deps, request),
  };
}

/** Knowing a channel is a memory of this process: a database that lost it says so, and it is read from the chain anew. */
async function take(deps: GatewayDeps, purchase: Purchase, request: PaymentRequest, admitted: () => Promise<void> | undefined): Promise<ledger.Taken> {
  const { upstreamTimeoutMs } = purchase.order.service;
  try {
    return await ledger.take(deps, request, upstreamTimeoutMs, admitted);
  } catch (error) {
    if (!(error instanceof TallystickError) || error.code !== "channel_unknown") throw error;
    deps.knownChannels.delete(request.channelId);
    await ensureChannel(deps, purchase);
    await admitted();
    return ledger.take(deps, request, upstreamTimeoutMs, admitted);
  }
}

function openPayment(deps: GatewayDeps, payment: PaymentRequest, config: ChannelConfig, wish: ReceiptWish): OpenPayment {
  const { paymentId, payer, service, price, requestHash } = payment;
  return {
    paymentId, payer, service, price, requestHash,
    async charge(delivery) {
      const charged = await ledger.charge(deps, payment, delivery);
      if (charged === undefined) {
        throw new TallystickError({ code: "reservation_expired", status: 503, retry: "safe", detail: "The answer came after the reservation had run out; nothing was charged." });
      }
      deps.metrics.payments.inc({ outcome: "charged" });
      // A debug line, as for a reservation: the row is the record, and a line for every call costs a twentieth of it.
      deps.log.debug({ event: EVENT.paymentCharged, paymentId, channelId: payment.channelId, service, chargedAtomic: delivery.amount.toString() }, "charged");
      return saleOf(deps, charged, { config, ...charged.standing }, delivery.answer, wish);
    },
    async abandon(reason) {
      await ledger.giveBack(deps, paymentId, reason);
      return depositOnly(deps, payment);
    },
    stream: streamSale(deps, payment, false),
  };
}

function streamSale(deps: GatewayDeps, payment: PaymentRequest, owed: boolean): StreamSale {
  const channel = () => channelOf(deps, payment);
  return {
    owed,
    settlement: async (charged, cumulative) => settlement(deps, payment, await channel(), charged, cumulative),
    async receipt() {
      const charged = await findPayment(deps.db, payment.paymentId);
      const facts = charged === undefined ? undefined : sessionReceipt(charged, await channel());
      return facts === undefined ? undefined : signReceipt(deps, facts);
    },
  };
}

/** A paid stream that broke off runs again, one attempt at a time; nothing is charged. @throws 503 `payment_in_progress`. */
async function owedPayment(deps: GatewayDeps, payment: Payment, { service, envelope }: Order): Promise<OpenPayment> {
  const { paymentId, payer, price, requestHash } = payment;
  const leaseMs = leaseMsOf(service.upstreamTimeoutMs);
  if (!(await reopenFixed(deps.db, paymentId, MAX_RUNS, deps.config.limits.answerTtlS, leaseMs))) throw ledger.inProgress(paymentId);
  return {
    paymentId, payer, service: service.name, price, requestHash,
    async charge({ answer, startedAt }) {
      const head = { paymentId, unitPrice: undefined, status: answer.status, headers: answer.headers, startedAt };
      const delivered = (await endOwed(deps, paymentId, head, answer.body, leaseMs)) ? await findPayment(deps.db, paymentId) : undefined;
      if (delivered === undefined) throw ledger.inProgress(paymentId);
      return replayOf(deps, delivered, answer, receiptWish(envelope));
    },
    async abandon() {
      await endStream(deps, paymentId, "upstream_broken");
      return undefined;
    },
    stream: streamSale(deps, payment, true),
  };
}

async function resume(deps: GatewayDeps, paymentId: string): Promise<Opened | undefined> {
  const payment = await findPayment(deps.db, paymentId);
  if (payment?.state === "reserved") return { outcome: "open", payment: openPayment(deps, payment, (await channelOf(deps, payment)).config, BOTH_RECEIPTS) };
  const answer = payment?.state === "charged" ? await findAnswer(deps, paymentId) : undefined;
  return payment === undefined || answer === undefined ? undefined : { outcome: "sold", sale: await replayOf(deps, payment, answer, BOTH_RECEIPTS) };
}

/** Puts the deposit on chain first: only a confirmed balance counts. */
async function withDeposit(deps: GatewayDeps, purchase: Purchase): Promise<PaymentRequest> {
  const { payload, request } = purchase;
  if (payload.type !== "deposit") throw new Error("invariant: a deposit payload");
  const { amount, authorization, collector } = payload.deposit;
  await refuseHopelessDeposit(deps, purchase, amount);
  const deposit = { channelId: request.channelId, config: payload.config, amount, authorization, collector, paymentId: request.paymentId };
  // The channel may not exist yet: then it is the deposit that shows who pays.
  await admit(deps, { ...askedOf(deps, purchase), prove: async () => void ((await findChannel(deps.db, request.channelId)) ?? (await channels.checkDeposit(deps, deposit))) });
  const carried = await channels.carryDeposit(deps, deposit);
  return { ...request, deposit: { hash: carried.txHash, amount } };
}

/** A voucher that could not pay even with its deposit is refused before money moves. A payment we know is a repetition: its deposit is done. */
async function refuseHopelessDeposit(deps: GatewayDeps, { payload, request }: Purchase, amount: bigint): Promise<void> {
  const known = await findChannel(deps.db, request.channelId);
  if (known !== undefined && (await ledger.isKnown(deps, request))) return;
  const channel = known ?? unknownChannel(request.channelId, payload.config, await channels.readOne(deps, request.channelId));
  const decision = decide({ ...channel, balance: channel.balance + channel.pending + amount }, request.ceiling, request.price);
  if (decision.accept || decision.refusal === "channel_busy") return;
  if (known !== undefined) await refuse(deps, request, decision.refusal, known);
  throw refusalFault(decision.refusal, channel, request.ceiling, request.price);
}

async function refuse(deps: GatewayDeps, request: PaymentRequest, refusal: Parameters<typeof refusalFault>[0], channel: Channel): Promise<never> {
  const refused = refusalFault(refusal, channel, request.ceiling, request.price);
  await ledger.recordRefusal(deps, { ...request, payee: channel.config.receiver }, refused.code, {
    ceiling: request.ceiling.toString(),
    price: request.price.toString(),
    charged: channel.charged.toString(),
    reserved: channel.reserved.toString(),
    balance: channel.balance.toString(),
  });
  throw refused;
}

async function channelOf(deps: GatewayDeps, { channelId }: Pick<PaymentRequest, "channelId">): Promise<Channel> {
  const channel = await findChannel(deps.db, channelId);
  if (channel === undefined) throw new Error("invariant: a payment by channel has a channel");
  return channel;
}

async function replayOf(deps: GatewayDeps, payment: Payment, answer: Answer, wish: ReceiptWish): Promise<Sale> {
  return saleOf(deps, payment, await channelOf(deps, payment), answer, wish);
}

/** A charged payment as it is delivered; the same on a replay. */
async function saleOf(deps: GatewayDeps, payment: Payment, channel: Standing & Pick<Channel, "config">, answer: Answer, wish: ReceiptWish): Promise<Sale> {
  if (payment.charged === undefined || payment.chargedCumulative === undefined) throw new Error("invariant: a charged payment says what it was charged");
  const settled = settlement(deps, payment, channel, payment.charged, payment.chargedCumulative);
  const facts = wish.ours || wish.x402 ? sessionReceipt(payment, channel) : undefined;
  const extensions = facts && (await receiptExtensions(deps, facts, wish));
  return { answer, paymentId: payment.paymentId, settlement: extensions === undefined ? settled : { ...settled, extensions } };
}

/** A deposit that stands although the call failed: the buyer learns of it, charged nothing. */
async function depositOnly(deps: GatewayDeps, payment: PaymentRequest): Promise<SettleResponse | undefined> {
  const channel = payment.deposit === undefined ? undefined : await findChannel(deps.db, payment.channelId);
  return channel === undefined ? undefined : settlement(deps, payment, channel, 0n, channel.charged);
}

function settlement(deps: GatewayDeps, payment: PaymentRequest, channel: Standing, charged: bigint, chargedCumulative: bigint): SettleResponse {
  return {
    success: true,
    payer: payment.payer,
    transaction: payment.deposit?.hash ?? "",
    network: deps.config.network,
    amount: payment.deposit?.amount.toString() ?? "",
    extra: { chargedAmount: charged.toString(), paymentId: payment.paymentId, channelState: channelState(payment.channelId, channel, chargedCumulative) },
  };
}

/** A channel we do not know is read from the chain once; a voucher on one without balance is refused there. */
async function ensureChannel(deps: GatewayDeps, { payload, request }: Purchase): Promise<void> {
  if (deps.knownChannels.has(request.channelId)) return;
  if ((await findChannel(deps.db, request.channelId)) === undefined) await channels.openChannel(deps, payload.config);
  deps.knownChannels.add(request.channelId);
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
      extra: { paymentId: request.paymentId, channelState: channelState(request.channelId, done.channel, done.channel.charged) },
    },
    paymentId: request.paymentId,
  };
}
