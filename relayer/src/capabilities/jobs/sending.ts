// Sends what a party signed, or what is due, to the chain: each thing once, simulated first, at the operator's cost and so within limits.
import { setTimeout as sleep } from "node:timers/promises";
import type { Address, Hex } from "viem";
import { TallystickError } from "../../../../sdk/src/errors.ts";
import type { Queryable } from "../../db/pool.ts";
import type { Deps } from "../../deps.ts";
import { EVENT } from "../../telemetry/log.ts";
import { countRecent, findAction, recordAction } from "./action-store.ts";
import { contractFault, jobFault } from "./faults.ts";
import { isLost } from "./logic.ts";
import { findJob } from "./store.ts";
import type { Action, SentAction } from "./types.ts";

export type JobDeps = Pick<Deps, "chain" | "config" | "db" | "keyring" | "log" | "now" | "outbound" | "submitter" | "vault">;

/** `gas`: for calls whose cost depends on what is mined before them, so that an estimate may be too low. */
export type Call = { to: Address; data: Hex; mostGas: bigint; gas?: bigint };

/** A signature may be a contract wallet's, which runs its own code; a draw of nineteen seats takes about two million. */
export const MOST_GAS = { party: 1_500_000n, watcher: 6_000_000n } as const;
/** Any panel of the queue may be the one that is drawn; the last to reveal ends the round. */
export const FIXED_GAS = { draw: 5_000_000n, reveal: 600_000n } as const;
const HOUR_S = 3_600;
const WAIT_MS = 15_000;
const VIEW_WAIT_MS = 5_000;
const VIEW_POLL_MS = 50;

/** Somebody else sent the same meanwhile. */
class Overtaken extends Error {}

/**
 * @param record what is to be written together with the signed bytes; throwing there sends nothing.
 * @returns what was sent, now or before.
 * @throws TallystickError 422 `job_refused`, 429 `job_limit`, or what the submitter throws.
 */
export async function send(deps: JobDeps, jobId: string, action: Action, call: Call, record: (client: Queryable) => Promise<void> = async () => {}): Promise<SentAction> {
  const known = await findAction(deps.db, jobId, action.verb, action.key);
  if (known !== undefined && !isLost(known.txState)) return known;
  try {
    const { hash } = await deps.submitter.submit({
      purpose: "job", paymentId: jobId, ...call,
      async record(client, txId) {
        await checkLimit(client, deps, action);
        if (!(await recordAction(client, jobId, action, txId))) throw new Overtaken();
        await record(client);
      },
    });
    deps.log.info({ event: EVENT.jobSent, jobId, verb: action.verb, hash }, "sent for a job");
  } catch (error) {
    if (!(error instanceof Overtaken)) throw contractFault(error);
  }
  return (await findAction(deps.db, jobId, action.verb, action.key))!;
}

async function checkLimit(client: Queryable, { config }: Pick<Deps, "config">, { by }: Action): Promise<void> {
  if (by === undefined) return;
  const most = config.jobs.transactionsPerHour;
  if ((await countRecent(client, by, HOUR_S)) < most) return;
  throw new TallystickError({ code: "job_limit", status: 429, retry: "safe", detail: `${most} transactions were sent for ${by} within an hour.`, extra: { moved: "0", retryAfterS: 60 } });
}

/** Waits until the transaction is mined and the follower has seen it. @throws TallystickError 409 `job_reverted`: nothing moved. */
export async function settled({ db, submitter }: JobDeps, jobId: string, { txId, hash }: SentAction): Promise<{ hash: Hex; status: string }> {
  const outcome = await submitter.wait(txId, WAIT_MS);
  if (outcome.status === "reverted" || outcome.status === "dropped") throw jobFault(409, "job_reverted", undefined, `Transaction ${hash} came to nothing; what it depends on has changed meanwhile.`, { transaction: hash });
  if (outcome.status === "pending") return { hash, status: "pending" };
  const block = outcome.receipt.blockNumber;
  for (const deadline = performance.now() + VIEW_WAIT_MS; performance.now() < deadline; await sleep(VIEW_POLL_MS)) {
    if (((await findJob(db, jobId))?.chainBlock ?? -1n) >= block) break;
  }
  return { hash, status: "confirmed" };
}
