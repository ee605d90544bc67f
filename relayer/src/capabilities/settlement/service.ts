// Claims what was charged and pays the receivers. Truth is in the tables and on the chain; a pass can stop at any
// instruction and the next one, in any process, goes on from there.
import { setTimeout as sleep } from "node:timers/promises";
import { isRevert, revertName } from "../../chain/client.ts";
import type { TxOutcome } from "../../chain/submitter.ts";
import { inTransaction } from "../../db/pool.ts";
import type { Deps } from "../../deps.ts";
import { EVENT } from "../../telemetry/log.ts";
import { readViewFrom } from "../channels/chain-view.ts";
import { updateChainView } from "../channels/store.ts";
import { inOneTransaction, prepareClaim, settleCall, type PreparedClaim } from "./adapter.ts";
import { chooseBatches, type Batch, type Policy } from "./logic.ts";
import { payoutsDue, payReceivers } from "./payout.ts";
import { payoutsInFlight } from "./payout-store.ts";
import { rowOutcomes, settledAmount, type RowOutcome } from "./outcome.ts";
import {
  claimableChannels, closeBatch, insertBatch, openBatches, paymentsOf, quarantine, reopenBatches, RowsInFlight, whileAlone, type OpenBatch,
} from "./store.ts";

export type SettlementDeps = Pick<Deps, "config" | "db" | "chain" | "keyring" | "submitter" | "log" | "metrics" | "now" | "reached">;

export type Settlement = {
  /** One pass: resolves what is in flight, claims what is due, pays who is owed. False when another process is at it. */
  tick(): Promise<boolean>;
  /** Claims everything that can be claimed now and waits for it. True when nothing is left in flight. */
  flush(timeoutMs?: number): Promise<boolean>;
  start(): Promise<void>;
  stop(): Promise<void>;
};

/** What one claimed row costs on Base, with room: 12k gas at 0.005 gwei and 3,000 USD an ether is 0.0002 USDC. */
const DUST_ATOMIC = 200n;
/** A refused row is tried again after this long even when nothing about it changed. */
const QUARANTINE_S = 600;
const FLUSH_TIMEOUT_MS = 60_000;

export function createSettlementWorker(deps: SettlementDeps): Settlement {
  const { config, log } = deps;
  const stopping = new AbortController();
  let loop: Promise<void> | undefined;

  const pass = async (flush: boolean): Promise<number | undefined> => whileAlone(deps.db, () => settleOnce(deps, flush));

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

/** @returns how many batches and payouts are under way. */
async function settleOnce(deps: SettlementDeps, flush: boolean): Promise<number> {
  // First of all what a reorganisation took back: else the same charge could be claimed under two open batches.
  await deps.submitter.sweep();
  for (const batchId of await reopenBatches(deps.db)) deps.log.warn({ event: EVENT.batchSent, batchId: String(batchId), state: "reorged" });
  const open = await openBatches(deps.db);
  let busy = 0;
  for (const batch of open) if (!(await resolveBatch(deps, batch))) busy += 1;

  const now = deps.now();
  const due = chooseBatches(await claimableChannels(deps.db, now), policyOf(deps, flush), Math.floor(now.getTime() / 1000));
  for (const batch of due) if (await sendBatch(deps, batch)) busy += 1;
  await payReceivers(deps);
  return busy + (await payoutsInFlight(deps.db));
}

function policyOf({ config }: SettlementDeps, flush: boolean): Policy {
  return { mode: config.settlementMode, ...config.settle, dustAtomic: DUST_ATOMIC, flush };
}

/**
 * Claim and payout go in one transaction when both would pass; a payout that is refused never holds a claim back.
 * @returns whether something was sent.
 */
async function sendBatch(deps: SettlementDeps, batch: Batch): Promise<boolean> {
  const prepared = await prepareClaim(deps, batch);
  deps.reached("batch.prepared");
  await setAside(deps, prepared);
  const { call } = prepared;
  if (call === undefined) return false;
  try {
    const due = await payoutsDue(deps, [batch]);
    if (due.length > 0 && (await submitClaim(deps, prepared.batch, inOneTransaction([call, ...due.map(settleCall)])))) return true;
    if (await submitClaim(deps, prepared.batch, call)) return true;
  } catch (error) {
    if (error instanceof RowsInFlight) return true;
    throw error;
  }
  // Plain rows passed their simulation a moment ago, so the next pass looks again. Packed ones are looked at one by one.
  deps.log.error({ event: EVENT.failure, where: "settlement", form: batch.form, receiver: batch.receiver, rows: batch.rows.length });
  return batch.form === "packed" ? sendBatch(deps, { ...prepared.batch, form: "plain" }) : false;
}

async function setAside(deps: SettlementDeps, { poisoned }: PreparedClaim): Promise<void> {
  for (const { row, reason } of poisoned) {
    await quarantine(deps.db, row, reason, retryAt(deps));
    deps.metrics.settlementRows.inc({ result: "quarantined" });
    deps.log.warn({ event: EVENT.rowSkipped, channelId: row.channelId, reason });
  }
}

const retryAt = ({ now }: SettlementDeps) => new Date(now().getTime() + QUARANTINE_S * 1000);

/** False when the simulation refuses the call; nothing was sent then and no nonce was used. */
async function submitClaim(deps: SettlementDeps, batch: Batch, data: `0x${string}`): Promise<boolean> {
  try {
    const { hash } = await deps.submitter.submit({
      purpose: "claim", to: deps.config.sessionChannels, data,
      record: (client, txId) => insertBatch(client, batch, txId, batch.form === "packed" ? "tallystick" : "canonical"),
    });
    deps.log.info({ event: EVENT.batchSent, form: batch.form, rows: batch.rows.length, reason: batch.reason, receiver: batch.receiver, txHash: hash });
    return true;
  } catch (error) {
    if (!isRevert(error)) throw error;
    deps.log.info({ event: EVENT.batchSent, outcome: "refused", form: batch.form, rows: batch.rows.length, receiver: batch.receiver, reason: revertName(error) });
    return false;
  }
}

/** Writes down what became of a batch; false while that is not known. The same from every process, however often. */
async function resolveBatch(deps: SettlementDeps, batch: OpenBatch): Promise<boolean> {
  const outcome = await deps.submitter.wait(batch.txId, 0);
  if (outcome.status === "pending") return false;
  const channelIds = batch.rows.map((row) => row.channelId);
  // The view moves on with the batch: else the next pass would claim the same charges again.
  const views = await readViewFrom(deps, channelIds, outcome.status === "dropped" ? 0n : outcome.receipt.blockNumber);
  const totals = new Map([...views].map(([id, view]) => [id, view.totalClaimed]));
  const outcomes = outcomesOf(deps, batch, outcome, totals);
  const settled = outcome.status === "confirmed" ? settledAmount(outcome.receipt.logs, deps.config.sessionChannels, batch.receiver, batch.token) : 0n;
  const closed = await inTransaction(deps.db, async (client) => {
    for (const [channelId, view] of [...views].sort(([a], [b]) => (a < b ? -1 : 1))) await updateChainView(client, channelId, view);
    if (!(await closeBatch(client, batch.batchId, outcome.status === "confirmed" ? "done" : "failed", settled, outcomes))) return false;
    for (const row of batch.rows) {
      const result = outcomes.get(row.channelId)!;
      // A row that failed alone would fail again at once; one among many is looked at by the next simulation.
      if (result.state === "skipped" || (outcome.status === "reverted" && result.state === "failed" && batch.rows.length === 1)) await quarantine(client, row, result.reason, retryAt(deps));
    }
    return true;
  });
  if (closed) {
    deps.reached("batch.closed");
    report(deps, batch, outcome, outcomes, settled);
    await reportPayments(deps, batch.batchId, outcome.hash);
  }
  return true;
}

function outcomesOf(deps: SettlementDeps, batch: OpenBatch, outcome: Exclude<TxOutcome, { status: "pending" }>, totals: ReadonlyMap<`0x${string}`, bigint>): Map<`0x${string}`, RowOutcome> {
  const logs = outcome.status === "confirmed" ? outcome.receipt.logs : [];
  const outcomes = rowOutcomes(batch.rows, logs, deps.config.sessionChannels, totals);
  if (outcome.status === "confirmed") return outcomes;
  return new Map([...outcomes].map(([id, row]) => [id, row.state === "failed" ? { ...row, reason: outcome.status } : row]));
}

function report({ log, metrics }: SettlementDeps, batch: OpenBatch, outcome: TxOutcome, outcomes: ReadonlyMap<string, RowOutcome>, settled: bigint): void {
  let claimed = 0n;
  for (const [channelId, row] of outcomes) {
    metrics.settlementRows.inc({ result: row.state });
    if (row.state === "claimed") claimed += row.claimed;
    else log.warn({ event: EVENT.rowSkipped, batchId: String(batch.batchId), channelId, state: row.state, reason: row.reason });
  }
  metrics.claimedAtomic.inc(Number(claimed));
  log.info({ event: EVENT.batchDone, batchId: String(batch.batchId), txHash: outcome.hash, status: outcome.status, rows: batch.rows.length, claimed: String(claimed), settled: String(settled) });
}

/** The last line of each payment's trail: which transaction its charge was claimed by. */
async function reportPayments({ db, log }: SettlementDeps, batchId: bigint, txHash: string): Promise<void> {
  for (const { channelId, paymentIds } of await paymentsOf(db, batchId)) log.info({ event: EVENT.paymentsSettled, channelId, txHash, paymentIds });
}
