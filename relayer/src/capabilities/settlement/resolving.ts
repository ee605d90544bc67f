// Writes down what became of claim transactions.
import type { Hex } from "viem";
import type { TxOutcome } from "../../chain/submitter.ts";
import { inTransaction } from "../../db/pool.ts";
import type { Deps } from "../../deps.ts";
import { EVENT } from "../../telemetry/log.ts";
import { readViewFrom } from "../channels/chain-view.ts";
import { updateChainViews } from "../channels/store.ts";
import { youngerThan } from "./due-store.ts";
import { pauseAfter } from "./logic.ts";
import { rowOutcomes, settledAmount, type RowOutcome } from "./outcome.ts";
import { noteUnrootedRows } from "./receipt-root-store.ts";
import { closeBatch, paymentsOf, quarantine, type OpenBatch } from "./store.ts";

export type ResolvingDeps = Pick<Deps, "config" | "db" | "chain" | "submitter" | "log" | "metrics" | "now" | "reached">;

type Known = Exclude<TxOutcome, { status: "pending" }>;
type Closed = { batch: OpenBatch; outcomes: Map<Hex, RowOutcome>; settled: bigint };

/**
 * Closes the batches of one transaction; false while what became of it is not known. The same from every process, however often.
 * @param batches all open ones of a transaction, one for each receiver.
 */
export async function resolveTransaction(deps: ResolvingDeps, batches: readonly OpenBatch[]): Promise<boolean> {
  const outcome = await deps.submitter.wait(batches[0]!.txId, 0);
  if (outcome.status === "pending") return false;
  const channelIds = batches.flatMap(({ rows }) => rows.map((row) => row.channelId));
  // The view moves on with the batch: else the next pass would claim the same charges again.
  const views = await readViewFrom(deps, channelIds, outcome.status === "dropped" ? 0n : outcome.receipt.blockNumber);
  const totals = new Map([...views].map(([id, view]) => [id, view.totalClaimed]));
  const results = batches.map((batch): Closed => ({ batch, outcomes: outcomesOf(deps, batch, outcome, totals), settled: settledBy(deps, batch, outcome) }));
  const closed = await inTransaction(deps.db, async (client) => {
    await updateChainViews(client, views);
    const done: Closed[] = [];
    for (const result of results) if (await closeBatch(client, result.batch.batchId, outcome.status === "confirmed" ? "done" : "failed", result.settled, result.outcomes)) done.push(result);
    // A row that failed alone would fail again at once; one among many is looked at by the next simulation.
    const failedAlone = outcome.status === "reverted" && channelIds.length === 1;
    for (const { batch, outcomes } of done) {
      for (const row of batch.rows) {
        const result = outcomes.get(row.channelId)!;
        if (result.state === "skipped" || (failedAlone && result.state === "failed")) await quarantine(client, row, result.reason, deps.now(), pauseAfter(result.reason));
      }
      const claimed = batch.rows.map((row) => row.channelId).filter((id) => outcomes.get(id)!.state === "claimed");
      await youngerThan(client, claimed, batch.createdAt);
      if (deps.config.settlementMode === "tallystick") await noteUnrootedRows(client, batch.batchId);
    }
    return done;
  });
  if (closed.length > 0) deps.reached("batch.closed");
  for (const result of closed) {
    report(deps, result, outcome);
    await reportPayments(deps, result.batch.batchId, outcome.hash);
  }
  return true;
}

function outcomesOf({ config }: ResolvingDeps, { rows }: OpenBatch, outcome: Known, totals: ReadonlyMap<Hex, bigint>): Map<Hex, RowOutcome> {
  const logs = outcome.status === "confirmed" ? outcome.receipt.logs : [];
  const outcomes = rowOutcomes(rows, logs, config.sessionChannels, totals);
  if (outcome.status === "confirmed") return outcomes;
  return new Map([...outcomes].map(([id, row]) => [id, row.state === "failed" ? { ...row, reason: outcome.status } : row]));
}

function settledBy({ config }: ResolvingDeps, { receiver, token }: OpenBatch, outcome: Known): bigint {
  return outcome.status === "confirmed" ? settledAmount(outcome.receipt.logs, config.sessionChannels, receiver, token) : 0n;
}

function report({ log, metrics }: ResolvingDeps, { batch, outcomes, settled }: Closed, { hash, status }: Known): void {
  let claimed = 0n;
  for (const [channelId, row] of outcomes) {
    metrics.settlementRows.inc({ result: row.state });
    if (row.state === "claimed") claimed += row.claimed;
    else log.warn({ event: EVENT.rowSkipped, batchId: String(batch.batchId), channelId, state: row.state, reason: row.reason });
  }
  metrics.claimedAtomic.inc(Number(claimed));
  log.info({ event: EVENT.batchDone, batchId: String(batch.batchId), txHash: hash, status, rows: batch.rows.length, claimed: String(claimed), settled: String(settled) });
}

/** The last line of each payment's trail: which transaction its charge was claimed by. */
async function reportPayments({ db, log }: ResolvingDeps, batchId: bigint, txHash: string): Promise<void> {
  for (const { channelId, paymentIds } of await paymentsOf(db, batchId)) log.info({ event: EVENT.paymentsSettled, channelId, txHash, paymentIds });
}
