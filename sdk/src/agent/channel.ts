// One channel as its payer keeps it: what is signed, charged and in flight; which ceiling the next voucher gets; whether the seller's
// word can be true. No I/O here. Amounts in atomic units, cumulative where the contract's are.
import { TallystickError } from "../errors.ts";
import type { ChannelConfig } from "../typed-data.ts";
import type { Hex } from "viem";

export type Ticket = {
  /** The voucher's ceiling. */
  ceiling: bigint;
  price: bigint;
  /** How many answers the book had when it was taken: what the seller says of this payment may be as old as that. */
  answers?: number;
};

/** Why there is no ticket now. */
export type NoTicket =
  /** Nothing fits into the balance: deposit first. */
  | { wait: "deposit"; needed: bigint }
  /** Something in flight must end first. */
  | { wait: "turn" };

export class ChannelBook {
  readonly channelId: Hex;
  readonly config: ChannelConfig;
  /** Highest ceiling signed. */
  signed: bigint;
  /** What the seller has charged, by its answers. */
  charged: bigint;
  balance: bigint;
  /** Sum of the prices of payments in flight. */
  #open = 0n;
  /** Of payments that got no answer: they may have been charged. */
  #lost = 0n;
  /** Of lost payments that a resync has since explained or will: they only widen what a seller may say. */
  #doubtful = 0n;
  /** Answered charges since `#base`. */
  #answered = 0n;
  #base: bigint;
  /** Answers that were entered, in number. */
  #answers = 0;
  /** Ceilings in use or used, above what is charged: each buys one answer. */
  readonly #used = new Set<bigint>();
  #inFlight = 0;
  /** False while the seller may know of charges that we do not: found on chain, or read from storage. The first answer tells. */
  #anchored: boolean;
  /** Why this channel signs no more, or undefined. */
  stopped: TallystickError | undefined;

  constructor(init: { channelId: Hex; config: ChannelConfig; signed: bigint; charged: bigint; balance: bigint }) {
    this.channelId = init.channelId;
    this.config = init.config;
    this.signed = init.signed;
    this.charged = init.charged;
    this.balance = init.balance;
    this.#base = init.charged;
    this.#anchored = init.balance === 0n;
  }

  get anchored(): boolean {
    return this.#anchored;
  }

  get answers(): number {
    return this.#answers;
  }

  get inFlight(): number {
    return this.#inFlight;
  }

  /** What is charged, in flight or in doubt. */
  get bound(): bigint {
    return this.charged + this.#open + this.#lost;
  }

  /** Free for payments and refunds. */
  get free(): bigint {
    return this.balance > this.bound ? this.balance - this.bound : 0n;
  }

  /**
   * A voucher's ceiling for one more call.
   * @param headroom what calls that are waiting or in flight may add before this one arrives; 0 for a seller that wants
   * charged + price exactly.
   * `tight`: no higher than the calls come to, for a guard that signs no more.
   * @param most the highest ceiling the agent's limits allow, or undefined.
   * @param arriving a deposit that comes with this voucher.
   */
  take(price: bigint, headroom: bigint | "tight", most: bigint | undefined, maxInFlight: number, arriving = 0n): Ticket | NoTicket {
    if (this.stopped !== undefined) throw this.stopped;
    if (this.#inFlight >= maxInFlight) return { wait: "turn" };
    const least = this.charged + this.#open + this.#lost + price;
    const balance = this.balance + arriving;
    if (least > balance) return this.#open > 0n && this.charged + price <= balance ? { wait: "turn" } : { wait: "deposit", needed: least - balance };
    const highest = [least + (headroom === "tight" ? 0n : headroom), balance, ...(most === undefined || most < least ? [] : [most])].reduce((a, b) => (a < b ? a : b));
    const ceiling = headroom === "tight" ? this.#lowest(least, balance) : (this.#unused(least, highest) ?? this.#unused(highest, balance));
    if (ceiling === undefined) return this.#inFlight > 0 ? { wait: "turn" } : { wait: "deposit", needed: price };
    this.#used.add(ceiling);
    this.#open += price;
    this.#inFlight += 1;
    return { ceiling, price, answers: this.#answers };
  }

  #lowest(least: bigint, most: bigint): bigint | undefined {
    for (let ceiling = least; ceiling <= most; ceiling++) if (!this.#used.has(ceiling)) return ceiling;
    return undefined;
  }

  /** Gives a ticket back the lowest free ceiling from `least` on. @returns false when there is none below its own. */
  lower(ticket: Ticket, least: bigint): boolean {
    const ceiling = this.#lowest(least, ticket.ceiling - 1n);
    if (ceiling === undefined) return false;
    this.#used.delete(ticket.ceiling);
    this.#used.add(ceiling);
    ticket.ceiling = ceiling;
    return true;
  }

  /** Gives a ticket the highest free ceiling up to `most`, where it is higher than the ticket's. */
  raise(ticket: Ticket, most: bigint): void {
    const ceiling = this.#unused(ticket.ceiling + 1n, most < this.balance ? most : this.balance);
    if (ceiling === undefined) return;
    this.#used.delete(ticket.ceiling);
    this.#used.add(ceiling);
    ticket.ceiling = ceiling;
  }

  /** The highest unused ceiling from `least` to `highest`. */
  #unused(least: bigint, highest: bigint): bigint | undefined {
    for (let ceiling = highest; ceiling >= least; ceiling--) if (!this.#used.has(ceiling)) return ceiling;
    return undefined;
  }

  /** The payment was refused or failed without a charge: its price is free again. `reusable` says whether its ceiling is too. */
  release({ ceiling, price }: Ticket, reusable: boolean): void {
    this.#open -= price;
    this.#inFlight -= 1;
    if (reusable) this.#used.delete(ceiling);
  }

  /** No answer came: its price may have been charged and stays counted; the call is no longer in flight. */
  lose({ price }: Ticket): void {
    this.#open -= price;
    this.#lost += price;
    this.#inFlight -= 1;
  }

  /** The most that can be charged by what we know. */
  get explained(): bigint {
    return this.#base + this.#answered + this.#open + this.#lost + this.#doubtful;
  }

  /**
   * The seller answered and says what it charged.
   * @throws TallystickError `server_overcharged`: the charge is above the price, or its total cannot be explained by the calls
   * we made. The channel signs no more.
   */
  settle({ ceiling, price }: Ticket, charged: bigint, cumulative: bigint): void {
    this.#open -= price;
    this.#inFlight -= 1;
    this.#enter(price, charged, cumulative);
    // A voucher that was charged nothing has bought nothing: it pays for another call.
    if (charged === 0n) this.#used.delete(ceiling);
  }

  /** As settle, of a payment that had been given up for lost. */
  settleLate(price: bigint, charged: bigint, cumulative: bigint): void {
    if (this.#lost >= price) this.#lost -= price;
    else if (this.#doubtful >= price) this.#doubtful -= price;
    this.#enter(price, charged, cumulative);
  }

  #enter(price: bigint, charged: bigint, cumulative: bigint): void {
    if (charged > price) throw this.stop("server_overcharged", `The seller charged ${charged} for a call at ${price}.`);
    if (cumulative < charged) throw this.stop("server_overcharged", `The seller says ${cumulative} is charged in all and ${charged} by this call.`);
    if (cumulative > this.signed) throw this.stop("server_overcharged", `The seller says ${cumulative} is charged in all; at most ${this.signed} was signed.`);
    if (!this.#anchored) {
      this.#base = cumulative - charged;
      this.#anchored = true;
    }
    this.#answered += charged;
    this.#answers += 1;
    if (cumulative > this.explained) throw this.stop("server_overcharged", `The seller says ${cumulative} is charged in all; our calls explain at most ${this.explained}.`);
    if (cumulative > this.charged) this.charged = cumulative;
    for (const ceiling of this.#used) if (ceiling < this.charged) this.#used.delete(ceiling);
  }

  /**
   * The seller's state was checked (our own signature, or the chain): go on from there. `usedCeiling` was refused.
   * @param answers the book had when what was refused was sent; undefined: not known.
   */
  resync(charged: bigint, balance: bigint | undefined, usedCeiling: bigint | undefined, answers: number | undefined): void {
    if (usedCeiling !== undefined) this.#used.add(usedCeiling);
    if (balance !== undefined) this.balance = balance;
    this.#doubtful += this.#lost;
    this.#lost = 0n;
    // Other calls that are under way, or were answered since this one was sent: the state may be older than their answers, and what they were
    // charged would be forgotten.
    if (this.#anchored && (this.#inFlight > 0 || answers !== this.#answers)) {
      if (charged > this.charged) this.charged = charged;
      return;
    }
    this.charged = charged;
    this.#anchored = true;
    this.#base = charged;
    this.#answered = 0n;
  }

  stop(code: string, detail: string): TallystickError {
    this.stopped = new TallystickError({ code, status: 502, retry: "never", detail, extra: { channelId: this.channelId } });
    return this.stopped;
  }
}
