// The agent's money: what it has, putting some into a channel ahead, and getting back what is not charged.
import { encodeAbiParameters, type Address, type Hex } from "viem";
import { sessionChannelsAbi } from "../abi/session-channels.ts";
import { BASE_SEPOLIA, chainById, ERC3009_COLLECTOR } from "../constants.ts";
import { TallystickError } from "../errors.ts";
import { readBalance, readChannel, send, type ChainReader, type ChainWriter } from "./chain.ts";
import { refused } from "./faults.ts";
import { deliver } from "./delivery.ts";
import { sessionFor, type PayContext } from "./pay.ts";
import { newIdentifier, paymentHeader, type VoucherWire } from "./payments.ts";
import { problemOf, sendable, sendOnce } from "./request.ts";
import { voucherFor } from "./purse.ts";
import type { ChannelConfig } from "../typed-data.ts";
import type { Session } from "./session.ts";
import type { Terms } from "./terms.ts";
import { readPaymentRequired, readSettlement } from "./wire.ts";

export type ChannelBalance = {
  channelId: Hex;
  origin: string;
  receiver: Address;
  /** By the chain: what is in it, and what its seller has claimed of it. */
  balance: bigint;
  claimed: bigint;
  /** By our records: charged, and the most the seller could claim. */
  charged: bigint;
  signed: bigint;
  /** Comes back by a refund. */
  free: bigint;
  /** Unix seconds when a pending withdrawal can be finished; undefined when none is pending. */
  withdrawableAt: number | undefined;
};

export type Withdrawal =
  /** The seller gave back what was not charged. */
  | { state: "refunded"; channelId: Hex; amount: bigint; transaction: string }
  /** On chain, waiting for the channel's delay: call withdraw again from `availableAt` (unix seconds) on. */
  | { state: "withdrawing"; channelId: Hex; amount: bigint; availableAt: number; transaction: string | undefined }
  /** On chain, done. */
  | { state: "withdrawn"; channelId: Hex; amount: bigint; transaction: string }
  /** There was nothing to get back. */
  | { state: "empty"; channelId: Hex };

export type Wallet = {
  /** Atomic units. Reads the chain. */
  getBalance(): Promise<{ wallet: bigint; channels: ChannelBalance[] }>;
  /**
   * Puts `amount` into the channel to a seller before it is needed; through the seller where it takes deposits (no gas), else by the
   * payer's own transaction (`writer`).
   * @param where a URL of the seller; not needed when the agent has one channel only.
   * @throws TallystickError `limit_exceeded`, `seller_unknown`, `fund_refused`.
   */
  fund(amount: bigint, where?: { url: string }): Promise<{ channelId: Hex; transaction: string; balance: bigint }>;
  /**
   * Signs a voucher for `amount` more, to be handed over: it counts as spent at once, and the channel's next calls go beyond it.
   * @throws TallystickError `limit_exceeded`, `seller_unknown`, `channel_too_small` (fund it first).
   */
  voucher(amount: bigint, where: { url: string }): Promise<{ channelConfig: ChannelConfig; voucher: VoucherWire }>;
  /**
   * Gets back what is not charged, of all channels or one. Asks the seller first (at once, no gas); one that is gone or refuses is left
   * to the chain (`writer`), which takes the channel's delay and a second call. Safe to repeat.
   * @throws TallystickError `withdraw_needs_writer` when only the chain can help and no `writer` was given.
   */
  withdraw(what?: { channelId?: Hex; /** Of one channel, atomic units; all that is free when left out. */ amount?: bigint; /** Do not ask the seller. */ onChain?: boolean }): Promise<Withdrawal[]>;
};

type WalletParts = { context(): Promise<PayContext>; reader: ChainReader; contract: Address; writer: ChainWriter | undefined; payer: Address; chainId: number | undefined };

export function createWallet(parts: WalletParts): Wallet {
  return {
    async getBalance() {
      const { state } = await parts.context();
      const chainId = parts.chainId ?? (await parts.reader.getChainId());
      const { usdc } = chainById(chainId) ?? BASE_SEPOLIA;
      const [wallet, ...channels] = await Promise.all([readBalance(parts.reader, usdc.address, parts.payer), ...[...state.sessions.values()].map((session) => balanceOf(parts, session))]);
      return { wallet, channels };
    },
    fund: async (amount, where) => fund(parts, await parts.context(), amount, where),
    voucher: async (amount, where) => handOver(await parts.context(), amount, new URL(where.url)),
    async withdraw({ channelId, amount, onChain = false } = {}) {
      const context = await parts.context();
      const sessions = [...context.state.sessions.values()].filter(({ book }) => channelId === undefined || book.channelId === channelId.toLowerCase());
      const done: Withdrawal[] = [];
      for (const session of sessions) done.push(await withdraw(parts, context, session, amount, onChain));
      await context.state.save();
      return done;
    },
  };
}

async function balanceOf({ reader, contract }: WalletParts, { book, origin }: Session): Promise<ChannelBalance> {
  const { balance, totalClaimed, withdrawInitiatedAt } = await readChannel(reader, contract, book.channelId);
  book.balance = balance;
  return {
    channelId: book.channelId, origin, receiver: book.config.receiver, balance, claimed: totalClaimed, charged: book.charged, signed: book.signed, free: book.free,
    withdrawableAt: withdrawInitiatedAt === 0 ? undefined : withdrawInitiatedAt + book.config.withdrawDelay,
  };
}

async function fund(parts: WalletParts, context: PayContext, amount: bigint, where: { url: string } | undefined) {
  context.state.budget.checkDeposit(amount);
  const url = new URL(where?.url ?? onlySeller(context));
  const terms = context.state.termsFor(url) ?? (await askTerms(context, url));
  const session = await sessionFor(context, url.origin, terms);
  const deposit = await context.purse.deposit(terms, session.book, amount, session.book.charged);
  if (deposit === undefined) throw new TallystickError({ code: "mandate_exhausted", status: 403, retry: "never", field: "amount", detail: "The mandate lets nothing more go now." });
  const transaction = (await fundThroughSeller(context, session, terms, url, deposit)) ?? (await fundOnChain(parts, session, amount, deposit));
  session.book.balance = (await readChannel(parts.reader, parts.contract, session.book.channelId)).balance;
  await context.state.save();
  return { channelId: session.book.channelId, transaction, balance: session.book.balance };
}

async function handOver(context: PayContext, amount: bigint, url: URL) {
  const terms = context.state.termsFor(url) ?? (await askTerms(context, url));
  const session = await sessionFor(context, url.origin, terms);
  const { book } = session;
  const ticket = book.take(amount, 0n, undefined, book.inFlight + 1);
  if ("wait" in ticket) throw new TallystickError({ code: "channel_too_small", status: 402, retry: "never", field: "amount", detail: `${book.free} of the channel are free, not ${amount}: fund it first.` });
  try {
    const voucher = await voucherFor(context, session, terms, ticket, { method: "POST", url: url.href, body: undefined, price: amount, accepts: undefined });
    // Whoever has it may use it at any time, and no answer tells us.
    book.lose(ticket);
    return { channelConfig: book.config, voucher };
  } catch (error) {
    book.release(ticket, true);
    throw error;
  }
}

function onlySeller({ state }: PayContext): string {
  const [session, another] = state.sessions.values();
  if (session !== undefined && another === undefined) return session.origin + session.scope;
  throw new TallystickError({ code: "seller_unknown", status: 400, retry: "never", field: "where.url", detail: `The agent has ${session === undefined ? "no channel" : "several channels"}: say whom to fund.` });
}

async function askTerms(context: PayContext, url: URL): Promise<Terms> {
  const response = await sendOnce(context.fetch, await sendable(url, undefined));
  await response.body?.cancel();
  if (response.status !== 402) throw new TallystickError({ code: "seller_unknown", status: 400, retry: "never", field: "where.url", detail: `${url.href} answered ${response.status} and asks for no payment.` });
  const terms = await context.learn(readPaymentRequired(response.headers), url);
  if (terms.scheme === "batch-settlement") return terms;
  throw new TallystickError({ code: "seller_unknown", status: 400, retry: "never", field: "where.url", detail: `${url.href} is not paid by channel.` });
}

/** By the facilitator's own door, where the seller has one: a deposit with a voucher that adds nothing. Undefined where it has none. */
async function fundThroughSeller(context: PayContext, session: Session, terms: Terms, url: URL, deposit: Record<string, unknown>): Promise<string | undefined> {
  const voucher = await settledVoucher(context, session, terms, url);
  const payload = { type: "deposit", channelConfig: session.book.config, voucher, deposit };
  const paymentPayload = { x402Version: 2, resource: { url: url.href }, accepted: terms.accepts, payload };
  const body = JSON.stringify({ x402Version: 2, paymentPayload, paymentRequirements: terms.accepts });
  const response = await context.fetch(`${url.origin}/settle`, { method: "POST", headers: { "content-type": "application/json" }, body });
  if (response.status === 404 || response.status === 405) {
    await response.body?.cancel();
    return undefined;
  }
  const answer = (await response.json()) as { success?: boolean; transaction?: string; errorReason?: string; errorMessage?: string; detail?: string };
  if (answer.success === true && answer.transaction) return answer.transaction;
  throw new TallystickError({ code: "fund_refused", status: 502, retry: "safe", detail: `${url.origin} did not take the deposit: ${answer.errorReason ?? answer.detail ?? response.status}.` });
}

/** A voucher that adds nothing: it says what is charged already. */
function settledVoucher(context: PayContext, session: Session, terms: Terms, url: URL) {
  const purpose = { method: "POST", url: url.href, body: undefined, price: 0n, accepts: undefined };
  return voucherFor(context, session, terms, { ceiling: session.book.charged, price: 0n }, purpose);
}

async function fundOnChain({ reader, writer, contract }: WalletParts, { book }: Session, amount: bigint, deposit: Record<string, unknown>): Promise<string> {
  if (writer === undefined) throw new TallystickError({ code: "fund_refused", status: 501, retry: "never", detail: "The seller takes no deposits apart from payments, and the agent has no `writer` to send its own." });
  const collector = (deposit["collector"] as Address | undefined) ?? ERC3009_COLLECTOR;
  const hash = await writer.writeContract({ address: contract, abi: sessionChannelsAbi, functionName: "deposit", args: [book.config, amount, collector, collectorData(deposit)], account: writer.account, chain: writer.chain });
  const receipt = await reader.waitForTransactionReceipt({ hash });
  if (receipt.status === "success") return hash;
  throw new TallystickError({ code: "transaction_reverted", status: 502, retry: "never", detail: `The deposit was refused by the chain in ${hash}.`, extra: { txHash: hash } });
}

/** What the deposit's collector reads. */
function collectorData(deposit: Record<string, unknown>): Hex {
  const { erc3009Authorization, mandateDeposit } = deposit["authorization"] as { erc3009Authorization?: { validAfter: string; validBefore: string; salt: Hex; signature: Hex }; mandateDeposit?: { data: Hex } };
  if (erc3009Authorization === undefined) return mandateDeposit!.data;
  const { validAfter, validBefore, salt, signature } = erc3009Authorization;
  const types = [{ type: "uint256" }, { type: "uint256" }, { type: "uint256" }, { type: "bytes" }] as const;
  return encodeAbiParameters(types, [BigInt(validAfter), BigInt(validBefore), BigInt(salt), signature]);
}

async function withdraw(parts: WalletParts, context: PayContext, session: Session, amount: bigint | undefined, onChain: boolean): Promise<Withdrawal> {
  const { channelId } = session.book;
  const state = await readChannel(parts.reader, parts.contract, channelId);
  session.book.balance = state.balance;
  if (state.withdrawInitiatedAt > 0) return finish(parts, session, state);
  if (state.balance <= state.totalClaimed) return { state: "empty", channelId };
  const given = onChain ? undefined : await askRefund(context, session, amount);
  if (given !== undefined) {
    session.book.balance = (await readChannel(parts.reader, parts.contract, channelId)).balance;
    return given;
  }
  const writer = needWriter(parts);
  const wanted = amount ?? state.balance - state.totalClaimed;
  const transaction = await send(parts.reader, writer, parts.contract, "initiateWithdraw", session.book.config, wanted);
  const { withdrawInitiatedAt } = await readChannel(parts.reader, parts.contract, channelId);
  return { state: "withdrawing", channelId, amount: wanted, availableAt: withdrawInitiatedAt + session.book.config.withdrawDelay, transaction };
}

async function finish(parts: WalletParts, session: Session, state: Awaited<ReturnType<typeof readChannel>>): Promise<Withdrawal> {
  const { channelId, config } = session.book;
  const availableAt = state.withdrawInitiatedAt + config.withdrawDelay;
  const { timestamp } = await parts.reader.getBlock();
  if (Number(timestamp) < availableAt) return { state: "withdrawing", channelId, amount: state.withdrawAmount, availableAt, transaction: undefined };
  const transaction = await send(parts.reader, needWriter(parts), parts.contract, "finalizeWithdraw", config);
  const after = await readChannel(parts.reader, parts.contract, channelId);
  session.book.balance = after.balance;
  return { state: "withdrawn", channelId, amount: state.balance - after.balance, transaction };
}

function needWriter({ writer }: WalletParts): ChainWriter {
  if (writer !== undefined) return writer;
  throw new TallystickError({ code: "withdraw_needs_writer", status: 501, retry: "never", field: "writer", detail: "The seller gives nothing back, so the payer must ask the chain itself: give createAgent a `writer` with some ether for gas." });
}

const REFUND_ROUNDS = 2;

/** Undefined when the seller cannot be reached or refuses. */
async function askRefund(context: PayContext, session: Session, amount: bigint | undefined): Promise<Withdrawal | undefined> {
  const url = new URL(session.origin + session.scope);
  const request = await sendable(url, undefined);
  try {
    const terms = context.state.termsFor(url) ?? (await askTerms(context, url));
    for (let round = 1; round <= REFUND_ROUNDS; round++) {
      const { book } = session;
      const { answers } = book;
      const voucher = await settledVoucher(context, session, terms, url);
      const payload = { type: "refund", channelConfig: book.config, voucher, ...(amount === undefined ? {} : { amount: amount.toString() }) };
      const delivery = await deliver(context.fetch, request, paymentHeader(terms, payload, url.href, newIdentifier()), context.retry);
      if (delivery.outcome === "undecided") return undefined;
      const { response } = delivery;
      const settlement = readSettlement(response.headers);
      if (response.ok && settlement?.success === true) return { state: "refunded", channelId: book.channelId, amount: settlement.amount ?? 0n, transaction: settlement.transaction };
      if (response.status !== 402 || response.headers.get("payment-required") === null) return undefined;
      const required = readPaymentRequired(response.headers);
      const problem = await problemOf(response);
      const claimed = async () => (await readChannel(context.reader, context.contract, book.channelId)).totalClaimed;
      if (!(await session.resync(required.accepts, context.contract, { answers }, claimed))) throw refused(402, required.error ?? "no reason given", problem);
    }
  } catch (error) {
    if (!(error instanceof TallystickError || error instanceof TypeError)) throw error;
    return undefined; // down, or not willing: the chain is what is left
  }
  return undefined;
}
