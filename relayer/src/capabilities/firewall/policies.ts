// The policies in force, compiled and held in memory, and how this process knows that they still are. A counter in the database moves with
// every change; it is asked several times a second. Whoever has not heard it for FRESH_MS asks again before it lets a payment pass: so a
// change counts everywhere within FRESH_MS, and a process that is cut off lets nothing pass.
import type { Address } from "viem";
import { TallystickError } from "../../../../sdk/src/errors.ts";
import { compilePolicy, type CompiledPolicy } from "../../../../sdk/src/firewall/evaluate.ts";
import type { Policy } from "../../../../sdk/src/firewall/policy.ts";
import type { Deps } from "../../deps.ts";
import { EVENT } from "../../telemetry/log.ts";
import { policiesAfter, readEpoch } from "./store.ts";

export const POLL_MS = 200;
export const FRESH_MS = 900;
const MOST_REFUSALS = 300;
/** How long a payment waits for the answer that it needs. */
const CONFIRM_MS = 2_000;

/** Whom a payment is about, as far as policies are chosen by it. */
export type Parties = { payer: Address; serviceOwner: Address | undefined };

export type Policies = {
  /** Those that may be about a payment, in the order in which they are asked: the operator's, the seller's, the buyer's. */
  concerning(parties: Parties): readonly CompiledPolicy[];
  /** No policy at all. */
  isEmpty(): boolean;
  /** What is in memory was in force less than FRESH_MS ago. */
  isFresh(): boolean;
  /** @throws TallystickError 503 `firewall_stale`; the database's own error when it is away. */
  confirm(): Promise<void>;
  /** One was put in force by this process: it counts here when this resolves. */
  changed(): Promise<void>;
  /** Refusals leave rows: a payer may cause so many a minute here. @throws TallystickError 429 `refusals_full`. */
  countRefusal(payer: Address): void;
  /** By the database's clock, Unix milliseconds. */
  now(): number;
  start(): Promise<void>;
  stop(): Promise<void>;
};

const NONE: readonly CompiledPolicy[] = [];

export function createPolicies({ db, config, log }: Pick<Deps, "db" | "config" | "log">): Policies {
  const known = new Map<string, CompiledPolicy>();
  let index = indexOf(known, config.firewallOperators);
  let epoch = 0n;
  let heardAt = Number.NEGATIVE_INFINITY;
  let clockOffsetMs = Date.now() - performance.now();
  let reading: Promise<void> | undefined;
  let timer: NodeJS.Timeout | undefined;
  let stopped = false;
  let refused = { minute: 0, by: new Map<Address, number>() };

  async function read(): Promise<void> {
    // Counted from before it was asked: the answer may be as old as that.
    const askedAt = performance.now();
    const heard = await readEpoch(db);
    clockOffsetMs = heard.nowMs - performance.now();
    // A counter that went back is another database: nothing that is known counts.
    if (heard.epoch < epoch) {
      known.clear();
      epoch = 0n;
    }
    if (heard.epoch !== epoch || heardAt === Number.NEGATIVE_INFINITY) {
      const changed = await policiesAfter(db, epoch);
      for (const policy of changed.policies) known.set(keyOf(policy), compilePolicy(policy));
      epoch = heard.epoch > changed.epoch ? heard.epoch : changed.epoch;
      index = indexOf(known, config.firewallOperators);
    }
    heardAt = askedAt;
  }

  const readOnce = (): Promise<void> => (reading ??= read().finally(() => (reading = undefined)));
  const isFresh = (): boolean => performance.now() - heardAt < FRESH_MS;

  async function poll(): Promise<void> {
    await readOnce().catch((err: unknown) => log.warn({ event: EVENT.failure, err }, "the firewall's policies could not be confirmed"));
    if (!stopped) timer = setTimeout(() => void poll(), POLL_MS);
  }

  return {
    concerning({ payer, serviceOwner }) {
      if (known.size === 0) return NONE;
      const buyers = index.buyers.get(payer.toLowerCase());
      const sellers = serviceOwner === undefined ? undefined : index.sellers.get(serviceOwner.toLowerCase());
      if (buyers === undefined && sellers === undefined) return index.operators;
      return [...index.operators, ...(sellers ?? NONE), ...(buyers ?? NONE)];
    },
    isEmpty: () => known.size === 0,
    isFresh,
    async confirm() {
      const deadline = performance.now() + CONFIRM_MS;
      while (!isFresh()) await within(readOnce(), deadline - performance.now());
    },
    async changed() {
      // A read that is under way may have begun before.
      await reading?.catch(() => {}); // told to whoever began it
      await readOnce();
    },
    countRefusal(payer) {
      const minute = Math.floor(performance.now() / 60_000);
      if (minute !== refused.minute) refused = { minute, by: new Map() };
      const count = (refused.by.get(payer) ?? 0) + 1;
      refused.by.set(payer, count);
      if (count > MOST_REFUSALS) throw new TallystickError({ code: "refusals_full", status: 429, retry: "safe", detail: `${MOST_REFUSALS} payments of ${payer} were refused in the last minute; nothing was reserved.`, extra: { retryAfterS: 60 } });
    },
    now: () => clockOffsetMs + performance.now(),
    async start() {
      await readOnce();
      timer = setTimeout(() => void poll(), POLL_MS);
    },
    async stop() {
      stopped = true;
      clearTimeout(timer);
      await reading?.catch(() => {}); // it is logged where it was begun
    },
  };
}

const keyOf = ({ owner, name }: Policy): string => `${owner} ${name}`;

type Index = { operators: readonly CompiledPolicy[]; sellers: ReadonlyMap<string, CompiledPolicy[]>; buyers: ReadonlyMap<string, CompiledPolicy[]> };

/** An operator's policy counts only while the configuration names its owner. */
function indexOf(known: ReadonlyMap<string, CompiledPolicy>, operators: readonly Address[]): Index {
  const all = [...known.values()];
  const of = (...kinds: string[]) => all.filter(({ policy }) => kinds.includes(policy.subject.kind));
  const byOwner = (policies: CompiledPolicy[]) => Map.groupBy(policies, ({ policy }) => policy.owner.toLowerCase());
  return {
    operators: of("operator").filter(({ policy }) => operators.some((operator) => operator.toLowerCase() === policy.owner)),
    sellers: byOwner(of("service")),
    buyers: byOwner(of("payer", "mandate")),
  };
}

async function within(work: Promise<void>, ms: number): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_done, fail) => {
    timer = setTimeout(() => fail(firewallStale()), Math.max(ms, 0));
  });
  try {
    await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** Ours: the payment may be good, and nobody here can tell. */
export function firewallStale(cause?: unknown): TallystickError {
  return new TallystickError({ code: "firewall_stale", status: 503, retry: "safe", detail: "This process cannot confirm that its policies are in force; nothing was reserved or charged. Send the same payment again.", extra: { retryAfterS: 1 }, cause });
}
