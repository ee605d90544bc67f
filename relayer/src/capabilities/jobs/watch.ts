// Sees to it that no deadline of a job hired here passes unused: silence is finalized, an expired job is refunded, panels are drawn, silent
// ones overruled by the default, seats and what is owed given back. Safe in any number of processes: a job is looked at by whoever leases it,
// and a step that another has sent already is found, not repeated.
import { encodeFunctionData, type Address, type Hex } from "viem";
import { disputeEvaluatorAbi as judgeAbi } from "../../../../sdk/src/abi/dispute-evaluator.ts";
import { jobEscrowAbi } from "../../../../sdk/src/abi/job-escrow.ts";
import { disputeEvaluatorDomain } from "../../../../sdk/src/job-messages.ts";
import { TallystickError } from "../../../../sdk/src/errors.ts";
import { readChain } from "../../chain/client.ts";
import { EVENT } from "../../telemetry/log.ts";
import { faultsOf, leaseDue, scheduleNext } from "./chain-store.ts";
import { readOwed } from "./chain-view.ts";
import { creditorsOf, delayAfter, isLost, nextStep, type ChainClock, type Step } from "./logic.ts";
import { liveOr, type LiveJob } from "./parties.ts";
import { FIXED_GAS, MOST_GAS, send, type JobDeps } from "./sending.ts";
import { addEvent, deleteLapsed, deliverableOf, findFile, findJob } from "./store.ts";
import type { JobRecord, SentAction } from "./types.ts";
import { askValidator } from "./validator.ts";
import { sendVerdict } from "./work.ts";

const BATCH = 50;
/** Longer than a validator is waited for, and its verdict takes to be sent. */
export const LEASE_S = 60;
/** Validators asked at once, of each process. */
const MOST_ASKED = 20;
/** A hire that is not mined yet, and a step that was sent, are looked at again. */
const SOON_S = 2;
/** However far away the next deadline is: chains are reorganised, and clocks differ. */
const LONGEST_WAIT_S = 600;
/** Of the relayer's own concessions. */
const SIGNED_FOR_S = 3_600n;

const MOST_LAPSED = 500;

/** For the sweeper: forgets what nobody hired for. */
export async function sweepJobs({ db }: Pick<JobDeps, "db">): Promise<void> {
  await deleteLapsed(db, MOST_LAPSED);
}

export type JobWatch = {
  /** One pass over what is due. */
  pass(): Promise<void>;
  /** Waits for the validators that are being asked. */
  idle(): Promise<void>;
};

/** Validators are at addresses that clients chose: they are asked beside the passes, so that one that hangs holds up nobody's deadline. */
export function createJobWatch(deps: JobDeps): JobWatch {
  const asking = new Set<Promise<void>>();

  async function lookAfter(jobId: string, now: ChainClock): Promise<void> {
    const job = (await findJob(deps.db, jobId))!;
    await scheduled(deps, job, async () => {
      const next = await stepOf(deps, job, now);
      if (next !== "ask") return next;
      if (asking.size >= MOST_ASKED) return { inS: SOON_S, faults: await faultsOf(deps.db, jobId) };
      // It keeps the job's lease.
      const asked = scheduled(deps, job, () => validate(deps, liveOr(job), now.nowS))
        .catch((err: unknown) => deps.log.warn({ event: EVENT.failure, jobId, err }, "asking a validator failed; tried again when its lease is over"))
        .finally(() => void asking.delete(asked));
      asking.add(asked);
      return undefined;
    });
  }

  return {
    async pass() {
      const due = await leaseDue(deps.db, BATCH, LEASE_S);
      if (due.length === 0) return;
      const { timestamp, number } = await readChain(() => deps.chain.client.getBlock());
      const now = { nowS: Number(timestamp), block: Number(number) };
      await Promise.all(due.map((jobId) => lookAfter(jobId, now)));
    },
    async idle() {
      await Promise.all(asking);
    },
  };
}

/** Does it, and writes down when to look again; undefined: somebody else will. */
async function scheduled(deps: JobDeps, job: JobRecord, act: () => Promise<Next | undefined>): Promise<void> {
  const { jobId, chainBlock } = job;
  const before = await faultsOf(deps.db, jobId);
  try {
    const next = await act();
    if (next !== undefined) await scheduleNext(deps.db, jobId, next === "over" ? next : { inS: next.inS, faults: next.faults ?? 0 }, chainBlock);
  } catch (error) {
    if (!(error instanceof TallystickError)) throw error;
    const faults = before + 1;
    deps.log.warn({ event: EVENT.failure, jobId, code: error.code, faults, err: error }, "a job's next step failed; tried again soon");
    await scheduleNext(deps.db, jobId, { inS: delayAfter(faults), faults }, chainBlock);
  }
}

type Next = { inS: number; faults?: number } | "over";

async function stepOf(deps: JobDeps, job: JobRecord, now: ChainClock): Promise<Next | "ask"> {
  if (job.chain === undefined) return { inS: job.hired !== undefined && isLost(job.hired.txState) ? LONGEST_WAIT_S : SOON_S };
  const live = liveOr(job);
  const { disputeEvaluator } = deps.config.jobs;
  const step = nextStep({ chain: live.chain, rules: live.rules, disputeEvaluator, isGood: await isGood(deps, live) }, now);
  const { nowS } = now;
  if ("wait" in step) return { inS: Math.min(Math.max(step.wait - nowS, 1), LONGEST_WAIT_S) };
  if (step.act === "pay_out") return payOut(deps, live);
  if (step.act === "ask_validator") return "ask";
  await take(deps, live, step, nowS);
  return { inS: SOON_S };
}

/** What was submitted on the chain came through us, and was checked then. */
async function isGood({ db, keyring }: JobDeps, job: LiveJob): Promise<boolean> {
  if (job.brief.releaseCondition.type !== "automatic" || !keyring.has(job.clientAgent)) return false;
  const deliverable = await deliverableOf(db, job.jobId);
  return deliverable !== undefined && (await findFile(db, job.jobId, deliverable)) !== undefined;
}

type Acting = Exclude<Step, { wait: number } | { act: "pay_out" | "ask_validator" }>;

async function take(deps: JobDeps, job: LiveJob, step: Acting, nowS: number): Promise<SentAction> {
  const { escrow, disputeEvaluator } = deps.config.jobs;
  const judge = (data: Hex) => ({ to: disputeEvaluator, data, mostGas: MOST_GAS.watcher });
  const once = (verb: string, key = "once") => ({ verb, key, by: undefined });
  const id = job.chainJobId;
  switch (step.act) {
    case "finalize":
      return send(deps, job.jobId, once("finalize"), judge(encodeFunctionData({ abi: judgeAbi, functionName: "finalize", args: [id] })));
    case "resolve":
      return send(deps, job.jobId, once("resolve"), judge(encodeFunctionData({ abi: judgeAbi, functionName: "resolve", args: [id] })));
    case "draw":
      // The queue is the contract's: whose panel is drawn is the one that waits longest.
      return send(deps, job.jobId, once("draw", `${step.round}:${step.seedBlock}:${job.chainBlock}`), { ...judge(encodeFunctionData({ abi: judgeAbi, functionName: "draw" })), gas: FIXED_GAS.draw });
    case "release_seats":
      return send(deps, job.jobId, once("release_seats", String(step.round)), judge(encodeFunctionData({ abi: judgeAbi, functionName: "releaseSeats", args: [id, BigInt(step.round)] })));
    case "refund":
      return send(deps, job.jobId, once("refund"), { to: escrow, data: encodeFunctionData({ abi: jobEscrowAbi, functionName: "claimRefund", args: [id] }), mostGas: MOST_GAS.watcher });
    default:
      return send(deps, job.jobId, once("release"), judge(await concession(deps, job, BigInt(nowS) + SIGNED_FOR_S)));
  }
}

async function concession({ config, keyring }: JobDeps, { chainJobId, clientAgent }: LiveJob, deadline: bigint): Promise<Hex> {
  const message = { jobId: chainJobId, party: clientAgent, deadline };
  const signature = await keyring.signerFor(clientAgent).signConcession(disputeEvaluatorDomain(config.chainId, config.jobs.disputeEvaluator), message);
  return encodeFunctionData({ abi: judgeAbi, functionName: "concedeBySig", args: [chainJobId, clientAgent, deadline, signature] });
}

/** Nobody is paid in passing by the evaluator: it keeps bonds and fees until they are asked for. */
async function payOut(deps: JobDeps, job: LiveJob): Promise<Next> {
  const creditors = creditorsOf(job.chain, job.rules.arbitrator);
  const owed = creditors.length === 0 ? [] : (await readOwed(deps, creditors)).filter((one) => one.owed > 0n);
  const results = await Promise.all(owed.map(({ account }) => withdraw(deps, job, account)));
  return results.some((isUnderWay) => isUnderWay) ? { inS: SOON_S } : "over";
}

/** Once a job and account: what somebody is owed anew, or cannot be paid, holds nothing up. */
async function withdraw(deps: JobDeps, job: LiveJob, account: Address): Promise<boolean> {
  try {
    const data = encodeFunctionData({ abi: judgeAbi, functionName: "withdraw", args: [account] });
    const { txState } = await send(deps, job.jobId, { verb: "withdraw", key: account, by: undefined }, { to: deps.config.jobs.disputeEvaluator, data, mostGas: MOST_GAS.watcher });
    return txState === "signed" || txState === "broadcast";
  } catch (error) {
    if (error instanceof TallystickError && error.code === "job_refused") return false;
    throw error;
  }
}

async function validate(deps: JobDeps, job: LiveJob, nowS: number): Promise<Next> {
  const faults = await faultsOf(deps.db, job.jobId);
  const untilExpiryS = Math.max(1, job.chain.expiredAt - nowS);
  try {
    const verdict = await askValidator(deps, job);
    if (verdict === undefined) return { inS: Math.min(delayAfter(faults + 1), untilExpiryS), faults: faults + 1 };
    await sendVerdict(deps, job, undefined, verdict);
    return { inS: SOON_S };
  } catch (error) {
    if (!(error instanceof TallystickError)) throw error;
    deps.log.info({ event: EVENT.validatorFailed, jobId: job.jobId, code: error.code }, "the validator's answer does not count");
    if (faults === 0) await addEvent(deps.db, job.jobId, { kind: "validator_failed", by: job.chain.evaluator, data: { code: error.code, reason: error.message } });
    return { inS: Math.min(delayAfter(faults + 1), untilExpiryS), faults: faults + 1 };
  }
}
