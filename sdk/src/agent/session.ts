// A channel in use: hands out tickets in turn, decides when a deposit comes along, and catches up with a seller's corrective 402.
import { recoverTypedDataAddress, isAddressEqual, type Address, type Hex } from "viem";
import { sessionChannelsDomain, voucherTypes } from "../typed-data.ts";
import { TallystickError } from "../errors.ts";
import type { Budget } from "./limits.ts";
import type { ChannelBook, Ticket } from "./channel.ts";
import type { Terms } from "./terms.ts";
import { objectIn, readChannelState, requiredAmount, textIn, type Accepts } from "./wire.ts";

export type DepositPolicy = {
  /** A deposit pays for this many calls, at least what the seller asks for. */
  calls: number;
  /** Atomic units; no deposit is larger. */
  max: bigint | undefined;
  /** A guard signs no ceiling above what it has approved, so calls that only may come add nothing. */
  tight?: boolean;
};

export type Turn = { ticket: Ticket; deposit: bigint | undefined };

/** A deposit is brought along when less than this part of the last one is left, so that no call has to wait for one. */
const LOW_WATER_PERCENT = 20n;

export class Session {
  readonly book: ChannelBook;
  readonly origin: string;
  readonly scope: string;
  readonly chainId: number;
  #waiting: (() => void)[] = [];
  /** Calls that want a ticket or have one: what headroom is for. */
  #wanting = 0;
  #depositing = false;
  #earlyDeposits = true;
  #lastDeposit: bigint;

  constructor(book: ChannelBook, origin: string, scope: string, chainId: number) {
    this.book = book;
    this.origin = origin;
    this.scope = scope;
    this.chainId = chainId;
    this.#lastDeposit = book.balance - book.charged;
  }

  /**
   * Waits for a ticket. The caller gives it back by `end`.
   * @throws TallystickError `limit_exceeded`, or why the channel is stopped.
   */
  async take(terms: Terms, budget: Budget, policy: DepositPolicy, signal: AbortSignal | undefined): Promise<Turn> {
    this.#wanting += 1;
    try {
      for (;;) {
        signal?.throwIfAborted();
        const turn = this.#tryTake(terms, budget, policy);
        if (turn !== undefined) return turn;
        await new Promise<void>((wake) => this.#waiting.push(wake));
      }
    } catch (error) {
      this.#wanting -= 1;
      throw error;
    }
  }

  #tryTake(terms: Terms, budget: Budget, policy: DepositPolicy): Turn | undefined {
    const most = budget.room === undefined ? undefined : this.book.signed + budget.room;
    const headroom = policy.tight === true ? ("tight" as const) : terms.maxInFlight > 1 ? terms.price * BigInt(Math.min(this.#wanting, terms.maxInFlight) - 1) : 0n;
    if (this.#isLow(terms) && !this.#depositing) {
      const amount = this.#depositFor(terms, policy, 0n);
      const early = this.#affordable(budget, amount) ? this.book.take(terms.price, headroom, most, terms.maxInFlight, amount) : undefined;
      if (early !== undefined && "ceiling" in early) return this.#withDeposit(early, amount);
    }
    const taken = this.book.take(terms.price, headroom, most, terms.maxInFlight);
    if ("ceiling" in taken) return { ticket: taken, deposit: undefined };
    if (taken.wait === "turn" || this.#depositing) return undefined;
    const amount = this.#depositFor(terms, policy, taken.needed);
    budget.checkDeposit(amount);
    const covered = this.book.take(terms.price, headroom, most, terms.maxInFlight, amount);
    if ("ceiling" in covered) return this.#withDeposit(covered, amount);
    if (covered.wait === "turn") return undefined;
    throw new TallystickError({ code: "deposit_too_small", status: 402, retry: "never", field: "deposit.max", detail: `A deposit of ${amount} does not cover the ${taken.needed} that one call needs.` });
  }

  #affordable(budget: Budget, amount: bigint): boolean {
    return budget.limits.deposit === undefined || amount <= budget.limits.deposit;
  }

  #withDeposit(ticket: Ticket, amount: bigint): Turn {
    this.#depositing = true;
    this.#lastDeposit = amount;
    return { ticket, deposit: amount };
  }

  /** It came to this, which may be less than was wanted. */
  deposited(amount: bigint): void {
    this.#lastDeposit = amount;
  }

  /** There is nothing left to put in ahead: only what a call needs is asked for. */
  stopEarlyDeposits(): void {
    this.#earlyDeposits = false;
  }

  /** Only where several calls may be in flight: a stock seller has one, which would wait for the deposit anyway. */
  #isLow(terms: Terms): boolean {
    return this.#earlyDeposits && terms.maxInFlight > 1 && this.book.balance > 0n && this.book.free * 100n < this.#lastDeposit * LOW_WATER_PERCENT;
  }

  #depositFor(terms: Terms, { calls, max }: DepositPolicy, needed: bigint): bigint {
    const wanted = [terms.price * BigInt(calls), terms.minDeposit, needed].reduce((a, b) => (a > b ? a : b));
    return max !== undefined && wanted > max ? max : wanted;
  }

  /** The turn is over, however: its deposit no longer blocks another, and whoever waits looks again. */
  end({ deposit }: Turn): void {
    this.#wanting -= 1;
    if (deposit !== undefined) this.#depositing = false;
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const wake of waiting) wake();
  }

  /**
   * Goes on from the state in a corrective 402, when it is proven: by our own signature that the seller shows, or by the chain.
   * @param refused what was sent; without its ceiling where that bought nothing.
   * @returns false when the 402 carries no state of this channel.
   * @throws TallystickError `state_unproven` or `server_overcharged`: the channel signs no more.
   */
  async resync(accepts: readonly Accepts[], contract: Address, refused: Partial<Ticket> | undefined, claimedOnChain: () => Promise<bigint>): Promise<boolean> {
    const extra = accepts.map((entry) => entry.extra ?? {}).find((candidate) => objectIn(candidate, "channelState") !== undefined);
    const told = extra === undefined ? undefined : objectIn(extra, "channelState");
    if (extra === undefined || told === undefined) return false;
    const state = readChannelState(told);
    if (state.channelId !== this.book.channelId.toLowerCase()) return false;
    const voucher = objectIn(extra, "voucherState");
    const proven = voucher === undefined ? await claimedOnChain() : await this.#provenBy(voucher, contract);
    if (state.chargedCumulative > proven) {
      throw this.book.stop("state_unproven", `The seller says ${state.chargedCumulative} is charged; ${voucher === undefined ? "the chain has claimed" : "the voucher it shows is for"} ${proven}.`);
    }
    // What this process has seen from the start must explain the charge; a channel found again after a loss starts from it.
    if (this.book.anchored && state.chargedCumulative > this.book.explained) {
      throw this.book.stop("server_overcharged", `The seller says ${state.chargedCumulative} is charged; our calls explain at most ${this.book.explained}.`);
    }
    this.book.resync(state.chargedCumulative, state.balance, refused?.ceiling, refused?.answers);
    return true;
  }

  /** The ceiling that the seller can prove by our signature. */
  async #provenBy(voucher: Record<string, unknown>, contract: Address): Promise<bigint> {
    const ceiling = requiredAmount(voucher, "signedMaxClaimable");
    const domain = sessionChannelsDomain(this.chainId, contract);
    const message = { channelId: this.book.channelId, maxClaimableAmount: ceiling };
    const signer = await recoverTypedDataAddress({ domain, types: voucherTypes, primaryType: "Voucher", message, signature: (textIn(voucher, "signature") ?? "0x") as Hex }).catch(() => undefined);
    if (signer !== undefined && isAddressEqual(signer, this.book.config.payerAuthorizer)) return ceiling;
    throw this.book.stop("state_unproven", "The voucher that the seller shows is not signed by this agent.");
  }
}
