// Pay by plain transfer, without any SDK: ask -> pay on chain -> name the transaction, signed by its sender -> the answer. The money is paid
// before anything runs, so a failed run leaves it owed: the same submit runs again until there is an answer.
import { randomBytes } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { isAddress, isAddressEqual, type Address } from "viem";
import { TallystickError } from "../../../../sdk/src/errors.ts";
import { fromWireReceipt, receiptHash, receiptSigner, type SignedReceipt } from "../../../../sdk/src/receipt.ts";
import { violatedConstraint } from "../../db/pool.ts";
import type { Deps } from "../../deps.ts";
import { newPaymentId } from "../../payment-id.ts";
import { EVENT } from "../../telemetry/log.ts";
import { admit } from "../firewall/gate.ts";
import { ownerOf } from "../firewall/registry.ts";
import { normalisePath } from "../gateway/logic.ts";
import type { GatewayDeps, OpenPayment, Sale } from "../gateway/rail.ts";
import { directReceipt, receiptDomainOf, receiptExtensions } from "../gateway/receipts.ts";
import { checkOnSale } from "../gateway/pause.ts";
import { deliver, gatewayService, purchaseOf, type Call, type Purchase } from "../gateway/service.ts";
import { approval } from "../audit/approval.ts";
import * as ledger from "../ledger/service.ts";
import { findAnswer, sealDelivery } from "../ledger/answer-store.ts";
import type { Delivery } from "../ledger/types.ts";
import { checkAge, checkDecisions, checkUnspent, confirmationsFor, messageFor, paymentFault, pickTransfer, transferKey, usdc } from "./logic.ts";
import { readTransferHeader, type Ask, type Submit } from "./schemas.ts";
import * as store from "./store.ts";
import { blockTime, depthOf, findMined, signedBy } from "./transaction.ts";
import type { Mined, PayRequest, Proof, StoredTransferPayment, Transfer, TransferPayment } from "./types.ts";

const TTL_S = 15 * 60;
/** Transactions can be slow; the money that comes late still buys what it was sent for. */
const GRACE_S = 24 * 60 * 60;
/** Requests cost a row and their body each: a flood is answered 503 instead of filling the disk. */
const MOST_OPEN_A_SERVICE = 500;
const LEASE_MARGIN_MS = 15_000;
const BUSY_WAIT_MS = 3_000;
const BUSY_POLL_MS = 25;
const LISTED = 200;

const requestUnknown = (requestId: string) =>
  new TallystickError({ code: "request_unknown", status: 404, retry: "never", field: "requestId", detail: `There is no request ${requestId}; ask at POST /api/pay/request.` });

/** Writes down what is asked for and its price. @throws 409 `service_by_month`, 404, 400 `path_refused`, 409 `idempotency_conflict`, 503 `requests_flooded`. */
export async function ask(deps: GatewayDeps, { providerId, method = "GET", path = "/", body = "", contentType }: Ask, source: string, idempotencyKey: string | undefined): Promise<PayRequest> {
  const service = await gatewayService(deps, providerId);
  checkOnSale(service);
  // A transfer is for the whole price and buys one answer.
  if (service.subscription !== undefined) throw new TallystickError({ code: "service_by_month", status: 409, retry: "never", field: "providerId", detail: `${service.name} is sold by the month, which is paid by channel (batch-settlement) only.` });
  const headers = contentType === undefined ? {} : { "content-type": contentType };
  const call = { method, path: normalisePath(`/s/${service.name}${path}`, service.name), headers, body: Buffer.from(body) };
  const { requestHash } = purchaseOf(deps, service, call);
  const { name, price, receiver, token } = service;
  const wanted = { ...call, service: name, requestId: `req_${randomBytes(16).toString("hex")}`, requestHash, price, receiver, token, source, idempotencyKey, ttlS: TTL_S, graceS: GRACE_S };
  return (await insertOnce(deps, wanted)) ?? flooded(name);
}

async function insertOnce({ db }: Deps, wanted: store.NewRequest): Promise<PayRequest | undefined> {
  const { source, idempotencyKey } = wanted;
  const known = idempotencyKey === undefined ? undefined : await store.findByIdempotencyKey(db, source, idempotencyKey);
  if (known !== undefined) return sameRequest(known, wanted);
  try {
    return await store.insertRequest(db, wanted, MOST_OPEN_A_SERVICE);
  } catch (error) {
    if (violatedConstraint(error) !== "pay_request_idempotency") throw error;
    const first = await store.findByIdempotencyKey(db, source, idempotencyKey!);
    if (first === undefined) throw error;
    return sameRequest(first, wanted);
  }
}

function sameRequest(known: PayRequest, wanted: store.NewRequest): PayRequest {
  if (known.requestHash === wanted.requestHash && known.service === wanted.service) return known;
  throw new TallystickError({ code: "idempotency_conflict", status: 409, retry: "never", field: "Idempotency-Key", detail: "This key was used for another request." });
}

function flooded(service: string): never {
  throw new TallystickError({ code: "requests_flooded", status: 503, retry: "safe", detail: `${service} has too many unpaid requests; try again in a minute, or pay by x402.`, extra: { retryAfterS: 60 } });
}

/** How to pay, for the 402. */
export function termsOf({ config }: Pick<Deps, "config">, request: PayRequest) {
  const { requestId, receiver, token, price, service, expiresAt, graceUntil } = request;
  return {
    payment: {
      requestId, recipient: receiver, token, amountUsdc: usdc(price), amountAtomic: String(price), chainId: config.chainId, network: config.network, providerId: service,
      expiresAt: expiresAt.toISOString(), graceUntil: graceUntil.toISOString(), confirmations: confirmationsFor(config.transferConfirmations, price), message: messageFor(request, config.network),
    },
  };
}

/** Body of POST /api/pay/submit. @throws 402 for what the payment is not; 404, 409, 410, 503. */
export async function submit(deps: GatewayDeps, said: Submit, signal: AbortSignal): Promise<Sale> {
  const request = await store.findRequest(deps.db, said.requestId);
  if (request === undefined) throw requestUnknown(said.requestId);
  checkDecisions(said, request, deps.config);
  return pay(deps, request, said as Proof, signal, said.payer);
}

/** A purchase on its own URL. Undefined for a header that is an x402 payload. @throws as submit; 409 `request_mismatch`. */
export async function payByTransfer(deps: GatewayDeps, header: string, purchase: Purchase, signal: AbortSignal): Promise<Sale | undefined> {
  const said = readTransferHeader(header);
  if (said === undefined) return undefined;
  if (said.kind === "hash") {
    throw paymentFault("sender_proof_needed", "X-402-Payment", "Anybody can read a transaction's hash: ask at POST /api/pay/request for a requestId and its message, and send base64 JSON of txHash, requestId and the sender's signature of the message.");
  }
  if (said.kind === "receipt") return soldBefore(deps, said.receipt as unknown as SignedReceipt, purchase);
  const request = await store.findRequest(deps.db, said.proof.requestId);
  if (request === undefined) throw requestUnknown(said.proof.requestId);
  mustMatch(request, purchase, "requestId");
  return pay(deps, request, said.proof as Proof, signal);
}

function mustMatch({ service, requestHash }: Pick<PayRequest, "service" | "requestHash">, purchase: Purchase, field: string): void {
  if (service === purchase.service.name && requestHash === purchase.requestHash) return;
  throw new TallystickError({ code: "request_mismatch", status: 409, retry: "never", field, detail: "It is for another service, method, path, content type or body than this call." });
}

async function pay(deps: GatewayDeps, request: PayRequest, proof: Proof, signal: AbortSignal, payer?: string): Promise<Sale> {
  const { txHash, signature } = { ...proof, txHash: proof.txHash.toLowerCase() as Proof["txHash"] };
  const needed = confirmationsFor(deps.config.transferConfirmations, request.price);
  const mined = await findMined(deps, txHash);
  if (mined === undefined) return pending(request, 0, needed);
  const transfer = pickTransfer(mined, request, proof.logIndex);
  if (payer !== undefined && !(isAddress(payer, { strict: false }) && isAddressEqual(payer, transfer.from))) {
    throw new TallystickError({ code: "decision_mismatch", status: 409, retry: "never", field: "payer", detail: `payer is ${payer}, the transfer is from ${transfer.from}.` });
  }
  checkUnspent(mined, transfer, deps.config.sessionChannels);
  if (!(await signedBy(deps, transfer.from, messageFor(request, deps.config.network), signature))) {
    throw paymentFault("sender_signature_invalid", "signature", `The signature is not one of ${transfer.from}, who sent the transfer, over the message of request ${request.requestId}.`);
  }
  const depth = await depthOf(deps, mined);
  if (depth < needed) return pending(request, depth, needed);
  const service = { ...(await gatewayService(deps, request.service)), price: request.price, receiver: request.receiver, token: request.token };
  const call: Call = { method: request.method, path: request.path, headers: request.headers, body: request.body, signal };
  const { resource } = purchaseOf(deps, service, call);
  const payment: TransferPayment = {
    paymentId: newPaymentId(), requestId: request.requestId, payer: transfer.from, receiver: request.receiver, token: request.token, key: transferKey(deps.config.chainId, txHash, transfer.position),
    signature, txHash, service: request.service, resource, requestHash: request.requestHash, price: request.price,
  };
  // Its money has moved; what can still be refused is the service.
  const admitted = () => admit(deps, {
    identity: { scheme: "transfer", token: payment.token, nonce: payment.key, requestHash: payment.requestHash }, paymentId: payment.paymentId, payer: payment.payer, payee: payment.receiver,
    service: service.name, serviceOwner: ownerOf(service), resource, price: payment.price, movedBy: txHash,
  });
  const sold = await take(deps, request, payment, { mined, transfer, admitted }, service.upstreamTimeoutMs + LEASE_MARGIN_MS);
  return sold ?? deliver(deps, service, call, openPayment(deps, payment));
}

/** Not an error: ask again. Until the payment exists, the request's id labels it. */
function pending({ requestId }: PayRequest, confirmations: number, needed: number): Sale {
  const body = Buffer.from(JSON.stringify({ status: "pending", confirmations, needed }));
  return { answer: { status: 202, headers: { "content-type": "application/json", "retry-after": "2", "cache-control": "no-store" }, body }, settlement: undefined, paymentId: requestId };
}

/** Sets the transfer aside. @returns what it bought before, with the same request; undefined when it is this caller's to run. */
async function take(deps: GatewayDeps, request: PayRequest, payment: TransferPayment, { mined, transfer, admitted }: { mined: Mined; transfer: Transfer; admitted: () => Promise<void> | undefined }, leaseMs: number): Promise<Sale | undefined> {
  for (;;) {
    const known = await whileReserved(deps, payment);
    if (known !== undefined && known.state !== "released") return again(deps, payment, known);
    if (known === undefined) await checkNew(deps, request, payment, mined, transfer);
    await ledger.limitUnbilledRuns(deps, payment.payer);
    await admitted();
    try {
      await store.reserve(deps.db, payment, leaseMs);
      deps.audit.record(approval({ ...payment, payee: payment.receiver }));
      deps.log.info({ event: EVENT.paymentReserved, paymentId: payment.paymentId, scheme: "transfer", service: payment.service, priceAtomic: String(payment.price), txHash: payment.txHash }, "reserved");
      return undefined;
    } catch (error) {
      if (violatedConstraint(error) !== "payment_authorization") throw error; // else another process was faster: see what it does
    }
  }
}

/** What can be said only of a transfer that has not been taken before. */
async function checkNew(deps: GatewayDeps, request: PayRequest, { txHash }: TransferPayment, mined: Mined, transfer: Transfer): Promise<void> {
  if (await store.isOurs(deps.db, txHash)) throw paymentFault("authorization_transfer", "txHash", `${transfer.from} paid for something else with this transaction, which this relayer sent.`);
  if (deps.now() > request.graceUntil) {
    throw new TallystickError({ code: "request_expired", status: 410, retry: "never", field: "requestId", detail: `Request ${request.requestId} could be paid until ${request.graceUntil.toISOString()}.` });
  }
  checkAge(await blockTime(deps, mined), request);
}

async function again(deps: GatewayDeps, payment: TransferPayment, known: StoredTransferPayment): Promise<Sale> {
  if (known.requestId !== payment.requestId) {
    await ledger.recordRefusal(deps, { paymentId: payment.paymentId, channelId: undefined, payer: payment.payer, payee: payment.receiver, service: payment.service }, "transfer_used", { txHash: payment.txHash, paidFor: known.requestId });
    throw paymentFault("transfer_used", "txHash", "This transfer has paid for another request.");
  }
  if (known.state === "reserved") throw ledger.inProgress(known.paymentId);
  deps.metrics.payments.inc({ outcome: "replayed" });
  deps.log.info({ event: EVENT.paymentReplayed, paymentId: known.paymentId }, "same payment, same answer, no charge");
  return saleOf(deps, known);
}

async function whileReserved(deps: Deps, { token, payer, key, requestId }: TransferPayment): Promise<StoredTransferPayment | undefined> {
  for (const deadline = Date.now() + BUSY_WAIT_MS; ; await sleep(BUSY_POLL_MS)) {
    const known = await store.findByKey(deps.db, token, payer, key);
    if (known?.state !== "reserved" || known.requestId !== requestId || Date.now() > deadline) return known;
  }
}

function openPayment(deps: GatewayDeps, payment: TransferPayment): OpenPayment {
  const { paymentId, payer, service, price, requestHash } = payment;
  return {
    paymentId, payer, service, price, requestHash, prepaid: true,
    async charge(delivery: Delivery) {
      // The transfer is for the whole price and has been made: a provider that wants less has to sell by channel.
      if (delivery.amount !== price) deps.log.warn({ event: EVENT.paymentCharged, paymentId, asked: String(delivery.amount), priceAtomic: String(price) }, "a transfer pays the price, whatever the service asked for");
      if (!(await store.charge(deps.db, paymentId, sealDelivery(deps, paymentId, delivery), deps.config.limits.answerTtlS))) {
        throw new TallystickError({ code: "reservation_expired", status: 503, retry: "safe", detail: "The answer came after the reservation had run out; submit the same transaction again." });
      }
      deps.metrics.payments.inc({ outcome: "charged" });
      deps.metrics.chargedAtomic.inc(Number(price));
      deps.log.info({ event: EVENT.paymentCharged, paymentId, scheme: "transfer", service, chargedAtomic: String(price), txHash: payment.txHash }, "charged");
      return saleOf(deps, (await store.findTransferPayment(deps.db, paymentId))!);
    },
    async abandon(reason) {
      await ledger.giveBack(deps, paymentId, reason);
      return undefined;
    },
  };
}

/** The stored answer of a charged payment. @throws 410 `answer_expired`. */
async function saleOf(deps: GatewayDeps, payment: StoredTransferPayment): Promise<Sale> {
  const { paymentId, payer, price, txHash, outputHash, startedAt, endedAt } = payment;
  const answer = await findAnswer(deps, paymentId);
  if (answer === undefined) throw new TallystickError({ code: "answer_expired", status: 410, retry: "never", detail: `The answer of payment ${paymentId} is no longer kept.` });
  const extensions = await receiptExtensions(deps, directReceipt(deps, { ...payment, scheme: "transfer", amount: price, outputHash: outputHash!, startedAt: startedAt!, endedAt: endedAt! }));
  return {
    answer, paymentId,
    settlement: { success: true, payer, transaction: txHash, network: deps.config.network, amount: String(price), extra: { chargedAmount: String(price), paymentId }, extensions },
  };
}

/** A receipt that we signed shows that its holder may have the answer. @throws 402 `receipt_invalid`, 409, 410. */
async function soldBefore(deps: GatewayDeps, receipt: SignedReceipt, purchase: Purchase): Promise<Sale> {
  const signedByUs = await isOurReceipt(deps, receipt);
  const payment = signedByUs ? await store.findTransferPayment(deps.db, receipt.payload.paymentId) : undefined;
  if (payment?.state !== "charged") throw paymentFault("receipt_invalid", "X-402-Payment", "It is no receipt of this relayer for a payment by transfer.");
  mustMatch(payment, purchase, "X-402-Payment");
  return saleOf(deps, payment);
}

async function isOurReceipt(deps: GatewayDeps, { payload, signature }: SignedReceipt): Promise<boolean> {
  const domain = receiptDomainOf(deps); // ours, not the one it came with
  try {
    receiptHash(domain, fromWireReceipt(payload));
    return payload.scheme === "transfer" && deps.keyring.has(await receiptSigner({ domain, payload, signature }));
  } catch {
    return false; // an address, a number or a signature that is none
  }
}

/** @throws 404 for what is not the caller's; 409 `paid_undelivered`; 503 `payment_in_progress`; 410 `answer_expired`. */
export async function purchaseFor(deps: GatewayDeps, requestId: string, payer: Address): Promise<Sale> {
  const purchases = await store.listPurchases(deps.db, payer, requestId, LISTED);
  const payment = purchases.find(({ state }) => state === "charged") ?? purchases[0];
  if (payment === undefined) throw requestUnknown(requestId);
  if (payment.state === "charged") return saleOf(deps, payment);
  if (payment.state === "reserved") throw ledger.inProgress(payment.paymentId);
  throw new TallystickError({ code: "paid_undelivered", status: 409, retry: "safe", detail: "Paid, and the service failed: submit the same transaction again.", extra: { txHash: payment.txHash } });
}

export async function sweepTransfers({ db }: Pick<Deps, "db">): Promise<void> {
  await store.deleteOver(db, 1_000);
}
