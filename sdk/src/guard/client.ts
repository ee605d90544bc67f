// The agent's side of a guard: asks with the agent's own key, several requests in one call when they come together. Browser-safe.
import { keccak256, toHex, type Address, type Hex } from "viem";
import { TallystickError, type Retry } from "../errors.ts";
import { toWireLineage, type Lineage } from "../lineage.ts";
import { mandateIdOf, mandateRegistryDomain } from "../mandate.ts";
import type { ChannelBook, Ticket } from "../agent/channel.ts";
import type { Signer, VoucherWire } from "../agent/payments.ts";
import { amountIn, objectIn } from "../agent/wire.ts";
import { APART, MAX_ORDERS, guardDomain, guardRequestTypes, toWireOrder, type GuardRequest, type Order, type SignedBinding } from "./request.ts";

export type GuardClientOptions = {
  /** Where the guard is: http://127.0.0.1:8403, or https://relayer.example/api/v1/guard. */
  url: string;
  /** The agent's own key: the mandate's delegate. */
  account: Signer;
  mandate: Lineage;
  chainId: number;
  registry: Address;
  fetch?: typeof fetch;
};

/** What a voucher is for. */
export type Purpose = { method: string; url: string; body: Uint8Array | undefined; /** Most that it may cost; 0: nothing new. */ price: bigint; /** No higher ceiling, whatever is approved. */ most?: bigint | undefined; accepts: Record<string, unknown> | undefined };

type Ask = { least: bigint; book: ChannelBook; ticket: Ticket; purpose: Purpose; done: (voucher: VoucherWire) => void; failed: (error: unknown) => void };

/** How long a request may be on its way to the guard, seconds. */
const REQUEST_TTL_S = 60;
const CALL_TIMEOUT_MS = 30_000;

export class GuardClient {
  readonly mandateId: Hex;
  readonly lineage: Lineage;
  readonly registry: Address;
  readonly #options: GuardClientOptions;
  readonly #fetch: typeof fetch;
  readonly #approved = new Map<Hex, bigint>();
  #binding: Promise<SignedBinding> | undefined;
  #waiting: Ask[] = [];
  #asking = false;

  constructor(options: GuardClientOptions) {
    this.#options = options;
    this.#fetch = options.fetch ?? globalThis.fetch.bind(globalThis);
    this.lineage = options.mandate;
    this.registry = options.registry;
    this.mandateId = mandateIdOf(mandateRegistryDomain(options.chainId, options.registry), options.mandate[0].mandate);
  }

  get principal(): Address {
    return this.lineage[0].mandate.principal;
  }

  /** Who signs the vouchers of this mandate; brings the mandate to the guard. @throws TallystickError `mandate_*`, `guard_unreachable`. */
  async authorizer(): Promise<Address> {
    return (await this.binding()).authorizer;
  }

  /** The voucher key's word that it spends under this mandate: what a relayer registers. @throws as `authorizer`. */
  binding(): Promise<SignedBinding> {
    return (this.#binding ??= this.#register().catch((error: unknown) => {
      this.#binding = undefined;
      throw error;
    }));
  }

  async #register(): Promise<SignedBinding> {
    const told = await this.#call("/mandates", { lineage: toWireLineage(this.lineage) });
    if (told["mandateId"] !== this.mandateId) throw new TallystickError({ code: "guard_elsewhere", status: 502, retry: "never", detail: `The guard looks after chain ${String(told["chainId"])} and registry ${String(told["registry"])}; the mandate is of another.` });
    return told["binding"] as SignedBinding;
  }

  /**
   * A voucher for the ticket, whose ceiling may be raised to what is approved already, so that calls under way do not wait for each other.
   * @throws TallystickError the guard's refusal, with its rule; nothing moved then.
   */
  voucher(book: ChannelBook, ticket: Ticket, purpose: Purpose): Promise<VoucherWire> {
    return new Promise((done, failed) => {
      this.#waiting.push({ least: ticket.ceiling, book, ticket, purpose, done, failed });
      void this.#ask();
    });
  }

  /** One call at a time: what comes meanwhile goes with the next one. */
  async #ask(): Promise<void> {
    if (this.#asking) return;
    this.#asking = true;
    try {
      await Promise.resolve(); // those of the same moment go together
      while (this.#waiting.length > 0) await this.#askFor(this.#waiting.splice(0, MAX_ORDERS));
    } finally {
      this.#asking = false;
    }
  }

  async #askFor(asks: readonly Ask[]): Promise<void> {
    try {
      this.#raise(asks);
      const orders = await Promise.all(asks.map((ask) => this.#order(ask)));
      const { answers } = (await this.#call("/vouchers", { orders: orders.map(toWireOrder) })) as { answers?: Record<string, unknown>[] };
      asks.forEach((ask, index) => this.#settle(ask, answers?.[index] ?? {}));
    } catch (error) {
      for (const { failed } of asks) failed(error);
    }
  }

  /** Each gets a ceiling of its own as high as what the guard will have approved: then it does not matter which arrives first. */
  #raise(asks: readonly Ask[]): void {
    for (const book of new Set(asks.map((ask) => ask.book))) {
      const approved = this.#approved.get(book.channelId);
      const mine = asks.filter((ask) => ask.book === book && ask.purpose.price > 0n && ask.ticket.price === ask.purpose.price);
      if (approved === undefined) continue;
      const most = approved + mine.reduce((sum, { purpose }) => sum + purpose.price, 0n) + APART;
      for (const { ticket, purpose } of mine) book.raise(ticket, purpose.most !== undefined && purpose.most < most ? purpose.most : most);
    }
  }

  async #order({ book, ticket, purpose }: Ask): Promise<Order> {
    const { account, chainId, registry } = this.#options;
    const request: GuardRequest = {
      mandateId: this.mandateId, channelId: book.channelId.toLowerCase() as Hex, method: purpose.method, url: purpose.url, bodyHash: keccak256(purpose.body ?? new Uint8Array()), payTo: book.config.receiver,
      price: purpose.price, ceiling: ticket.ceiling, nonce: toHex(crypto.getRandomValues(new Uint8Array(32))), expiresAt: Math.floor(Date.now() / 1_000) + REQUEST_TTL_S,
    };
    const signature = await account.signTypedData({ domain: guardDomain(chainId, registry), types: guardRequestTypes, primaryType: "GuardRequest", message: request });
    return { config: book.config, request, accepts: purpose.accepts, signature };
  }

  #settle(ask: Ask, answer: Record<string, unknown>): void {
    const { book, ticket, least, done, failed } = ask;
    const voucher = objectIn(answer, "voucher") as VoucherWire | undefined;
    if (voucher === undefined) {
      const refused = refusal(objectIn(answer, "problem") ?? {});
      // The last of a budget: the call itself may fit, only the ceiling was raised.
      if (refused.code === "mandate_exhausted" && ticket.ceiling > least && book.lower(ticket, least)) {
        this.#approved.delete(book.channelId);
        return void this.#waiting.push(ask);
      }
      return failed(refused);
    }
    if (voucher.channelId !== book.channelId.toLowerCase() || voucher.maxClaimableAmount !== String(ticket.ceiling)) return failed(broken("signed another voucher than was asked for"));
    const approved = amountIn(answer, "approvedAtomic");
    if (approved !== undefined) this.#approved.set(book.channelId, approved);
    done(voucher);
  }

  /** What the guard has counted so far. */
  status(): Promise<Record<string, unknown>> {
    return this.#call(`/mandates/${this.mandateId}`);
  }

  async #call(path: string, body?: unknown): Promise<Record<string, unknown>> {
    const url = `${baseOf(this.#options.url)}${path}`;
    const post = body === undefined ? {} : { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) };
    const response = await this.#fetch(url, { ...post, signal: AbortSignal.timeout(CALL_TIMEOUT_MS) }).catch((cause: unknown) => {
      throw new TallystickError({ code: "guard_unreachable", status: 503, retry: "safe", detail: `The guard at ${new URL(url).origin} cannot be reached; without it nothing is signed.`, cause });
    });
    const json = (await response.json().catch(() => ({}))) as Record<string, unknown>;
    if (response.ok) return json;
    throw typeof json["code"] === "string" ? refusal(json) : broken(`answered ${response.status}`);
  }
}

/** A bare origin is a guard of its own; a path, such as a relayer's /api/v1/guard, is where it is. */
function baseOf(url: string): string {
  return new URL(url).pathname === "/" ? `${new URL(url).origin}/guard/v1` : url.replace(/\/+$/, "");
}

/** The guard's problem as the error it was there. */
function refusal(problem: Record<string, unknown>): TallystickError {
  const { code, status, retry, detail, field, type: _type, title: _title, instance: _instance, ...extra } = problem;
  if (typeof code !== "string") return broken("gave no answer");
  return new TallystickError({ code, status: Number(status ?? 403), retry: (retry as Retry | undefined) ?? "never", detail: String(detail ?? code), ...(typeof field === "string" ? { field } : {}), extra });
}

function broken(what: string): TallystickError {
  return new TallystickError({ code: "guard_broken", status: 502, retry: "safe", detail: `The guard ${what}.` });
}
