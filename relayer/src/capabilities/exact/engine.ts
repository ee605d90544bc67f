// Carries queued authorisations to the chain, many in one transaction. The rows of exact_queue are the truth; what is held here is who waits
// for them and in which order they came. What would fail, or runs a wallet's code, goes alone and beside the others.
import { setTimeout as sleep } from "node:timers/promises";
import type { Hex } from "viem";
import { MULTICALL3 } from "../../../../sdk/src/constants.ts";
import { chainUnavailable, isRevert } from "../../chain/client.ts";
import type { TxOutcome } from "../../chain/submitter.ts";
import type { Deps } from "../../deps.ts";
import { createGroup } from "../../db/group.ts";
import { EVENT } from "../../telemetry/log.ts";
import { sendAlone } from "./alone.ts";
import { mostWith, MOST_TRANSFERS, planBatch } from "./batch-logic.ts";
import { aggregateCalldata, plainCall } from "./calldata.ts";
import { afterTx, contended, type Judged } from "./judge.ts";
import type { Probe } from "./probe.ts";
import * as queue from "./queue-store.ts";
import { SettlementTaken } from "./store.ts";
import type { Authorization, Settled } from "./types.ts";
import { movedIn } from "./use.ts";

export type EngineDeps = Pick<Deps, "config" | "db" | "chain" | "submitter" | "log" | "now" | "reached"> & { probe: Probe };

export type Entry = queue.Queued & {
  /** Undefined when it can only go alone. */
  call: Buffer | undefined;
  /** The transaction that carries it now. */
  txHash: Hex | undefined;
  outcome: Promise<Settled>;
  resolve(settled: Settled): void;
  reject(error: unknown): void;
};

export type Engine = {
  /** The one in hand with this key. */
  find(authorization: Authorization): Entry | undefined;
  /** Writes it down and takes it in hand; undefined when another process has it. */
  add(item: queue.Queued): Promise<Entry | undefined>;
  /** Takes rows in hand that are this process's already. */
  take(items: readonly queue.Queued[]): void;
  /** Reads a resolved transaction for the rows that still wait for its word. @returns how many there were. */
  read(txId: bigint): Promise<number>;
};

/** How long a row is left to the process that has it in hand. */
export const LEASE_MS = 30_000;
/** Transactions under way: a part of a batch goes only when fewer than this many are, a full one sooner. */
const PART_SLOTS = 1;
const FULL_SLOTS = 8;
/** A transaction holds back the next no longer than a block takes, however deep it has to be. */
const SLOT_MS = 2_000;
/** What goes alone is sent beside the batches, a few at a time. */
const MOST_ALONE = 8;
/** When a transaction is looked at before it is waited for like any other. */
const EARLY_LOOKS_MS = [5, 10, 20, 40, 80, 160];
/** After this long in flight the rows are left to the sweeper. */
const TX_WAIT_MS = 60_000;
/** Transactions that did not move an authorisation though it could, before that is final; and how many of them it shares with others. */
const MOST_ATTEMPTS = 5;
const TOGETHER_ATTEMPTS = 3;

export const keyOf = ({ from, nonce }: Pick<Authorization, "from" | "nonce">): string => `${from}${nonce}`.toLowerCase();

export function createEngine(deps: EngineDeps): Engine {
  const { config, db, log, submitter } = deps;
  const token = config.token.address;
  const entries = new Map<string, Entry>();
  const waiting: Entry[] = [];
  const lonely: Entry[] = [];
  let underWay = 0;
  let aloneUnderWay = 0;
  let scheduled = false;

  const enqueue = createGroup(async (items: queue.Queued[]) => {
    const mine = await queue.enqueue(db, token, items, LEASE_MS);
    deps.reached("exact.queued");
    return mine;
  }, () => true);

  function hold(item: queue.Queued): Entry {
    let resolve!: (settled: Settled) => void;
    let reject!: (error: unknown) => void;
    const outcome = new Promise<Settled>((done, failed) => {
      resolve = done;
      reject = failed;
    });
    outcome.catch(() => {}); // nobody may be waiting
    const entry: Entry = { ...item, call: plainCall(item.authorization), txHash: undefined, outcome, resolve, reject };
    entries.set(keyOf(item.authorization), entry);
    return entry;
  }

  function line(entry: Entry): void {
    if (entry.call === undefined || entry.attempts >= TOGETHER_ATTEMPTS) lonely.push(entry);
    else waiting.push(entry);
    schedule();
  }

  function schedule(): void {
    if (scheduled) return;
    scheduled = true;
    // Whatever this turn of the event loop brings goes along.
    setImmediate(() => {
      scheduled = false;
      while (waiting.length > 0 && underWay < (waiting.length >= MOST_TRANSFERS ? FULL_SLOTS : PART_SLOTS)) void runBatch(waiting.splice(0, mostWith(waiting[0]!.attempts)));
      while (lonely.length > 0 && aloneUnderWay < MOST_ALONE) void runAlone(lonely.shift()!);
    });
  }

  function end(entry: Entry, how: (entry: Entry) => void): void {
    entries.delete(keyOf(entry.authorization));
    how(entry);
  }

  /** Ours: the rows stay in the queue, in nobody's hand. */
  async function fail(failed: readonly Entry[], error: unknown): Promise<void> {
    await queue.release(db, token, failed.map(({ authorization }) => authorization)).catch((err: unknown) => log.warn({ event: EVENT.failure, err, where: "exact" }));
    for (const entry of failed) end(entry, ({ reject }) => reject(error));
  }

  async function runBatch(batch: Entry[]): Promise<void> {
    underWay += 1;
    let freed = false;
    const free = () => {
      if (!freed) underWay -= 1;
      freed = true;
      schedule();
    };
    try {
      const plan = planBatch(batch.length, await deps.probe.sequence(batch.map(({ call }) => call!)));
      if (plan.together.length + plan.alone.length === 0) throw chainUnavailable(new Error("the node has no gas for a single transfer"));
      const chosen = (indices: number[]) => indices.map((index) => batch[index]!);
      waiting.unshift(...chosen(plan.later));
      lonely.push(...chosen(plan.alone));
      schedule();
      const [first, ...others] = chosen(plan.together);
      // One is cheaper without Multicall3.
      if (first !== undefined) await (others.length === 0 ? sendOne(first, free) : sendMany([first, ...others], plan.gas, free));
    } catch (error) {
      await fail(batch, error);
    } finally {
      free();
    }
  }

  async function sendMany(many: Entry[], gas: bigint, free: () => void): Promise<void> {
    const authorizations = many.map(({ authorization }) => authorization);
    let sent: { txId: bigint; hash: Hex };
    try {
      sent = await submitter.submit({
        purpose: "exact", to: MULTICALL3, data: aggregateCalldata(token, many.map(({ call }) => call!)), gas, rehearsed: true,
        record: (client, txId) => queue.markSent(client, token, authorizations, txId),
      });
    } catch (error) {
      if (!(error instanceof SettlementTaken) && !isRevert(error)) return fail(many, error);
      lonely.push(...many); // one of them is in another process's hand, or spoils it for all: by itself it harms nobody
      return schedule();
    }
    log.info({ event: EVENT.exactSent, txHash: sent.hash, transfers: many.length, gas: String(gas) });
    await seeThrough(many, sent, free);
  }

  /** Until the transaction is resolved; `free` is called when the next may go. */
  async function seeThrough(carried: readonly Entry[], { txId, hash }: { txId: bigint; hash: Hex }, free: () => void): Promise<void> {
    for (const entry of carried) entry.txHash = hash;
    const slot = setTimeout(free, SLOT_MS);
    try {
      const outcome = await outcomeOf(txId);
      free();
      await finish(carried, txId, outcome);
    } catch (error) {
      await fail(carried, error);
    } finally {
      clearTimeout(slot);
    }
  }

  /** A chain that mines at once is asked at once, not at the pace of the others. */
  async function outcomeOf(txId: bigint): Promise<TxOutcome> {
    for (const ms of EARLY_LOOKS_MS) {
      const outcome = await submitter.wait(txId, 0);
      if (outcome.status !== "pending") return outcome;
      await sleep(ms);
    }
    return submitter.wait(txId, TX_WAIT_MS);
  }

  async function finish(carried: readonly Entry[], txId: bigint, outcome: TxOutcome): Promise<void> {
    if (outcome.status === "pending") {
      for (const entry of carried) end(entry, ({ resolve }) => resolve({ status: "pending", txHash: outcome.hash }));
      return;
    }
    const moved = carried.filter(({ authorization }) => outcome.status === "confirmed" && movedIn(deps, authorization, outcome.receipt));
    if (outcome.status === "confirmed") await queue.markMoved(db, token, moved.map(({ authorization }) => authorization), txId, outcome.receipt.blockHash);
    for (const entry of moved) end(entry, ({ resolve }) => resolve({ status: "settled", txHash: outcome.hash }));
    const rest = carried.filter((entry) => !moved.includes(entry));
    await Promise.all(rest.map((entry) => conclude(entry, afterTx(deps, entry, txId, outcome, { together: carried.length > 1, most: MOST_ATTEMPTS }))));
  }

  /** What was judged of one that was not simply moved. */
  async function conclude(entry: Entry, judging: Promise<Judged>): Promise<void> {
    try {
      const judged = await judging;
      if (judged !== "again") return end(entry, ({ resolve }) => resolve(judged));
      entry.attempts += 1;
      entry.txHash = undefined;
      line(entry);
    } catch (error) {
      await fail([entry], error);
    }
  }

  async function runAlone(entry: Entry): Promise<void> {
    aloneUnderWay += 1;
    let freed = false;
    await sendOne(entry, () => {
      if (!freed) aloneUnderWay -= 1;
      freed = true;
      schedule();
    });
  }

  async function sendOne(entry: Entry, free: () => void): Promise<void> {
    try {
      const sent = await sendAlone(deps, entry);
      if ("judged" in sent) await conclude(entry, Promise.resolve(sent.judged));
      else await seeThrough([entry], sent, free);
    } catch (error) {
      await fail([entry], error);
    } finally {
      free();
    }
  }

  return {
    find: (authorization) => entries.get(keyOf(authorization)),
    async add(item) {
      const entry = hold(item);
      try {
        if (await enqueue(item)) line(entry);
        else {
          end(entry, ({ reject }) => reject(contended()));
          return undefined;
        }
      } catch (error) {
        end(entry, ({ reject }) => reject(error));
        throw error;
      }
      return entry;
    },
    take(items) {
      for (const item of items) if (!entries.has(keyOf(item.authorization))) line(hold(item));
    },
    async read(txId) {
      const outcome = await submitter.wait(txId, 0);
      const rows = (await queue.sentBy(db, token, txId)).filter(({ authorization }) => !entries.has(keyOf(authorization)));
      if (outcome.status !== "pending" && rows.length > 0) await finish(rows.map(hold), txId, outcome);
      return rows.length;
    },
  };
}
