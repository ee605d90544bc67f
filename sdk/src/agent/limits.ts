// What an agent may spend, counted by what it signed: a voucher's ceiling or an `exact` authorisation is money the seller can take,
// whatever it says it charged. So these limits hold even when every server lies. Pure but for the record it keeps.
import { TallystickError } from "../errors.ts";

/** Atomic units of the token (6 decimals for USDC). Left out: no such limit. */
export type Limits = {
  /** Price of one call, as the seller announces it before anything is signed. */
  perCall?: bigint;
  /** Signed within any 60 minutes. */
  perHour?: bigint;
  /** Signed since the agent's records began (its storage), over all sellers. */
  total?: bigint;
  /** Of one deposit. A deposit is not spent: what is not signed away comes back by refund or withdrawal. */
  deposit?: bigint;
};

export type SpendEntry = { atMs: number; amount: bigint };
export type SpendRecord = { total: bigint; recent: SpendEntry[] };

const HOUR_MS = 3_600_000;
/** Entries of the last hour are merged by this grain, so that the record stays small. */
const GRAIN_MS = 10_000;

export class Budget {
  readonly limits: Limits;
  #record: SpendRecord;
  readonly #now: () => number;

  constructor(limits: Limits, record: SpendRecord = { total: 0n, recent: [] }, now: () => number = Date.now) {
    this.limits = limits;
    this.#record = record;
    this.#now = now;
  }

  /** How much more may be signed now; undefined when nothing limits it. */
  get room(): bigint | undefined {
    const rooms = [this.limits.total === undefined ? undefined : this.limits.total - this.#record.total, this.limits.perHour === undefined ? undefined : this.limits.perHour - this.lastHour];
    const set = rooms.filter((room) => room !== undefined);
    return set.length === 0 ? undefined : set.reduce((least, room) => (room < least ? room : least));
  }

  get total(): bigint {
    return this.#record.total;
  }

  get lastHour(): bigint {
    const since = this.#now() - HOUR_MS;
    return this.#record.recent.filter(({ atMs }) => atMs > since).reduce((sum, { amount }) => sum + amount, 0n);
  }

  /** @throws TallystickError `limit_exceeded` naming the limit; nothing is signed then. */
  checkPrice(price: bigint, most?: bigint): void {
    for (const limit of [this.limits.perCall, most]) if (limit !== undefined && price > limit) throw exceeded("perCall", price, limit);
  }

  /** @throws TallystickError `limit_exceeded`. */
  checkDeposit(amount: bigint): void {
    if (this.limits.deposit !== undefined && amount > this.limits.deposit) throw exceeded("deposit", amount, this.limits.deposit);
  }

  /**
   * Counts `amount` more as signed. Call it before the signature leaves.
   * @throws TallystickError `limit_exceeded`; nothing is counted then.
   */
  sign(amount: bigint): void {
    if (amount <= 0n) return;
    const { total, perHour } = this.limits;
    if (total !== undefined && this.#record.total + amount > total) throw exceeded("total", this.#record.total + amount, total);
    if (perHour !== undefined && this.lastHour + amount > perHour) throw exceeded("perHour", this.lastHour + amount, perHour);
    const nowMs = this.#now();
    const last = this.#record.recent.at(-1);
    if (last !== undefined && nowMs - last.atMs < GRAIN_MS) last.amount += amount;
    else this.#record.recent.push({ atMs: nowMs, amount });
    this.#record = { total: this.#record.total + amount, recent: this.#record.recent.filter(({ atMs }) => atMs > nowMs - HOUR_MS) };
  }

  /** What was counted was not signed after all. */
  giveBack(amount: bigint): void {
    const recent = this.#record.recent.map((entry, index, all) => (index === all.length - 1 ? { ...entry, amount: entry.amount > amount ? entry.amount - amount : 0n } : entry));
    this.#record = { total: this.#record.total - amount, recent };
  }

  get record(): SpendRecord {
    return this.#record;
  }
}

function exceeded(limit: keyof Limits, wanted: bigint, most: bigint): TallystickError {
  const detail = `Signing this would come to ${wanted} atomic units; the agent's limit ${limit} is ${most}.`;
  return new TallystickError({ code: "limit_exceeded", status: 402, retry: "never", field: `limits.${limit}`, detail, extra: { limit, wanted: String(wanted), most: String(most) } });
}
