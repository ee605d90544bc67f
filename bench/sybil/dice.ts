// The distributions that the simulated market and the rings are drawn from, over the seeded generator of the chaos runs.
import { createHash } from "node:crypto";
import { random, seedFor } from "../../test/chaos/random.ts";

export type Dice = {
  int(least: number, most: number): number;
  /** From `least` up to but without `most`. */
  real(least: number, most: number): number;
  chance(share: number): boolean;
  pick<T>(list: readonly T[]): T;
  /** So many different ones, or all there are. */
  some<T>(list: readonly T[], count: number): T[];
  /** Even on a logarithmic scale. */
  logUniform(least: number, most: number): number;
  normal(mean: number, deviation: number): number;
};

const STEPS = 2 ** 30;

export function dice(seed: number, ...path: (string | number)[]): Dice {
  const { int, pick, shuffle } = random(seedFor(seed, ...path));
  const unit = () => int(0, STEPS - 1) / STEPS;
  const real = (least: number, most: number) => least + (most - least) * unit();
  return {
    int,
    pick,
    some: (list, count) => shuffle(list).slice(0, count),
    real,
    chance: (share) => unit() < share,
    logUniform: (least, most) => Math.exp(real(Math.log(least), Math.log(most))),
    // Twelve draws summed: near enough to a bell, and bounded.
    normal: (mean, deviation) => mean + deviation * (Array.from({ length: 12 }, unit).reduce((sum, draw) => sum + draw, 0) - 6),
  };
}

/** Picks indices in proportion to their weights. */
export function weighted(weights: readonly number[]): (dice: Dice) => number {
  const sums: number[] = [];
  let total = 0;
  for (const weight of weights) sums.push((total += weight));
  return ({ real }) => {
    const draw = real(0, total);
    let [low, high] = [0, sums.length - 1];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (sums[middle]! > draw) high = middle;
      else low = middle + 1;
    }
    return low;
  };
}

const digest = (name: string) => createHash("sha256").update(name).digest("hex");
export const addressOf = (name: string): string => `0x${digest(name).slice(0, 40)}`;
export const idOf = (name: string): string => `0x${digest(name)}`;

export const usd = (amount: number): bigint => BigInt(Math.max(1, Math.round(amount * 1e6)));
