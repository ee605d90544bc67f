// Seeded choices: the same seed makes the same plan. Every part of a run draws from a stream of its own, so that one more draw in one
// part changes nothing in another.
import { createHash } from "node:crypto";
import { uniformInt } from "pure-rand/distribution/uniformInt";
import { xoroshiro128plus } from "pure-rand/generator/xoroshiro128plus";

export type Random = {
  /** A whole number from `least` to `most`, both included. */
  int(least: number, most: number): number;
  /** True once in `times`. */
  oneIn(times: number): boolean;
  pick<T>(list: readonly T[]): T;
  shuffle<T>(list: readonly T[]): T[];
};

export function random(seed: number): Random {
  const generator = xoroshiro128plus(seed);
  const int = (least: number, most: number) => uniformInt(generator, least, most);
  return {
    int,
    oneIn: (times) => int(1, times) === 1,
    pick: (list) => list[int(0, list.length - 1)]!,
    shuffle(list) {
      const shuffled = [...list];
      for (let last = shuffled.length - 1; last > 0; last--) {
        const at = int(0, last);
        [shuffled[last], shuffled[at]] = [shuffled[at]!, shuffled[last]!];
      }
      return shuffled;
    },
  };
}

/** A seed of its own for a named part. */
export function seedFor(seed: number, ...path: (string | number)[]): number {
  return createHash("sha256").update(JSON.stringify([seed, ...path])).digest().readInt32BE(0);
}
