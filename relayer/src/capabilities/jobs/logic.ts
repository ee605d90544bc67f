// In what state a job is, and what is next to be done about it so that no deadline passes unused. Pure: `now` is the chain's clock.
import { isAddressEqual, zeroAddress, type Address } from "viem";
import { PHASE, STATUS, type ChainState, type JobRecord, type RoundState } from "./types.ts";

export type JobState =
  | "requested" | "quoted" | "withdrawn" | "lapsed" // not hired
  | "hiring" | "hire_failed" | "funded" | "submitted" | "disputed" // hired
  | "completed" | "split" | "refunded"; // over

export type EscrowStatus = "holding" | "released" | "refunded" | "disputed";
export type DisputeStatus = "open" | "under_review" | "resolved" | "escalated";

type Hired = Pick<JobRecord, "chain" | "hired" | "isOpen" | "withdrawnAt">;

/** Of a transaction that can no longer happen: what it was to do may be tried again. */
export const isLost = (txState: string): boolean => txState === "reverted" || txState === "dropped";

export function stateOf({ chain, hired, isOpen, withdrawnAt }: Hired, quotes: number, splitBps: number | undefined): JobState {
  if (chain !== undefined) return chainStateOf(chain, splitBps);
  if (hired !== undefined) return isLost(hired.txState) ? "hire_failed" : "hiring";
  if (withdrawnAt !== undefined) return "withdrawn";
  if (!isOpen) return "lapsed";
  return quotes > 0 ? "quoted" : "requested";
}

function chainStateOf({ status, phase }: ChainState, splitBps: number | undefined): JobState {
  if (status === STATUS.completed) return splitBps === undefined ? "completed" : "split";
  if (status === STATUS.rejected || status === STATUS.expired) return "refunded";
  if (phase === PHASE.disputed) return "disputed";
  return status === STATUS.submitted ? "submitted" : "funded";
}

/** A job that was never funded has no escrow. */
export function escrowStatusOf({ status, phase }: ChainState): EscrowStatus {
  if (status === STATUS.completed) return "released";
  if (status === STATUS.rejected || status === STATUS.expired) return "refunded";
  return phase === PHASE.disputed ? "disputed" : "holding";
}

/** Undefined for a job that was never disputed. */
export function disputeStatusOf({ phase, round, rounds }: ChainState): DisputeStatus | undefined {
  const current = rounds[round - 1];
  if (current === undefined) return undefined;
  if (phase === PHASE.closed) return "resolved";
  if (round === 2) return "escalated";
  return current.drawn ? "under_review" : "open";
}

/** How much of a job was asked back and given back. */
export function refundKind(clientAmount: bigint, budget: bigint): "none" | "partial" | "full" {
  return clientAmount === 0n ? "none" : clientAmount === budget ? "full" : "partial";
}

export type Rules = { reviewWindow: number; commitWindow: number; revealWindow: number; escalationWindow: number; arbitrator: Address };

export type Step =
  | { act: "finalize" | "refund" | "resolve" | "accept" | "ask_validator" }
  | { act: "draw"; round: number; seedBlock: number }
  | { act: "release_seats"; round: number }
  | { act: "pay_out" }
  | { wait: number };

export type Watched = { chain: ChainState; rules: Rules; disputeEvaluator: Address; /** The deliverable on chain is the one that was checked here and found good. */ isGood: boolean };

/** The newest block: its number, and its time in Unix seconds. */
export type ChainClock = { nowS: number; block: number };

/** The next step of a hired job. `pay_out`: nothing is left but what the evaluator owes. */
export function nextStep(watched: Watched, now: ChainClock): Step {
  const { chain } = watched;
  if (chain.status === STATUS.funded) return refundAt(chain, now);
  if (chain.status === STATUS.submitted) return isJudged(watched) ? judgedStep(watched, now) : validatedStep(chain, now);
  return seatsOf(chain) ?? { act: "pay_out" };
}

const isJudged = ({ chain, disputeEvaluator }: Watched): boolean => isAddressEqual(chain.evaluator, disputeEvaluator);

function refundAt({ expiredAt }: ChainState, { nowS }: ChainClock): Step {
  return nowS >= expiredAt ? { act: "refund" } : { wait: expiredAt };
}

function validatedStep(chain: ChainState, { nowS }: ChainClock): Step {
  return nowS >= chain.expiredAt ? { act: "refund" } : { act: "ask_validator" };
}

/** A job is finalized or resolved even after its expiry while nobody had it refunded: that is what was agreed. */
function judgedStep({ chain, rules, isGood }: Watched, now: ChainClock): Step {
  if (chain.phase === PHASE.disputed) return disputedStep(chain, rules, now);
  const reviewedAt = chain.submittedAt + rules.reviewWindow;
  if (now.nowS >= reviewedAt) return { act: "finalize" };
  return isGood ? { act: "accept" } : { wait: reviewedAt };
}

function disputedStep(chain: ChainState, rules: Rules, { nowS, block }: ChainClock): Step {
  const round = chain.rounds[chain.round - 1]!;
  const commitEnd = round.startedAt + rules.commitWindow;
  const revealEnd = commitEnd + rules.revealWindow;
  const endedAt = round.endedAt !== 0 ? round.endedAt : nowS >= revealEnd ? revealEnd : undefined;
  if (endedAt === undefined) {
    const isPanel = isAddressEqual(rules.arbitrator, zeroAddress);
    if (!isPanel || round.drawn || nowS >= commitEnd) return { wait: revealEnd };
    // The hash of the seed's block is known from the next one on.
    return block > round.seedBlock ? { act: "draw", round: chain.round, seedBlock: round.seedBlock } : { wait: nowS + 1 };
  }
  const resolveAt = chain.round === 1 ? endedAt + rules.escalationWindow : endedAt;
  return nowS >= resolveAt ? { act: "resolve" } : { wait: resolveAt };
}

/** Verifiers get their seats back as soon as the job is over. */
function seatsOf({ rounds }: ChainState): Step | undefined {
  const index = rounds.findIndex((round) => round.drawn && round.endedAt !== 0 && !round.released);
  return index === -1 ? undefined : { act: "release_seats", round: index + 1 };
}

/** Whom the evaluator may owe something when a dispute is over. */
export function creditorsOf({ client, provider, rounds }: ChainState, arbitrator: Address): Address[] {
  if (rounds.length === 0) return [];
  const verifiers = rounds.flatMap((round: RoundState) => [round.payer, ...round.panel.map(({ verifier }) => verifier)]);
  const all = [client, provider, arbitrator, ...verifiers].filter((account) => !isAddressEqual(account, zeroAddress));
  return [...new Set(all)];
}

const MOST_DELAY_S = 300;

/** Pause after so many attempts in a row that came to nothing, seconds. */
export const delayAfter = (faults: number): number => Math.min(2 ** Math.min(faults, 10), MOST_DELAY_S);
