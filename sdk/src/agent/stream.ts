// A streamed answer paid step by step: vouchers go ahead of what is delivered, never above the budget, and what the seller charges in
// the end must be what came. The agent signs for what is about to come, so a seller that vanishes holds at most one step ahead.
import type { Address, Hex } from "viem";
import { TallystickError } from "../errors.ts";
import { outputHash, type SignedReceipt } from "../receipt.ts";
import { SseSplitter, type SseEvent } from "../sse.ts";
import { checkReceipt } from "./receipts.ts";
import { objectIn, requiredAmount } from "./wire.ts";

/** What a stream needs of whoever pays for it. */
export type StreamPayer = {
  chainId: number;
  contract: Address;
  payer: Address;
  receiver: Address;
  token: Address;
  channelId: Hex;
  /** The channel's receiverAuthorizer, who signs its receipts. */
  signer: Address;
  inputHash: Hex;
  /** Of one unit, atomic units, as the seller announced it. */
  unitPrice: bigint;
  /** What the payment that opened the stream lets it charge. */
  firstAllowance: bigint;
  /** The most the stream may cost in all. */
  maxTotal: bigint;
  /** Signs and sends a voucher that lets the stream take `amount` more. @returns what it may take in all. @throws when the seller refuses it. */
  extend(paymentId: string, amount: bigint): Promise<bigint>;
  /** The stream is over, and cost this. @throws TallystickError `server_overcharged`. */
  settle(charged: bigint, cumulative: bigint): void;
  /** The answer as the seller keeps it, with what it charged: for a stream that was left, or broke, before its last event. */
  refetch(): Promise<{ charged: bigint; cumulative: bigint; receipt: SignedReceipt | undefined; body: Uint8Array } | undefined>;
  /** It ended without a word: all that was allowed may have been charged. */
  lose(): void;
};

export type StreamOptions = {
  /** The most the whole stream may cost, atomic units. */
  maxTotal: bigint;
  /** How many units are paid ahead (10): how much a seller could keep without delivering. */
  unitsAhead?: number;
  signal?: AbortSignal;
};

export type StreamEnd = {
  paymentId: string;
  charged: bigint;
  /** Of the channel, after this stream or a later step of others. */
  cumulative: bigint;
  /** Why the seller ended it; `stopped` when the reader did. */
  reason: "complete" | "money" | "upstream_broken" | "client_gone" | "relayer_lost" | "stopped";
  receipt: SignedReceipt | undefined;
};

/** Events as they come; `end` once all were read. Leaving the loop early closes the connection: what came by then is charged. */
export type PaidStream = AsyncIterable<SseEvent> & {
  response: Response;
  paymentId: string;
  /** Units that came so far. */
  units: number;
  /** Undefined until the stream is over. */
  end: StreamEnd | undefined;
};

const DEFAULT_UNITS_AHEAD = 10;
const FINAL = "tallystick-final";
const NEED = "tallystick-need-voucher";

export function paidStream(response: Response, paymentId: string, payer: StreamPayer, options: Pick<StreamOptions, "unitsAhead"> = {}): PaidStream {
  const reading = new Reading(response, paymentId, payer, BigInt(options.unitsAhead ?? DEFAULT_UNITS_AHEAD));
  return reading;
}

class Reading implements PaidStream {
  readonly response: Response;
  readonly paymentId: string;
  units = 0;
  end: StreamEnd | undefined;
  readonly #payer: StreamPayer;
  readonly #ahead: bigint;
  readonly #kept: Uint8Array[] = [];
  #allowance: bigint;
  /** Vouchers are sent one after the other; none is sent after one that was refused. */
  #extending: Promise<void> = Promise.resolve();
  #refused: unknown;
  #asked: bigint;

  constructor(response: Response, paymentId: string, payer: StreamPayer, unitsAhead: bigint) {
    this.response = response;
    this.paymentId = paymentId;
    this.#payer = payer;
    this.#ahead = unitsAhead * payer.unitPrice;
    this.#allowance = this.#asked = payer.firstAllowance;
  }

  get #cost(): bigint {
    return BigInt(this.units) * this.#payer.unitPrice;
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<SseEvent, void, void> {
    if (this.response.body === null) throw broken("has no body");
    const reader = this.response.body.getReader();
    const splitter = new SseSplitter();
    try {
      for (;;) {
        const { done, value } = await reader.read();
        if (done) break;
        for (const event of splitter.push(value)) if (await this.#take(event)) yield event;
      }
    } finally {
      await this.#close(reader);
    }
    if (this.end === undefined) throw broken("ended without saying what it charged");
  }

  /** @returns true for an event of the service; ours are dealt with here. */
  async #take(event: SseEvent): Promise<boolean> {
    if (event.event === FINAL) {
      await this.#finish(JSON.parse(event.data ?? "null") as Record<string, unknown>);
      return false;
    }
    if (event.event === NEED) {
      this.#extend(requiredAmount(JSON.parse(event.data ?? "{}") as Record<string, unknown>, "needed"));
      return false;
    }
    this.units += unitsOf(event);
    this.#kept.push(event.raw);
    this.#extend(0n);
    return true;
  }

  /** Pays ahead as far as the budget goes; `needed` is what the seller waits for beyond what came. */
  #extend(needed: bigint): void {
    const ahead = needed > this.#ahead ? needed : this.#ahead;
    // Half is left when more is sent, so that the voucher is there before it is needed.
    if (needed === 0n && this.#asked - this.#cost > ahead / 2n) return;
    const wanted = least(this.#cost + ahead, this.#payer.maxTotal);
    // A need that the budget does not cover is not paid in part: the stream ends.
    if (wanted <= this.#asked || wanted < this.#cost + needed) return;
    const amount = wanted - this.#asked;
    this.#asked = wanted; // also when it is refused: what was refused once is not tried again
    this.#extending = this.#extending.then(async () => {
      if (this.#refused !== undefined || this.end !== undefined) return;
      try {
        this.#allowance = await this.#payer.extend(this.paymentId, amount);
      } catch (error) {
        this.#refused = error;
      }
    });
  }

  /** @throws TallystickError `server_overcharged` or `receipt_invalid`. */
  async #finish(final: Record<string, unknown>): Promise<void> {
    await this.#extending;
    const charged = requiredAmount(final, "charged");
    const cumulative = requiredAmount(final, "cumulative");
    const receipt = objectIn(final, "receipt") as SignedReceipt | undefined;
    this.end = { paymentId: this.paymentId, charged, cumulative, reason: final["reason"] as StreamEnd["reason"], receipt };
    await this.#check(joined(this.#kept));
  }

  /** @throws TallystickError `server_overcharged` or `receipt_invalid`. */
  async #check(body: Uint8Array): Promise<void> {
    const { charged, cumulative, receipt } = this.end!;
    this.#payer.settle(charged, cumulative);
    if (charged !== this.#cost) throw overcharged(`The seller charged ${charged}; ${this.units} units at ${this.#payer.unitPrice} came, which is ${this.#cost}.`);
    if (receipt === undefined || charged === 0n) return;
    const { chainId, contract, payer, receiver, token, channelId, signer, inputHash } = this.#payer;
    await checkReceipt(receipt, {
      chainId, contract, scheme: "batch-settlement", payer, receiver, token, channelId, signer, inputHash, amount: charged, cumulative,
      outputHash: outputHash({ status: this.response.status, contentType: this.response.headers.get("content-type") ?? "", body }),
    });
  }

  /** However the reader left: what came by then, read or on its way, is charged. The seller keeps it and says so. */
  async #close(reader: ReadableStreamDefaultReader<Uint8Array>): Promise<void> {
    if (this.end !== undefined) return;
    await reader.cancel().catch(() => {}); // broken already
    await this.#extending;
    // Nothing came: the payment may be free again, and sending it would buy anew.
    const told = this.units === 0 ? undefined : await this.#payer.refetch();
    if (told === undefined) return this.#payer.lose();
    this.units = new SseSplitter().push(told.body).reduce((sum, event) => sum + unitsOf(event), 0);
    this.end = { paymentId: this.paymentId, charged: told.charged, cumulative: told.cumulative, reason: "stopped", receipt: told.receipt };
    await this.#check(told.body);
  }

  /** Why a voucher was refused, when one was. */
  get refused(): unknown {
    return this.#refused;
  }

  /** What the seller says the stream may take in all, atomic units. */
  get allowance(): bigint {
    return this.#allowance;
  }
}

function joined(parts: readonly Uint8Array[]): Uint8Array {
  const all = new Uint8Array(parts.reduce((size, part) => size + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

const unitsOf = ({ units, data }: SseEvent): number => units ?? (data === undefined ? 0 : 1);

const least = (a: bigint, b: bigint): bigint => (a < b ? a : b);

function overcharged(detail: string): TallystickError {
  return new TallystickError({ code: "server_overcharged", status: 502, retry: "never", detail });
}

function broken(what: string): TallystickError {
  return new TallystickError({ code: "stream_broken", status: 502, retry: "safe", detail: `The stream ${what}.` });
}
