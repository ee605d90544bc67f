// The ledger's verbs. Order of every paid call: take -> run the upstream -> charge (commit) -> answer, or giveBack.
import { setTimeout as sleep } from "node:timers/promises";
import type { Address, Hex } from "viem";
import { TallystickError } from "../../../../sdk/src/errors.ts";
import type { Deps } from "../../deps.ts";
import { newPaymentId } from "../../payment-id.ts";
import { EVENT } from "../../telemetry/log.ts";
import type { AuditValue } from "../audit/types.ts";
import { findChannel, type Channel } from "../channels/store.ts";
import { decide, type Refusal } from "./logic.ts";
import { answerDeleted, answersFull } from "../answers/service.ts";
import { refusedByMandate } from "../mandates/audit.ts";
import { sessionRefused } from "../negotiation/refusals.ts";
import type { SessionVerdict } from "../negotiation/ledger-store.ts";
import { deletedAt } from "../answers/store.ts";
import { deleteExpiredAnswers, findAnswer, sealDelivery } from "./answer-store.ts";
import * as store from "./store.ts";
import type { Answer, Delivery, Payment, PaymentRequest } from "./types.ts";

/** How long a request waits for others of its channel before it gets a corrective 402. */
const BUSY_WAIT_MS = 3_000;
const BUSY_POLL_MS = 15;
/** What a lease adds to the upstream's time limit: after it, another process may give the reservation back. */
const LEASE_MARGIN_MS = 15_000;

export type Taken =
  | { outcome: "reserved"; payment: PaymentRequest }
  /** Paid before with the same request: deliver this again, charge nothing. */
  | { outcome: "replay"; payment: Payment; answer: Answer }
  /** Paid before with the same request, and its streamed answer broke off: deliver it once more, charge nothing. */
  | { outcome: "owed"; payment: Payment }
  | { outcome: "refused"; refusal: Refusal | "voucher_used" | "voucher_public" | "answer_expired"; channel: Channel };

/** As it is delivered: with what the buyer is told of its channel. */
export type ChargedPayment = Payment & { standing: store.Standing };

/**
 * Reserves the price under the voucher, or finds that this payment is known.
 * @throws TallystickError `payment_identifier_conflict` (409): the identifier belongs to another request.
 * @throws TallystickError `exposure_limit` (503, safe): too much of this channel or payer is unsettled; `unbilled_runs_exceeded` (429).
 * @throws TallystickError `payment_in_progress` (503, safe): the same payment is being served, or its process just died.
 * @throws TallystickError mandate_* (403): the mandate that the channel spends under, or one above it, does not allow it.
 */
export async function take(deps: Deps, request: PaymentRequest, upstreamTimeoutMs: number, stillAdmitted?: () => Promise<void> | undefined): Promise<Taken> {
  const deadline = Date.now() + BUSY_WAIT_MS;
  let payment = request;
  for (;;) {
    const verdict = await deps.groups.reserve({ payment, leaseMs: upstreamTimeoutMs + LEASE_MARGIN_MS });
    if (verdict === "reserved") {
      deps.reached("payment.reserved");
      return { outcome: "reserved", payment };
    }
    if (typeof verdict === "object" && "agreed" in verdict) {
      deps.reached("payment.reserved");
      return { outcome: "reserved", payment: { ...payment, price: verdict.agreed.price, inSession: true } };
    }
    const settled = await explain(deps, payment, verdict, deadline);
    if (settled === "id_taken") payment = { ...payment, paymentId: newPaymentId() };
    else if (settled !== "busy") return settled;
    else if (Date.now() > deadline + BUSY_WAIT_MS) throw unexplained(deps, payment, verdict);
    else await sleep(BUSY_POLL_MS);
    // It waited, and what let it in may not hold any more.
    await stillAdmitted?.();
  }
}

/** The database refuses, and nothing that it shows says why: ours to find out. Nothing was reserved. */
function unexplained({ log }: Deps, { paymentId, channelId }: PaymentRequest, verdict: SessionVerdict): TallystickError {
  log.error({ event: EVENT.failure, where: "reservation", paymentId, channelId, verdict }, "refused, and nothing explains it");
  return new TallystickError({ code: "reservation_refused", status: 503, retry: "safe", detail: "The ledger could not take this payment; nothing was charged. Send the same payment again." });
}

/** Why the reservation was not made: a replay, a refusal, that waiting may help, or that another payment has this id. */
async function explain(deps: Deps, request: PaymentRequest, verdict: Exclude<SessionVerdict, "reserved" | { agreed: unknown }>, deadline: number): Promise<Taken | "busy" | "id_taken"> {
  const known = await knownFor(deps, request);
  if (known !== undefined) return replay(deps, request, known, deadline);
  if (typeof verdict === "object" && "session" in verdict) throw sessionRefused(verdict.session, request.session);
  if (typeof verdict === "object") throw await refusedByMandate(deps, request, verdict.mandate);
  if (verdict === "conflict") return (await store.isTaken(deps.db, request.paymentId)) ? "id_taken" : "busy";
  if (verdict === "unbilled") throw tooManyUnbilledRuns(deps);
  if (verdict === "answers_full") throw answersFull(deps);
  if (verdict === "channel_exposure" || verdict === "payer_exposure") throw exposed(verdict);
  const channel = await findChannel(deps.db, request.channelId);
  if (channel === undefined) throw new TallystickError({ code: "channel_unknown", status: 500, retry: "safe", detail: "The channel is not in the ledger." });
  const decision = decide(channel, request.ceiling, request.price);
  if (!decision.accept && decision.refusal === "ceiling_above_balance" && request.ceiling <= channel.balance + channel.pending) throw depositPending(channel);
  // Accepted here: the channel changed since the reserving statement.
  const refusal = decision.accept ? "channel_busy" : decision.refusal;
  return refusal === "channel_busy" && Date.now() < deadline ? "busy" : { outcome: "refused", refusal, channel };
}

/** Ours, not the buyer's: what it owes is not claimed yet, and we extend no more until it is. */
function exposed(verdict: "channel_exposure" | "payer_exposure"): TallystickError {
  const whose = verdict === "channel_exposure" ? "this channel owes" : "this payer's channels owe";
  return new TallystickError({ code: "exposure_limit", status: 503, retry: "safe", detail: `As much as ${whose} may be unsettled is unsettled; it is being claimed. Send the same payment again.`, extra: { retryAfterS: 5 } });
}

/** The money is there and not deep enough yet: a buyer told 402 would deposit again. */
function depositPending({ channelId, pending }: Channel): TallystickError {
  return new TallystickError({ code: "deposit_pending", status: 503, retry: "safe", detail: `Of what was deposited in channel ${channelId}, ${pending} wait for more confirmations. Send the same payment again.`, extra: { retryAfterS: 2 } });
}

/** The payment that this is a repetition of: by its identifier, else by its voucher. A voucher that many calls share tells none of them apart. */
async function knownFor(deps: Deps, request: PaymentRequest): Promise<Payment | undefined> {
  return (await knownByClientId(deps, request)) ?? (request.sharedVoucher === true ? undefined : await store.findByVoucher(deps.db, request.channelId, request.ceiling));
}

async function knownByClientId(deps: Deps, request: PaymentRequest): Promise<Payment | undefined> {
  if (request.clientId === undefined) return undefined;
  const known = await store.findByClientId(deps.db, request.channelId, request.clientId);
  if (known === undefined || known.requestHash === request.requestHash) return known;
  throw new TallystickError({
    code: "payment_identifier_conflict",
    status: 409,
    retry: "never",
    field: "extensions.payment-identifier.info.id",
    detail: `Payment identifier ${request.clientId} was used with another request.`,
  });
}

/** Money rule 2: the same voucher and the same request get the same answer; anything else is refused. */
async function replay(deps: Deps, request: PaymentRequest, known: Payment, deadline: number): Promise<Taken | "busy"> {
  const waited = await waitWhileReserved(deps, known, deadline);
  // A stream is charged as long as it is open. Whether it is, is asked first: of one that has ended, all that is read from here on is final.
  const stream = await store.findStreamState(deps.db, waited.paymentId);
  const resolved = (await store.findPayment(deps.db, waited.paymentId)) ?? waited;
  const channel = await findChannel(deps.db, resolved.channelId);
  if (channel === undefined) throw new TallystickError({ code: "channel_unknown", status: 500, retry: "safe", detail: "The channel is not in the ledger." });
  const refuse = (refusal: "voucher_used" | "voucher_public" | "answer_expired"): Taken => ({ outcome: "refused", refusal, channel });
  // Free again, as a voucher that was charged nothing is: try to reserve.
  if (resolved.state === "released" || (resolved.charged === 0n && resolved.requestHash !== request.requestHash)) return "busy";
  if (resolved.requestHash !== request.requestHash) return refuse("voucher_used");
  if (resolved.state === "reserved") throw inProgress(resolved.paymentId);
  const identified = request.clientId !== undefined && request.clientId === resolved.clientId;
  if (!identified && channel.broadcastCeiling === resolved.ceiling) return refuse("voucher_public");
  if (stream === "open") throw inProgress(resolved.paymentId);
  const answer = await findAnswer(deps, resolved.paymentId);
  // What is owed may have been delivered meanwhile, to another request: then this is what its payment came to.
  if (answer !== undefined && stream === "owed") return { outcome: "replay", payment: (await store.findPayment(deps.db, resolved.paymentId)) ?? resolved, answer };
  if (answer !== undefined) return { outcome: "replay", payment: resolved, answer };
  if (stream === "owed") return { outcome: "owed", payment: resolved };
  const deleted = await deletedAt(deps.db, resolved.paymentId);
  if (deleted !== undefined) throw answerDeleted(deleted);
  return refuse("answer_expired");
}

/** Not the buyer's fault, so not a 402: the first attempt is running, or its lease has yet to run out. */
export function inProgress(paymentId: string): TallystickError {
  return new TallystickError({
    code: "payment_in_progress",
    status: 503,
    retry: "safe",
    detail: `Payment ${paymentId} is still being served; send the same payment again.`,
    extra: { retryAfterS: 1 },
  });
}

async function waitWhileReserved(deps: Deps, known: Payment, deadline: number): Promise<Payment> {
  let payment = known;
  while (payment.state === "reserved" && Date.now() < deadline) {
    await sleep(BUSY_POLL_MS);
    payment = (await store.findPayment(deps.db, payment.paymentId)) ?? payment;
  }
  return payment;
}

/**
 * Charges and stores the answer in one durable statement; only then may a byte of it leave.
 * @returns undefined when the lease ran out meanwhile: nothing was charged, nothing may be delivered.
 */
export async function charge(deps: Deps, payment: PaymentRequest, delivery: Delivery): Promise<ChargedPayment | undefined> {
  const { amount, startedAt, endedAt, periodS } = delivery;
  deps.reached("upstream.answered");
  const stored = sealDelivery(deps, payment.paymentId, delivery);
  const charged = await chargeOrFree(deps, { paymentId: payment.paymentId, amount, inSession: payment.inSession, periodS, ...stored });
  if (charged === undefined) return undefined;
  if (amount > payment.price || charged.amount > amount || charged.chargedCumulative < charged.amount) throw new Error("invariant: charged within the price");
  deps.reached("payment.charged");
  deps.metrics.chargedAtomic.inc(Number(charged.amount));
  return { ...payment, state: "charged", charged: charged.amount, ...charged, outputHash: stored.outputHash, startedAt, endedAt };
}

/**
 * When the database breaks off, the statement may or may not have happened. Releasing is conditional on the reservation, so
 * trying it is safe either way: exactly one of the two stands, and the buyer's retry finds out which.
 */
async function chargeOrFree(deps: Deps, charge: store.Charge): Promise<store.Charged | undefined> {
  try {
    return await deps.groups.charge(charge);
  } catch (error) {
    await giveBack(deps, charge.paymentId, "charge_failed");
    throw error;
  }
}

const GIVE_BACK_TRIES_MS = [0, 50, 200, 500];

/**
 * Ends a reservation without charging; safe to call twice. A database that is away is asked again a few times; after that
 * the lease runs out and the sweeper gives it back.
 */
export async function giveBack(deps: Deps, paymentId: string, reason: string): Promise<void> {
  for (const waitMs of GIVE_BACK_TRIES_MS) {
    try {
      await sleep(waitMs);
      return await releaseOnce(deps, paymentId, reason);
    } catch (err) {
      deps.log.warn({ event: EVENT.failure, paymentId, reason, err }, "reservation not given back yet");
    }
  }
}

async function releaseOnce(deps: Deps, paymentId: string, reason: string): Promise<void> {
  if (await deps.groups.release({ paymentId, reason })) {
    deps.reached("payment.released");
    deps.metrics.payments.inc({ outcome: "released" });
    deps.log.info({ event: EVENT.paymentReleased, paymentId, reason }, "reservation released, nothing charged");
  }
}

/** A payment as a refusal names it; `payee` where it is known. */
export type Refused = { paymentId: string; channelId: Hex | undefined; payer: Address; payee?: Address; service: string };

/** Money rule 5: a refusal after a valid signature is in the audit log, durably, before its answer leaves. */
export async function recordRefusal(deps: Pick<Deps, "audit">, refused: Refused, code: string, detail: Record<string, AuditValue>): Promise<void> {
  const { paymentId, channelId, payer, payee, service } = refused;
  await deps.audit.recordDurably({ kind: "payment.rejected", subject: paymentId, rule: code, payer, payee, data: { ...detail, service, channelId } });
}

/** For schemes without a channel. @throws TallystickError `unbilled_runs_exceeded` (429) when the payer caused too many upstream runs that were not charged. */
export async function limitUnbilledRuns(deps: Deps, payer: Hex): Promise<void> {
  if ((await store.countUnbilledRuns(deps.db, payer)) >= deps.config.limits.unbilledRunsPerMinute) throw tooManyUnbilledRuns(deps);
}

function tooManyUnbilledRuns({ config }: Pick<Deps, "config">): TallystickError {
  const most = config.limits.unbilledRunsPerMinute;
  return new TallystickError({
    code: "unbilled_runs_exceeded",
    status: 429,
    retry: "safe",
    detail: `This payer caused ${most} or more upstream runs without a charge in the last minute; no more are served. Wait a minute.`,
    extra: { retryAfterS: 60 },
  });
}

/** Gives back what died with its process and forgets answers past their time. Runs every few seconds in every process. */
export async function sweep(deps: Deps): Promise<void> {
  for (const paymentId of await store.findExpired(deps.db, 100)) await giveBack(deps, paymentId, "lease_expired");
  await deleteExpiredAnswers(deps.db, 1_000);
}

/** True when this very payment was charged: the same again costs nothing. */
export async function isPaid(deps: Deps, request: PaymentRequest): Promise<boolean> {
  const known = await knownFor(deps, request);
  return known?.state === "charged" && known.requestHash === request.requestHash;
}

/** True when this very voucher or identifier has been seen with a payment that stands: then a deposit that came with it is done. */
export async function isKnown(deps: Deps, request: PaymentRequest): Promise<boolean> {
  return (await knownFor(deps, request)) !== undefined;
}
