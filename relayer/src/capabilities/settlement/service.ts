// Claims what was charged and pays the receivers. Truth is in the tables and on the chain; a pass can stop at any
// instruction and the next one, in any process, goes on from there.
import { setTimeout as sleep } from "node:timers/promises";
import { inTransaction, whileAlone } from "../../db/pool.ts";
import { EVENT } from "../../telemetry/log.ts";
import { chainNow } from "./adapter.ts";
import { claimableChannels, dropEmptied, dueChannels, requeue, richPayees, writeOff, type Due } from "./due-store.ts";
import { chooseBatches, nextTurnS, type Plan, type Policy } from "./logic.ts";
import { payReceivers } from "./payout.ts";
import { payoutsInFlight, type Payee } from "./payout-store.ts";
import { resolveTransaction } from "./resolving.ts";
import { sendRoots } from "./rooting.ts";
import { limitsOf, sendBatch, type SendingDeps } from "./sending.ts";
import { openBatches, reopenBatches } from "./store.ts";

export type SettlementDeps = SendingDeps;

export type Settlement = {
  /** One pass: resolves what is in flight, claims what is due, pays who is owed. False when another process is at it. */
  tick(): Promise<boolean>;
  /** Claims everything that can be claimed now and waits for it. True when nothing is left in flight. */
  flush(timeoutMs?: number): Promise<boolean>;
  start(): Promise<void>;
  stop(): Promise<void>;
};

/** One pass at a time, in all processes; any constant that nothing else uses. */
const PASS_LOCK = 0x7a11_58;
const FLUSH_TIMEOUT_MS = 60_000;
/** Value at risk is summed over the whole queue: always while that is quick, else in a twentieth of the time. */
const QUICK_SCAN_MS = 100;
const SCAN_PAUSE = 20;
/** Between two looks at what is under no root. */
const ROOTS_EVERY_MS = 60_000;

export function createSettlementWorker(deps: SettlementDeps): Settlement {
  const { config, log } = deps;
  const stopping = new AbortController();
  let loop: Promise<void> | undefined;
  let nextScanAt = 0;
  let nextRootsAt = 0;

  const pass = async (flush: boolean): Promise<number | undefined> => whileAlone(deps.db, PASS_LOCK, async () => (await settleOnce(deps, flush, scan)) + (await roots(flush)));

  async function roots(flush: boolean): Promise<number> {
    if (!flush && performance.now() < nextRootsAt) return 0;
    nextRootsAt = performance.now() + ROOTS_EVERY_MS;
    return sendRoots(deps, flush);
  }

  async function scan(): Promise<Payee[]> {
    const startedAt = performance.now();
    if (startedAt < nextScanAt) return [];
    const payees = await richPayees(deps.db, config.settle.minValueAtomic, halfOf(config.exposure.perChannelAtomic));
    const tookMs = performance.now() - startedAt;
    nextScanAt = tookMs < QUICK_SCAN_MS ? 0 : startedAt + SCAN_PAUSE * tookMs;
    return payees;
  }

  async function flush(timeoutMs = FLUSH_TIMEOUT_MS): Promise<boolean> {
    const deadline = performance.now() + timeoutMs;
    for (;;) {
      const busy = await pass(true);
      if (busy === 0) return true;
      if (performance.now() > deadline) return false;
      await sleep(Math.min(config.chainPollMs, 250));
    }
  }

  async function run(): Promise<void> {
    while (!stopping.signal.aborted) {
      await sleep(config.chainPollMs, undefined, { signal: stopping.signal }).catch(() => {});
      if (stopping.signal.aborted) return;
      await pass(false).catch((error: unknown) => log.error({ event: EVENT.failure, where: "settlement", err: error }));
    }
  }

  return {
    tick: async () => (await pass(false)) !== undefined,
    flush,
    async start() {
      loop = run();
    },
    async stop() {
      stopping.abort();
      await loop;
    },
  };
}

/** @returns how many transactions and payouts are under way. */
async function settleOnce(deps: SettlementDeps, flush: boolean, scan: () => Promise<Payee[]>): Promise<number> {
  // First of all what a reorganisation took back: else the same charge could be claimed under two open batches.
  await deps.submitter.sweep();
  for (const batchId of await reopenBatches(deps.db)) deps.log.warn({ event: EVENT.batchSent, batchId: String(batchId), state: "reorged" });
  let busy = 0;
  for (const batches of await openBatches(deps.db)) if (!(await resolveTransaction(deps, batches))) busy += 1;
  const failures: unknown[] = [];
  for (const batch of (await choose(deps, flush, scan)).batches) {
    // One transaction that cannot be sent is no reason to keep the others back.
    const sent = await sendBatch(deps, batch).catch((error: unknown) => failures.push(error) < 0);
    if (sent) busy += 1;
  }
  await payReceivers(deps);
  if (failures.length > 0) throw failures[0];
  return busy + (await payoutsInFlight(deps.db));
}

/** Decides what goes now; what does not is queued again, and what never will is taken out of the queue. */
async function choose(deps: SettlementDeps, flush: boolean, scan: () => Promise<Payee[]>): Promise<Plan> {
  const now = deps.now();
  const turn = new Date(now.getTime() - deps.config.settle.maxAgeS * 1000);
  const due = flush ? await claimableChannels(deps.db, now) : await dueChannels(deps.db, now, turn, await scan());
  if (due.length === 0) return { batches: [], writtenOff: [], emptied: [] };
  const { gasPriceWei, timestampS } = await chainNow(deps);
  const clock = { wallS: Math.floor(now.getTime() / 1000), chainS: timestampS };
  const plan = chooseBatches(due, policyOf(deps, gasPriceWei, flush), clock);
  for (const lost of plan.writtenOff) {
    const { channelId, value, claimCost } = lost;
    if (!(await inTransaction(deps.db, (client) => writeOff(client, lost)))) continue;
    deps.metrics.settlementRows.inc({ result: "written_off" });
    deps.log.warn({ event: EVENT.rowSkipped, channelId, reason: "written_off", value: String(value), claimCost: String(claimCost) });
  }
  const emptied = plan.emptied.length > 0 ? await dropEmptied(deps.db, plan.emptied) : [];
  for (const channelId of emptied) deps.log.warn({ event: EVENT.rowSkipped, channelId, reason: "emptied" });
  if (!flush) await requeueLeft(deps, due, plan, turn);
  return plan;
}

/** What was looked at and left has its next turn later: else what cannot go would hide what can. */
async function requeueLeft({ config, db, now }: SettlementDeps, due: readonly Due[], { batches }: Plan, turn: Date): Promise<void> {
  const sent = new Set(batches.flatMap(({ groups }) => groups.flatMap(({ rows }) => rows.map(({ channelId }) => channelId))));
  const wallS = now().getTime() / 1000;
  const left = due.filter(({ queued, channelId }) => queued && !sent.has(channelId));
  if (left.length === 0) return;
  await requeue(db, left.map(({ channelId, unclaimedSinceS }) => ({ channelId, queuedAt: new Date(turn.getTime() + 1000 * nextTurnS(wallS - unclaimedSinceS, config.settle.hardAgeS)) })));
}

function policyOf(deps: SettlementDeps, gasPriceWei: bigint, flush: boolean): Policy {
  const { settlementMode: mode, settle } = deps.config;
  const { maxAgeS, hardAgeS, minValueAtomic, maxGasShareBps, etherPriceAtomic } = settle;
  return { mode, ...limitsOf(deps), maxAgeS, hardAgeS, minValueAtomic, maxGasShareBps, etherPriceAtomic, gasPriceWei, maxUnsettledPerChannelAtomic: deps.config.exposure.perChannelAtomic, flush };
}

const halfOf = (cap: bigint) => (cap + 1n) / 2n;
