// An agent that pays for what it fetches: x402 v2, by channel (batch-settlement) or call by call (exact). Browser-safe.
import { keccak256, stringToBytes, type Address, type Hex } from "viem";
import { SESSION_CHANNELS } from "../constants.ts";
import type { SignedReceipt } from "../receipt.ts";
import { openReader, type ChainReader, type ChainWriter } from "./chain.ts";
import type { RetryPolicy } from "./delivery.ts";
import type { Limits } from "./limits.ts";
import type { Signer } from "./payments.ts";
import { payFor, type PayContext } from "./pay.ts";
import { Acknowledger } from "./receipts.ts";
import { sendable, sendOnce, type CallBounds, type Sendable } from "./request.ts";
import type { DepositPolicy } from "./session.ts";
import { AgentState } from "./state.ts";
import { openStream } from "./stream-open.ts";
import type { PaidStream, StreamOptions } from "./stream.ts";
import { memoryStorage, type AgentStorage } from "./storage.ts";
import { GuardClient } from "../guard/client.ts";
import type { Lineage } from "../lineage.ts";
import { mandateDeposits } from "./mandate-deposit.ts";
import { guardedPurse, ownPurse, type Purse } from "./purse.ts";
import { signDeposit } from "./payments.ts";
import { chooseTerms, type Scheme, type Terms } from "./terms.ts";
import { readPaymentRequired } from "./wire.ts";
import { createWallet, type Wallet } from "./wallet.ts";

export type AgentOptions = {
  /** Pays, and signs vouchers unless `voucherSigner` is given. viem's local account, or anything of its shape. */
  account: Signer;
  /** The chain, for reading channels and balances. One of the two is needed. */
  rpcUrl?: string;
  reader?: ChainReader;
  /** Sends the payer's own transactions where no server helps (`wallet.withdraw` of a seller that is gone, `wallet.fund` on chain). */
  writer?: ChainWriter;
  /** Signs vouchers in the payer's stead: it can spend what channels hold, on their sellers, and nothing else. */
  voucherSigner?: Signer;
  /**
   * Pays a principal's money instead of its own: `account` is then the mandate's delegate, and every voucher comes from the guard, which
   * signs what mandate and firewall allow.
   */
  mandate?: { lineage: Lineage; /** The guard's address, such as http://127.0.0.1:8403. */ guard: string; /** The MandateRegistry. */ registry: Address; /** Where the principal itself runs the agent: signs its deposits. Else they go by its allowance to the registry. */ principal?: Signer };
  /** Pays on this chain only; any chain the SDK knows when left out. */
  chainId?: number;
  limits?: Limits;
  /** How large deposits are: for `calls` calls (100), at most `max` atomic units. */
  deposit?: Partial<DepositPolicy>;
  /** Where channels and the spend record are kept; memory when left out, so that `limits.total` begins anew with the process. */
  storage?: AgentStorage;
  /** In the order of preference. */
  schemes?: readonly Scheme[];
  /** The published address, where stock sellers and Tallystick's own are. */
  sessionChannels?: Address;
  /** Keeps its channels apart from those that the same payer has with the same sellers under another name. */
  channelName?: string;
  /** A seller that changes its receiver or token is refused unless this is true. */
  allowTermsChange?: boolean;
  /** How long one payment is sent again while its seller cannot be reached, milliseconds (60,000). */
  patienceMs?: number;
  fetch?: typeof fetch;
  /** Told after every answer that was paid for. */
  onPayment?: (payment: Payment) => void;
  /** What went wrong in the background: acknowledgements, and writing down what is only a cache. */
  onError?: (error: unknown) => void;
};

/** One answered payment. Amounts in atomic units. */
export type Payment = {
  paymentId: string | undefined;
  url: string;
  scheme: Scheme;
  charged: bigint;
  price: bigint;
  /** The deposit or transfer that came with it, when one did. */
  transaction: string | undefined;
  channelId: Hex | undefined;
  receipt: SignedReceipt | undefined;
  latencyMs: number;
};

export type Agent = {
  address: Address;
  /**
   * fetch, and a 402 is paid. Answers that are not about payment come back as they are.
   * @throws TallystickError: `limit_exceeded`, `unsupported_terms`, `terms_changed`, `payment_refused` (the seller says why),
   * `payment_undecided` (the same request again sends the same payment again), `server_overcharged`, `receipt_invalid`.
   */
  fetch: typeof fetch;
  /** As fetch, within bounds of this call's own. @throws as fetch. */
  fetchWithin(bounds: CallBounds, ...request: Parameters<typeof fetch>): Promise<Response>;
  /**
   * An event stream that is paid by the unit as it comes. Vouchers go ahead of what is delivered, up to `maxTotal`.
   * @throws TallystickError as fetch, and `stream_unsupported` when the seller sells no streams by the unit.
   */
  stream(url: string | URL, options: StreamOptions, init?: RequestInit): Promise<PaidStream>;
  wallet: Wallet;
  /** What was signed away in all, by this agent's records: the most that sellers can take. Atomic units. */
  spent(): Promise<bigint>;
  /** Sends what is left to acknowledge and writes the records. The agent can be used again. */
  close(): Promise<void>;
};

const DEFAULT_CALLS = 100;
const DEFAULT_PATIENCE_MS = 60_000;

export function createAgent(options: AgentOptions): Agent {
  const reader = options.reader ?? (options.rpcUrl === undefined ? undefined : openReader(options.rpcUrl));
  if (reader === undefined) throw new TypeError("createAgent needs rpcUrl or reader");
  const contract = options.sessionChannels ?? SESSION_CHANNELS;
  const fetcher = options.fetch ?? globalThis.fetch.bind(globalThis);
  const voucherSigner = options.voucherSigner ?? options.account;
  const retry: RetryPolicy = { patienceMs: options.patienceMs ?? DEFAULT_PATIENCE_MS };
  const onError = options.onError ?? (() => {});
  let loading: Promise<AgentState> | undefined;
  const state = () => (loading ??= AgentState.load(options.storage ?? memoryStorage(), contract, options.limits ?? {}, onError));
  const acks = new Acknowledger(voucherSigner, fetcher, onError);
  const purse = purseOf(options, reader, voucherSigner, fetcher);
  const context = async (): Promise<PayContext> => ({
    state: await state(), purse, reader, contract, fetch: fetcher, retry, acks,
    deposit: { calls: options.deposit?.calls ?? DEFAULT_CALLS, max: options.deposit?.max ?? options.limits?.deposit, tight: purse.guard !== undefined },
    onPayment: options.onPayment ?? (() => {}),
    learn: (required, url) => learn(required, url),
    saltFor: (origin) => keccak256(stringToBytes(`tallystick ${origin}${options.channelName === undefined ? "" : ` ${options.channelName}`}`)),
    undecided,
  });
  const undecided: PayContext["undecided"] = new Map();

  async function learn(required: ReturnType<typeof readPaymentRequired>, url: URL): Promise<Terms> {
    const terms = await chooseTerms(required, url, { schemes: options.schemes ?? (purse.guard === undefined ? ["batch-settlement", "exact"] : ["batch-settlement"]), chainId: options.chainId, sessionChannels: contract });
    (await state()).learn(url.origin, terms, options.allowTermsChange ?? false);
    return terms;
  }

  async function ask(request: Sendable): Promise<Terms> {
    const response = await sendOnce(fetcher, request);
    await response.body?.cancel();
    return learn(readPaymentRequired(response.headers), request.url);
  }

  async function fetchWithin(bounds: CallBounds, ...[input, init]: Parameters<typeof fetch>): Promise<Response> {
    const request = { ...(await sendable(input, init)), bounds };
    const paying = await context();
    const terms = paying.state.termsFor(request.url);
    // Terms that another call was told, and that are too dear for this one: it asks for its own.
    const known = terms !== undefined && bounds.most !== undefined && terms.price > bounds.most ? undefined : terms;
    if (known !== undefined || undecided.has(request.key)) return payFor(paying, request, known);
    const response = await sendOnce(fetcher, request);
    if (response.status !== 402 || response.headers.get("payment-required") === null) return response;
    await response.body?.cancel();
    return payFor(paying, request, await learn(readPaymentRequired(response.headers), request.url));
  }

  return {
    address: options.account.address,
    fetch: (input, init) => fetchWithin({}, input, init),
    fetchWithin,
    async stream(url, options, init) {
      const request = await sendable(url, { ...init, ...(options.signal === undefined ? {} : { signal: options.signal }) });
      const paying = await context();
      return openStream(paying, request, paying.state.termsFor(request.url) ?? (await ask(request)), options);
    },
    wallet: createWallet({ context, reader, contract, writer: options.writer, payer: purse.payer, chainId: options.chainId }),
    spent: async () => (await state()).budget.total,
    async close() {
      await acks.flush();
      await (await state()).save();
    },
  };
}

function purseOf({ account, mandate, chainId }: AgentOptions, reader: ChainReader, voucherSigner: Signer, fetcher: typeof fetch): Purse {
  if (mandate === undefined) return ownPurse(account, voucherSigner);
  if (chainId === undefined) throw new TypeError("an agent under a mandate needs chainId");
  const { lineage, guard: url, registry, principal } = mandate;
  const guard = new GuardClient({ url, account, mandate: lineage, chainId, registry, fetch: fetcher });
  const deposits: Purse["deposit"] = principal === undefined ? mandateDeposits(account, guard, reader) : (terms, { channelId }, amount) => signDeposit(principal, terms, channelId, amount);
  return guardedPurse(account, guard, deposits);
}
