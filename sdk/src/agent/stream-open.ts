// Opens a metered stream on the agent's channel and pays on for it. In the agent's books the whole budget is set aside; signed is only
// what is about to be delivered.
import type { Hex } from "viem";
import { TallystickError } from "../errors.ts";
import { deliver } from "./delivery.ts";
import { refused } from "./faults.ts";
import { catchUp, ROUNDS, sessionFor, signTurn, type PayContext, type SignedPayment } from "./pay.ts";
import { newIdentifier, paymentHeader } from "./payments.ts";
import { voucherFor } from "./purse.ts";
import { receiptIn } from "./receipts.ts";
import { problemOf, type Sendable } from "./request.ts";
import type { Session, Turn } from "./session.ts";
import { paidStream, type PaidStream, type StreamOptions, type StreamPayer } from "./stream.ts";
import type { Terms } from "./terms.ts";
import { objectIn, readSettlement, requiredAmount } from "./wire.ts";

type Opening = { context: PayContext; request: Sendable; options: StreamOptions };
/** A payment by channel whose budget is set aside. */
type Opened = SignedPayment & { session: Session; turn: Turn };

/** @throws TallystickError `stream_unsupported`, `limit_exceeded`, `payment_refused`, `payment_undecided`, `stream_refused`. */
export async function openStream(context: PayContext, request: Sendable, known: Terms, options: StreamOptions): Promise<PaidStream> {
  const metered: Sendable = { ...request, headers: new Headers(request.headers) };
  metered.headers.set("tallystick-stream", "metered");
  const opening: Opening = { context, request: metered, options };
  let terms = known;
  for (let round = 1; ; round++) {
    const unitPrice = unitPriceOf(terms);
    const payment = await sign(opening, terms);
    const delivery = await deliver(context.fetch, metered, payment.header, context.retry);
    if (delivery.outcome === "undecided") throw lost(payment, delivery.cause);
    const { response } = delivery;
    if (response.status !== 402) return accept(opening, payment, unitPrice, response);
    terms = await catchUp(context, metered, payment, response, round >= ROUNDS ? ROUNDS : round);
  }
}

function unitPriceOf(terms: Terms): bigint {
  const stream = objectIn(objectIn(terms.accepts.extra ?? {}, "tallystick") ?? {}, "stream");
  const price = stream === undefined ? 0n : requiredAmount(stream, "pricePerUnit");
  if (price > 0n && terms.scheme === "batch-settlement") return price;
  throw new TallystickError({ code: "stream_unsupported", status: 402, retry: "never", field: "accepts", detail: "The seller sells no streams by the unit." });
}

async function sign({ context, request, options }: Opening, terms: Terms): Promise<Opened> {
  const { maxTotal } = options;
  context.state.budget.checkPrice(maxTotal);
  if (maxTotal < terms.price) {
    throw new TallystickError({ code: "limit_exceeded", status: 402, retry: "never", field: "maxTotal", detail: `A stream begins with a payment of at most ${terms.price}; maxTotal is ${maxTotal}.` });
  }
  const startedMs = performance.now();
  const session = await sessionFor(context, request.url.origin, terms);
  const turn = await session.take({ ...terms, price: maxTotal }, context.state.budget, { ...context.deposit, calls: 1 }, request.signal);
  try {
    const first = { ...turn, ticket: { ...turn.ticket, ceiling: turn.ticket.ceiling - maxTotal + terms.price } };
    // The whole budget is one payment to whoever has to approve it.
    const payload = await signTurn(context, session, terms, first, request, maxTotal);
    return { header: paymentHeader(terms, payload, request.url.href, newIdentifier()), terms, session, turn, startedMs };
  } catch (error) {
    session.book.release(turn.ticket, true);
    session.end(turn);
    throw error;
  }
}

async function accept(opening: Opening, payment: Opened, unitPrice: bigint, response: Response): Promise<PaidStream> {
  const settlement = readSettlement(response.headers);
  const payer = payerOf(opening, payment, unitPrice);
  if (!response.ok || settlement === undefined) {
    payment.session.book.release(payment.turn.ticket, true);
    payment.session.end(payment.turn);
    throw refused(response.status, "the stream was not opened", await problemOf(response));
  }
  if (settlement.channel !== undefined) payment.session.book.balance = settlement.channel.balance;
  const paymentId = settlement.paymentId ?? "";
  if (response.headers.get("tallystick-stream") === "metered") return paidStream(response, paymentId, payer, opening.options);
  // An ordinary call after all: its price is charged and its answer is whole.
  const charged = settlement.charged ?? payment.terms.price;
  const cumulative = settlement.channel?.chargedCumulative ?? charged;
  payer.settle(charged, cumulative);
  return Object.assign(paidStream(response, paymentId, payer), { end: { paymentId, charged, cumulative, reason: "complete" as const, receipt: receiptIn(settlement) } });
}

function payerOf(opening: Opening, payment: Opened, unitPrice: bigint): StreamPayer {
  const { context, request, options } = opening;
  const { terms, session, turn } = payment;
  const { book } = session;
  let granted = terms.price;
  let ceiling = 0n;
  return {
    chainId: terms.chainId, contract: context.contract, payer: context.purse.payer, receiver: terms.payTo, token: terms.token.address, channelId: book.channelId,
    signer: book.config.receiverAuthorizer, inputHash: request.inputHash, unitPrice, firstAllowance: terms.price, maxTotal: options.maxTotal,
    async extend(paymentId, amount) {
      granted += amount;
      // What others may take of this channel, and what this stream may: never the whole budget at once.
      const covering = book.bound - options.maxTotal + granted;
      ceiling = covering > ceiling ? covering : ceiling + 1n;
      const purpose = { method: request.method, url: request.url.href, body: request.body, price: 0n, accepts: terms.accepts };
      const voucher = await voucherFor(context, session, terms, { ceiling, price: 0n }, purpose);
      return postVoucher(context, request.url.origin, paymentId, voucher, amount);
    },
    refetch: () => refetch(context, request, payment.header),
    settle(charged, cumulative) {
      try {
        book.settle(turn.ticket, charged, cumulative);
      } finally {
        session.end(turn);
        context.state.saveSoon();
      }
    },
    lose() {
      book.lose(turn.ticket);
      session.end(turn);
    },
  };
}

/** @returns what the stream may take in all. @throws TallystickError `payment_refused`. */
async function postVoucher(context: PayContext, origin: string, paymentId: string, voucher: { maxClaimableAmount: string; signature: Hex }, amount: bigint): Promise<bigint> {
  const { maxClaimableAmount, signature } = voucher;
  const response = await context.fetch(`${origin}/api/v1/streams/${paymentId}/vouchers`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ maxClaimableAmount, signature, amount: String(amount) }),
  });
  if (!response.ok) throw refused(response.status, "the stream's voucher was refused", await problemOf(response));
  return requiredAmount((await response.json()) as Record<string, unknown>, "allowance");
}

/** The same payment again, without the wish for a new stream: the seller answers what it keeps. */
async function refetch(context: PayContext, request: Sendable, header: string): ReturnType<StreamPayer["refetch"]> {
  const { signal: _gone, ...again } = request;
  const delivery = await deliver(context.fetch, { ...again, signal: undefined }, header, context.retry);
  const settlement = delivery.outcome === "answered" && delivery.response.ok ? readSettlement(delivery.response.headers) : undefined;
  if (delivery.outcome !== "answered" || settlement?.charged === undefined || settlement.channel === undefined) return undefined;
  const body = new Uint8Array(await delivery.response.arrayBuffer());
  return { charged: settlement.charged, cumulative: settlement.channel.chargedCumulative, receipt: receiptIn(settlement), body };
}

function lost({ session, turn, terms }: Opened, cause: unknown): TallystickError {
  session.book.lose(turn.ticket);
  session.end(turn);
  return new TallystickError({ code: "payment_undecided", status: 503, retry: "safe", detail: `No answer came to a payment of at most ${terms.price} that opens a stream.`, cause });
}
