// How much of a balance counts. Pure. A block that is a few deep may still vanish, and a deposit with it; what was sold on it could then
// not be claimed. So what a deposit is worth decides how deep it must be, and many small ones of a payer are one large one.
import type { Address } from "viem";

/** From that amount on, that many blocks, the including one counted. */
export type DepthStep = { fromAtomic: bigint; depth: number };

/** What is left of the balance as it stood that many blocks deep (1 is the head); the deeper, the less. */
export type Rung = { depth: number; balance: bigint };

/** What the chain said of one channel at several depths; given only while they differ. */
export type Ladder = {
  /** By rising depth, the first at 1; among them every depth of `steps`. */
  rungs: readonly Rung[];
  steps: readonly DepthStep[];
  /** What the operator lets count at its own risk, by payer in lower case. */
  bridged: ReadonlyMap<string, bigint>;
};

/** One channel's state at one block, as far as it tells whether money left it since. */
export type Snapshot = { balance: bigint; withdrawAmount: bigint; withdrawInitiatedAt: number; refundNonce: bigint };

/** Of what the payer has put in, no more than `allowance` counts before it is `depth` deep; `others` is what its other channels use of that. */
export type Demand = { depth: number; allowance: bigint; others: bigint };

export type Counted = {
  /** What may be spent. */
  balance: bigint;
  /** On the chain, and not deep enough yet. */
  pending: bigint;
  /** Deposits that are this deep count. */
  depth: number;
  /** How deep the rest has to be; 1 when all of it counts. */
  needed: number;
};

/** The steps as they apply: nothing counts below the depth at which our own transactions do. */
export function depositSteps(steps: readonly DepthStep[], confirmations: number): DepthStep[] {
  return steps.map(({ fromAtomic, depth }) => ({ fromAtomic, depth: Math.max(depth, confirmations) }));
}

/** The depths to look at, rising, 1 among them. */
export function depthsOf(steps: readonly DepthStep[]): number[] {
  return [...new Set([1, ...steps.map(({ depth }) => depth)])].sort((a, b) => a - b);
}

/**
 * What is certainly left of a balance that was deep. Money left the channel when a refund or the end of a withdrawal lies between, and
 * then what remains may all be new: nothing of it counts as deep. Otherwise balances only rise.
 */
export function keptSince(deep: Snapshot, head: Snapshot): bigint {
  const withdrew = deep.withdrawInitiatedAt > 0 && (deep.withdrawInitiatedAt !== head.withdrawInitiatedAt || deep.withdrawAmount !== head.withdrawAmount);
  if (withdrew || deep.refundNonce !== head.refundNonce) return 0n;
  return deep.balance < head.balance ? deep.balance : head.balance;
}

/** @param others by step: what the payer's other channels count that is not that deep. */
export function demandsOn({ steps, bridged }: Pick<Ladder, "steps" | "bridged">, payer: Address, others: readonly bigint[]): Demand[] {
  const bridge = bridged.get(payer.toLowerCase()) ?? 0n;
  return steps.map(({ fromAtomic, depth }, index) => ({ depth, allowance: bridge + (fromAtomic > 0n ? fromAtomic - 1n : 0n), others: others[index] ?? 0n }));
}

/**
 * The most that every demand allows: a rung, since a part of a deposit is of no use to its payer, or what counts `already`: more that
 * comes in on top of it waits by itself.
 */
export function countable(rungs: readonly Rung[], demands: readonly Demand[], already = 0n): Counted {
  const all = rungs[0]!.balance;
  const allowed = [already, ...rungs.map((rung) => rung.balance)].filter((amount) => amount <= all && demands.every((demand) => holds(rungs, amount, demand)));
  const balance = allowed.reduce((most, amount) => (amount > most ? amount : most), 0n);
  const broken = demands.filter((demand) => !holds(rungs, all, demand));
  return { balance, pending: all - balance, depth: rungs.find((rung) => rung.balance <= balance)!.depth, needed: Math.max(1, ...broken.map(({ depth }) => depth)) };
}

function holds(rungs: readonly Rung[], amount: bigint, { depth, allowance, others }: Demand): boolean {
  const young = amount - balanceAt(rungs, depth);
  return young <= 0n || young + others <= allowance;
}

export function balanceAt(rungs: readonly Rung[], depth: number): bigint {
  const rung = rungs.find((candidate) => candidate.depth === depth);
  if (rung === undefined) throw new Error(`invariant: depth ${depth} was read`);
  return rung.balance;
}
