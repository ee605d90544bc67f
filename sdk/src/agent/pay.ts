// Buys one answer: sign, send until it is decided, check what came back. A refused payment is signed anew after catching up, a few
// times at most; a payment whose fate is unknown is only ever sent again as it is.
import type { Address, Hex } from "viem";
import { TallystickError } from "../errors.ts";
import { outputHash } from "../receipt.ts";
import type { Payment } from "./agent.ts";
import { readChannel, type ChainReader } from "./chain.ts";
import { ChannelBook } from "./channel.ts";
import { refused } from "./faults.ts";
import { deliver, type RetryPolicy } from "./delivery.ts";
import { channelConfig, idOf, newIdentifier, paymentHeader, signExact } from "./payments.ts";
import { checkReceipt, receiptIn, type Acknowledger } from "./receipts.ts";
import { isStream, problemOf, rebuilt, type Sendable } from "./request.ts";
import { Session, type DepositPolicy, type Turn } from "./session.ts";
import type { AgentState } from "./state.ts";
import type { Terms } from "./terms.ts";
import { voucherFor, type Purse } from "./purse.ts";
import { readPaymentRequired, readSettlement, type PaymentRequired, type Settlement } from "./wire.ts";

export type PayContext = {
  state: AgentState;
  purse: Purse;
  reader: ChainReader;
  contract: Address;
  fetch: typeof fetch;
  retry: RetryPolicy;
  acks: Acknowledger;
  deposit: DepositPolicy;
  onPayment: (payment: Payment) => void;
  learn(required: PaymentRequired, url: URL): Promise<Terms>;
  saltFor(origin: string): Hex;
  /** Payments whose fate is unknown, by purchase. */
  undecided: Map<string, SignedPayment>;
};

/** A payment that was signed for one request. */
export type SignedPayment = {
  header: string;
  terms: Terms;
  /** Where it is by channel. */
  session: Session | undefined;
  turn: Turn | undefined;
  startedMs: number;
};

export const ROUNDS = 4;

export async function payFor(context: PayContext, request: Sendable, known: Terms | undefined): Promise<Response> {
  let terms = known;
  for (let round = 1; ; round++) {
    const waiting = context.undecided.get(request.key);
    context.undecided.delete(request.key);
    const payment = waiting ?? (await signPayment(context, request, terms!));
    terms = payment.terms;
    const delivery = await deliver(context.fetch, request, payment.header, context.retry);
    if (delivery.outcome === "undecided") throw keepUndecided(context, request, payment, delivery.cause);
    const { response } = delivery;
    if (response.status !== 402) return accept(context, request, payment, response);
    terms = await catchUp(context, request, payment, response, round);
  }
}

async function signPayment(context: PayContext, request: Sendable, terms: Terms): Promise<SignedPayment> {
  const { budget } = context.state;
  budget.checkPrice(terms.price, request.bounds?.most);
  const header = (payload: Record<string, unknown>) => paymentHeader(terms, payload, request.url.href, newIdentifier());
  const startedMs = performance.now();
  if (terms.scheme === "exact") {
    budget.sign(terms.price);
    await context.state.save();
    const { payload } = await signExact(context.purse.account, terms);
    return { header: header(payload), terms, session: undefined, turn: undefined, startedMs };
  }
  const session = await sessionFor(context, request.url.origin, terms);
  const turn = await session.take(terms, budget, { ...context.deposit, ...request.bounds?.deposit }, request.signal);
  try {
    return { header: header(await signTurn(context, session, terms, turn, request)), terms, session, turn, startedMs };
  } catch (error) {
    session.book.release(turn.ticket, true);
    session.end(turn);
    throw error;
  }
}

export async function signTurn(context: PayContext, session: Session, terms: Terms, { ticket, deposit }: Turn, { method, url, body }: Sendable, price = ticket.price): Promise<Record<string, unknown>> {
  const { book } = session;
  const voucher = await voucherFor(context, session, terms, ticket, { method, url: url.href, body, price, accepts: terms.accepts });
  const common = { channelConfig: book.config, voucher };
  if (deposit === undefined) return { type: "voucher", ...common };
  const arriving = await context.purse.deposit(terms, book, deposit, ticket.ceiling);
  if (arriving !== undefined) {
    session.deposited(BigInt(String(arriving["amount"])));
    return { type: "deposit", ...common, deposit: arriving };
  }
  session.stopEarlyDeposits();
  return { type: "voucher", ...common };
}

/** The channel to this seller: the one we know, or the one the terms and our salt lead to, whatever the chain already holds in it. */
export async function sessionFor(context: PayContext, origin: string, terms: Terms): Promise<Session> {
  const { payer } = context.purse;
  const authorizer = await context.purse.authorizer();
  const known = context.state.sessionOf(origin, terms, payer, authorizer);
  if (known !== undefined) return known;
  const config = channelConfig(payer, authorizer, terms, context.saltFor(origin));
  const channelId = idOf(terms.chainId, context.contract, config);
  const { balance, totalClaimed } = await readChannel(context.reader, context.contract, channelId);
  // Another call may have been faster.
  const raced = context.state.sessionOf(origin, terms, payer, authorizer);
  if (raced !== undefined) return raced;
  const session = new Session(new ChannelBook({ channelId, config, signed: totalClaimed, charged: totalClaimed, balance }), origin, terms.scope, terms.chainId);
  context.state.add(session);
  return session;
}

/** Sent again, as it is, by the next fetch of the same request. */
function keepUndecided(context: PayContext, request: Sendable, payment: SignedPayment, cause: unknown): TallystickError {
  const { session, turn } = payment;
  if (session !== undefined && turn !== undefined) {
    session.book.lose(turn.ticket);
    session.end(turn);
  }
  context.undecided.set(request.key, { ...payment, turn: undefined });
  return new TallystickError({
    code: "payment_undecided",
    status: 503,
    retry: "safe",
    detail: `No answer came to a payment of at most ${payment.terms.price} for ${request.url.href}; fetching the same again sends the same payment again.`,
    cause,
  });
}

/** After a 402: learns what the seller says, as far as it is proven. @throws TallystickError `payment_refused` when nothing was learnt. */
export async function catchUp(context: PayContext, request: Sendable, { terms, session, turn }: SignedPayment, response: Response, round: number): Promise<Terms> {
  const problem = await problemOf(response);
  const settlement = readSettlement(response.headers);
  const required = response.headers.get("payment-required") === null ? undefined : readPaymentRequired(response.headers);
  const reason = required?.error ?? settlement?.errorReason ?? "no reason given";
  await response.body?.cancel();
  if (session !== undefined && turn !== undefined) {
    session.book.release(turn.ticket, false);
    session.end(turn);
  }
  if (required === undefined || round >= ROUNDS) throw refused(402, reason, problem);
  const claimedOnChain = async () => (await readChannel(context.reader, context.contract, session!.book.channelId)).totalClaimed;
  const synced = session !== undefined && (await session.resync(required.accepts, context.contract, turn?.ticket, claimedOnChain));
  const learnt = await context.learn(required, request.url);
  if (!synced && sameOffer(terms, learnt)) throw refused(402, reason, problem);
  return learnt;
}

function sameOffer(before: Terms, now: Terms): boolean {
  return before.scheme === now.scheme && before.price === now.price && before.payTo === now.payTo && before.receiverAuthorizer === now.receiverAuthorizer && before.withdrawDelayS === now.withdrawDelayS;
}

async function accept(context: PayContext, request: Sendable, payment: SignedPayment, response: Response): Promise<Response> {
  const settlement = readSettlement(response.headers);
  const charged = book(payment, settlement, response.ok);
  context.state.saveSoon();
  if (settlement === undefined || (charged === 0n && !response.ok)) return response;
  if (isStream(response)) {
    report(context, request, payment, settlement, charged);
    return response;
  }
  const body = new Uint8Array(await response.arrayBuffer());
  await checkAnswer(context, request, payment, settlement, charged, { response, body });
  report(context, request, payment, settlement, charged);
  return rebuilt(response, body);
}

/** Enters the answer into the books. @returns what was charged. @throws TallystickError `server_overcharged`. */
function book({ terms, session, turn }: SignedPayment, settlement: Settlement | undefined, ok: boolean): bigint {
  if (session === undefined) return settlement?.success === true && ok ? (settlement.amount ?? terms.price) : 0n;
  if (settlement?.channel !== undefined) session.book.balance = settlement.channel.balance;
  const end = () => {
    if (turn !== undefined) session.end(turn);
  };
  try {
    if (settlement === undefined || !settlement.success) {
      // An answer without a word about the payment: below 400 it may have been charged all the same.
      if (turn !== undefined && ok) session.book.lose(turn.ticket);
      else if (turn !== undefined) session.book.release(turn.ticket, true);
      return 0n;
    }
    const charged = settlement.charged ?? (ok ? terms.price : 0n);
    const cumulative = settlement.channel?.chargedCumulative ?? session.book.charged + charged;
    if (turn !== undefined) session.book.settle(turn.ticket, charged, cumulative);
    else session.book.settleLate(terms.price, charged, cumulative);
    return charged;
  } finally {
    end();
  }
}

type Answer = { response: Response; body: Uint8Array<ArrayBuffer> };

/** @throws TallystickError `receipt_invalid`: what was charged stands, and the channel signs no more. */
async function checkAnswer(context: PayContext, request: Sendable, { terms, session }: SignedPayment, settlement: Settlement, charged: bigint, { response, body }: Answer): Promise<void> {
  const receipt = receiptIn(settlement);
  if (receipt === undefined) return;
  const compressed = response.headers.get("content-encoding") !== null;
  const output = compressed || request.method === "HEAD" ? undefined : outputHash({ status: response.status, contentType: response.headers.get("content-type") ?? "", body });
  try {
    await checkReceipt(receipt, {
      chainId: terms.chainId, contract: context.contract, scheme: terms.scheme, payer: context.purse.payer, receiver: terms.payTo, token: terms.token.address,
      channelId: session?.book.channelId, signer: session?.book.config.receiverAuthorizer ?? terms.offerSigner, amount: charged,
      cumulative: settlement.channel?.chargedCumulative ?? charged, inputHash: request.inputHash, outputHash: output,
    });
  } catch (error) {
    if (session !== undefined && error instanceof TallystickError) session.book.stop(error.code, error.message);
    throw error;
  }
  if (context.purse.guard === undefined && (terms.tallystick || terms.scheme === "exact")) context.acks.add(request.url.origin, receipt);
}

function report(context: PayContext, request: Sendable, { terms, session, startedMs }: SignedPayment, settlement: Settlement, charged: bigint): void {
  context.onPayment({
    paymentId: settlement.paymentId, url: request.url.href, scheme: terms.scheme, charged, price: terms.price, transaction: settlement.transaction === "" ? undefined : settlement.transaction,
    channelId: session?.book.channelId, receipt: receiptIn(settlement), latencyMs: performance.now() - startedMs,
  });
}
