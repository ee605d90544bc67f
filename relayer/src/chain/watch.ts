// Many callers wait for transactions; the node and the database are asked once for all of them. In memory are only the callers
// themselves: what became of a transaction is in the database, whichever process found out.
import { setTimeout as sleep } from "node:timers/promises";
import type { TxOutcome } from "./submitter.ts";

export type Watch = {
  /** Resolves when the transaction does, or with `pending` when the time is over; at once means: after one look. */
  wait(txId: bigint, timeoutMs: number): Promise<TxOutcome>;
  /** Wakes those who wait for it. */
  tell(txId: bigint, outcome: TxOutcome): void;
};

/** What is known of each; an id without an answer does not exist. */
type LookAt = (txIds: bigint[]) => Promise<ReadonlyMap<bigint, TxOutcome>>;
type Waiter = { txId: bigint; deadline: number; /** Not looked at since it came. */ fresh: boolean; done(outcome: TxOutcome): void; failed(error: unknown): void };

/** Looks for newcomers are at least this far apart, so that callers who come one by one still share them. */
const NEWCOMERS_MS = 10;

export function createWatch(lookAt: LookAt, pollMs: number): Watch {
  const waiting = new Map<bigint, Set<Waiter>>();
  let running = false;
  let nap = new AbortController();

  function leave(waiter: Waiter): void {
    const others = waiting.get(waiter.txId);
    others?.delete(waiter);
    if (others?.size === 0) waiting.delete(waiter.txId);
  }

  function tell(txId: bigint, outcome: TxOutcome): void {
    for (const waiter of waiting.get(txId) ?? []) {
      leave(waiter);
      waiter.done(outcome);
    }
  }

  async function round(waiters: Waiter[]): Promise<void> {
    for (const waiter of waiters) waiter.fresh = false;
    const answered = await lookAt([...new Set(waiters.map(({ txId }) => txId))]).then(
      (outcomes) => ({ outcomes, error: undefined }),
      (error: unknown) => ({ outcomes: undefined, error }),
    );
    const now = performance.now();
    for (const waiter of waiters) {
      const outcome = answered.outcomes?.get(waiter.txId);
      if (outcome?.status === "pending" && waiter.deadline > now) continue;
      leave(waiter);
      if (outcome !== undefined) waiter.done(outcome);
      else waiter.failed(answered.error ?? new RangeError(`no transaction ${waiter.txId}`));
    }
  }

  async function run(): Promise<void> {
    let all = -Infinity;
    while (waiting.size > 0) {
      const everybody = [...waiting.values()].flatMap((waiters) => [...waiters]);
      const isTurn = performance.now() - all >= pollMs;
      if (isTurn) all = performance.now();
      await round(isTurn ? everybody : everybody.filter((waiter) => waiter.fresh || waiter.deadline <= performance.now()));
      if (waiting.size === 0) break;
      await sleep(Math.min(pollMs, NEWCOMERS_MS));
      const restMs = Math.min(all + pollMs, ...[...waiting.values()].flatMap((waiters) => [...waiters].map(({ deadline }) => deadline))) - performance.now();
      nap = new AbortController();
      const isAwaited = [...waiting.values()].some((waiters) => [...waiters].some(({ fresh }) => fresh));
      if (!isAwaited && restMs > 0) await sleep(restMs, undefined, { signal: nap.signal }).catch(() => {});
    }
    running = false;
  }

  return {
    tell,
    wait(txId, timeoutMs) {
      return new Promise<TxOutcome>((done, failed) => {
        const waiters = waiting.get(txId) ?? new Set();
        waiting.set(txId, waiters.add({ txId, deadline: performance.now() + timeoutMs, fresh: true, done, failed }));
        nap.abort();
        if (running) return;
        running = true;
        void run();
      });
    },
  };
}
