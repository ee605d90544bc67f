// Which of the rehearsed transfers go into one transaction, and what gas it gets.
import type { Rehearsed } from "./probe.ts";

/** Transfers in one transaction, and the gas of it: what a block has room for without waiting (Base caps a transaction at 16,777,216). */
export const MOST_TRANSFERS = 150;
export const MOST_BATCH_GAS = 12_000_000n;

/** Of the transaction itself. */
const BASE_GAS = 60_000n;
/** Of each call besides what the token uses: its calldata, and Multicall3's loop. */
const CALL_GAS = 12_000n;
/** Balances may become empty, so that writing them costs more; and a call is passed only 63/64 of what is left. */
const MARGIN_PERCENT = 120n;

export type Plan = {
  /** Indices that go together. */
  together: number[];
  /** Indices that would fail, or whose payer's code would run at the others' expense. */
  alone: number[];
  /** Indices for which there is no room; they keep their place. */
  later: number[];
  gas: bigint;
};

export function planBatch(count: number, rehearsed: readonly (Rehearsed | undefined)[]): Plan {
  const plan: Plan = { together: [], alone: [], later: [], gas: 0n };
  let sum = BASE_GAS;
  for (let index = 0; index < count; index++) {
    const outcome = rehearsed[index];
    const needed = sum + (outcome?.gas ?? 0n) + CALL_GAS;
    if (outcome === undefined) plan.later.push(index);
    else if (!outcome.passes || outcome.hasCode) plan.alone.push(index);
    else if (withMargin(needed) > MOST_BATCH_GAS) plan.later.push(index);
    else {
      plan.together.push(index);
      sum = needed;
    }
  }
  return { ...plan, gas: withMargin(sum) };
}

const withMargin = (gas: bigint): bigint => (gas * MARGIN_PERCENT) / 100n;

/**
 * How many may go with one that transactions have failed to move before: an account that turns into a wallet after the rehearsal can burn
 * the gas of all, so each time the company is half as large.
 */
export const mostWith = (attempts: number): number => Math.max(1, MOST_TRANSFERS >> Math.min(attempts, 8));
