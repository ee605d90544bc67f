// The optimising attacker: families of strategies, the fewest payers of each that reach the top 10, then steps around the cheapest.
import { costOf, type Cost, type Strategy } from "./attack.ts";

export type Found = { strategy: Strategy; cost: Cost };
/** Whether a strategy lifts the target into the top 10. */
export type Succeeds = (strategy: Strategy) => boolean;

/** Channels of an attack that is tried: more cost more than what was found long before. */
const MOST_CHANNELS = 30_000;

const BASE: Strategy = { payers: 1, paidUsd: 1, genuineUsd: 0, genuineAt: 1, sides: 0, sidesEach: 0, sideUsd: 0, fillers: 0, raters: 0.3, days: 14, bondUsd: 0 };

/** What an attacker would try first: pure wash, camouflage from thrifty to generous, and economies of its own, with and without it. */
const FAMILIES: Partial<Strategy>[] = [
  {},
  { paidUsd: 10, bondUsd: 500 },
  { genuineUsd: 0.3 },
  { genuineUsd: 1 },
  { genuineUsd: 3 },
  { sides: 30, sidesEach: 2, sideUsd: 3 },
  { sides: 100, sidesEach: 4, sideUsd: 3 },
  { sides: 200, sidesEach: 6, sideUsd: 2 },
  { sides: 60, sidesEach: 3, sideUsd: 2, genuineUsd: 0.2 },
  { sides: 40, sidesEach: 4, sideUsd: 3, fillers: 1 },
  { sides: 40, sidesEach: 4, sideUsd: 3, fillers: 4 },
  { sides: 15, sidesEach: 3, sideUsd: 3, fillers: 2 },
];

/** Steps from the best of them. */
const STEPS: ((at: Strategy) => Partial<Strategy>)[] = [
  ({ paidUsd }) => ({ paidUsd: paidUsd / 2 }),
  ({ paidUsd }) => ({ paidUsd: paidUsd * 2 }),
  ({ genuineUsd }) => ({ genuineUsd: genuineUsd / 2 }),
  ({ genuineUsd }) => ({ genuineUsd: genuineUsd * 1.6 }),
  ({ sideUsd }) => ({ sideUsd: sideUsd * 2 }),
  ({ sides }) => ({ sides: Math.ceil(sides / 2) }),
  ({ sidesEach }) => ({ sidesEach: Math.max(1, sidesEach - 1) }),
  ({ sidesEach }) => ({ sidesEach: sidesEach + 2 }),
  ({ fillers }) => ({ fillers: fillers / 2 }),
  ({ fillers }) => ({ fillers: fillers * 1.5 }),
  () => ({ raters: 0.1 }),
  () => ({ raters: 0.6 }),
  () => ({ days: 7 }),
  () => ({ bondUsd: 1_000 }),
];

/** Undefined when none of them gets there. `evaluations` counts the markets that were scored. */
export function cheapest(succeeds: Succeeds, onFound: (found: Found) => void): { best: Found | undefined; evaluations: number } {
  let evaluations = 0;
  const tries: Succeeds = (strategy) => {
    evaluations += 1;
    return succeeds(strategy);
  };
  let best: Found | undefined;
  const look = (strategy: Strategy): boolean => {
    const found = fewestPayers(strategy, tries, best?.cost.totalUsd ?? Infinity);
    if (found === undefined) return false;
    best = found;
    onFound(found);
    return true;
  };
  for (const family of FAMILIES) look({ ...BASE, ...family });
  for (let moved = best !== undefined; moved; ) {
    moved = false;
    for (const step of STEPS) moved = look({ ...best!.strategy, ...step(best!.strategy) }) || moved;
  }
  return { best, evaluations };
}

/** The cheapest number of payers, to about 3 %; undefined when it costs no less than `belowUsd`. */
export function fewestPayers(strategy: Strategy, succeeds: Succeeds, belowUsd: number): Found | undefined {
  const costAt = (payers: number) => costOf({ ...strategy, payers });
  const { sides, sidesEach, fillers } = strategy;
  let high = Math.floor(MOST_CHANNELS / (2 + (sides > 0 ? sidesEach * (1 + fillers) : 0)));
  while (high > 1 && costAt(high).totalUsd >= belowUsd) high = Math.floor(high / 1.05);
  if (costAt(high).totalUsd >= belowUsd || !succeeds({ ...strategy, payers: high })) return undefined;
  let low = 0;
  while (high - low > Math.max(1, 0.03 * high)) {
    const middle = (low + high) >> 1;
    if (succeeds({ ...strategy, payers: middle })) high = middle;
    else low = middle;
  }
  return { strategy: { ...strategy, payers: high }, cost: costAt(high) };
}
