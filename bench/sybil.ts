// `npm run -s bench -- sybil`: what it costs an attacker who has read the scorer to lift a fake provider into the top 10 of a market of
// 1,000, beside plain averaging of ratings; and how well washed services are told from honest ones (ROC AUC). docs/REPUTATION.md.
import type { Facts } from "../indexer/reputation/facts.ts";
import { score } from "../indexer/reputation/score.ts";
import { placeOf, plainAverages, PRICES, withAttack, type Strategy } from "./sybil/attack.ts";
import { simulateMarket } from "./sybil/market.ts";
import { withRings } from "./sybil/rings.ts";
import { cheapest, fewestPayers, type Found } from "./sybil/search.ts";
import { PUBLISHED_SEEDS, RINGS_EACH, TUNING_SEEDS } from "./sybil/seeds.ts";
import { columns, commit, machine, progress, type Report } from "./report.ts";

const TOP = 10;

type Detection = { auc: number; aucWithoutFunding: number; byRing: Record<string, number> };

export async function run(args: string[]): Promise<Report> {
  const seeds: readonly number[] = args.includes("--tuning") ? TUNING_SEEDS : PUBLISHED_SEEDS;
  const detections = seeds.map(detect);
  const [auc, aucWithoutFunding] = [mean(detections.map((one) => one.auc)), mean(detections.map((one) => one.aucWithoutFunding))];
  progress(`sybil: AUC ${auc.toFixed(4)}, ${aucWithoutFunding.toFixed(4)} without funding`);
  const { attack, evaluations } = attackAll(seeds);
  const naive = lowest(seeds.map((seed) => ({ seed, found: naiveAttack(seed) })));
  const [attackCostUsd, naiveAttackCostUsd] = [attack.found.cost.totalUsd, naive.found.cost.totalUsd];
  return {
    bench: "sybil", attackCostUsd: rounded(attackCostUsd), naiveAttackCostUsd: rounded(naiveAttackCostUsd), auc: rounded(auc),
    timesNaive: Math.round(attackCostUsd / naiveAttackCostUsd), aucWithoutFunding: rounded(aucWithoutFunding), aucBySeed: Object.fromEntries(seeds.map((seed, n) => [seed, rounded(detections[n]!.auc)])),
    aucByRing: Object.fromEntries(Object.keys(detections[0]!.byRing).map((kind) => [kind, rounded(mean(detections.map(({ byRing }) => byRing[kind]!)))])),
    attack: { seed: attack.seed, ...attack.found }, naive: { seed: naive.seed, ...naive.found }, evaluations, assumptions: PRICES, machine: machine(), commit: commit(),
  };
}

// ------------------------------------------------------------------ rings

/** Over services that anybody ever paid. */
function detect(seed: number): Detection {
  const { market: { facts }, washed } = withRings(simulateMarket(seed), seed, RINGS_EACH);
  const paid = new Set(facts.claims.map(({ serviceId }) => serviceId));
  const washOf = (known: Facts) => score(known).filter(({ serviceId }) => paid.has(serviceId)).map(({ serviceId, wash }) => ({ wash, kind: washed.get(serviceId) }));
  const full = washOf(facts);
  const honest = full.filter(({ kind }) => kind === undefined).map(({ wash }) => wash);
  const byRing = Object.fromEntries(Object.entries(Object.groupBy(full.filter(({ kind }) => kind !== undefined), ({ kind }) => kind!)).map(([kind, own]) => [kind, rocAuc(own!.map(({ wash }) => wash), honest)]));
  const split = (all: typeof full) => rocAuc(all.filter(({ kind }) => kind !== undefined).map(({ wash }) => wash), all.filter(({ kind }) => kind === undefined).map(({ wash }) => wash));
  return { auc: split(full), aucWithoutFunding: split(washOf({ ...facts, fundings: [] })), byRing };
}

/** How often one of the first is above one of the second. */
export function rocAuc(positives: readonly number[], negatives: readonly number[]): number {
  let wins = 0;
  for (const positive of positives) for (const negative of negatives) wins += positive > negative ? 1 : positive === negative ? 0.5 : 0;
  return wins / (positives.length * negatives.length);
}

// ------------------------------------------------------------------ attacks

type Attacked = { seed: number; found: Found };

/** Searched in the first market; its best strategy is then tried in the others, and the cheapest of all counts. */
function attackAll([first, ...rest]: readonly number[]): { attack: Attacked; evaluations: number } {
  const { best, evaluations } = cheapest(reaches(first!), ({ strategy, cost }) => progress(`sybil: ${cost.totalUsd.toFixed(2)} USD ${JSON.stringify(strategy)}`));
  if (best === undefined) throw new Error("no strategy reached the top 10: the search is too narrow to say what an attack costs");
  const others = rest.flatMap((seed) => {
    const found = fewestPayers(best.strategy, reaches(seed), Infinity);
    return found === undefined ? [] : [{ seed, found }];
  });
  return { attack: lowest([{ seed: first!, found: best }, ...others]), evaluations };
}

function reaches(seed: number): (strategy: Strategy) => boolean {
  const market = simulateMarket(seed);
  return (strategy) => placeOf(new Map(score(withAttack(market, strategy, seed)).map(({ serviceId, overall }) => [serviceId, overall]))) <= TOP;
}

/** One dust payment and the best score, as often as it takes. */
function naiveAttack(seed: number): Found {
  const market = simulateMarket(seed);
  const strategy = { payers: 1, paidUsd: 0.001, genuineUsd: 0, genuineAt: 0, sides: 0, sidesEach: 0, sideUsd: 0, fillers: 0, raters: 1, days: 1, bondUsd: 0 };
  return fewestPayers(strategy, (one) => placeOf(plainAverages(withAttack(market, one, seed))) <= TOP, Infinity)!;
}

const lowest = (all: readonly Attacked[]): Attacked => all.reduce((least, next) => (next.found.cost.totalUsd < least.found.cost.totalUsd ? next : least));
const mean = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length;
const rounded = (value: number): number => Math.round(value * 1e4) / 1e4;

export function table(report: Report): string {
  const { attackCostUsd, naiveAttackCostUsd, timesNaive, auc, aucWithoutFunding, aucByRing, attack } = report as Report & { attackCostUsd: number; naiveAttackCostUsd: number; timesNaive: number; auc: number; aucWithoutFunding: number; aucByRing: Record<string, number>; attack: Attacked };
  return [
    columns([["attack on", "net loss, USD"], ["the scorer", attackCostUsd.toFixed(2)], ["plain averages", naiveAttackCostUsd.toFixed(4)], ["times", timesNaive]]),
    `cheapest: ${JSON.stringify({ ...attack })}`,
    columns([["washed services told from honest ones", "AUC"], ["all rings", auc.toFixed(4)], ["all, no funding known", aucWithoutFunding.toFixed(4)], ...Object.entries(aucByRing).map(([kind, value]) => [kind, value.toFixed(4)])]),
  ].join("\n\n");
}
