// What an attacker can do who has read the scorer, and what it costs: fake payers, genuine purchases to give them a voice, an economy of
// fake services that buy from each other, bonds, time. Money that comes back (to one's own payTo) counts as locked, all else as lost.
import { readFileSync } from "node:fs";
import type { Facts } from "../../indexer/reputation/facts.ts";
import { addressOf, dice, idOf, usd } from "./dice.ts";
import { DAY_S, emptyDraft, exchange, NOW_S, type Draft, type Market } from "./market.ts";

export type Strategy = {
  /** Fake payers of the target. */
  payers: number;
  /** Paid by each to the target, USD: comes back. */
  paidUsd: number;
  /** Bought by each from honest services, USD: gone. In so many services. */
  genuineUsd: number;
  genuineAt: number;
  /** Fake services beside the target, and how many of them each payer pays, and how much (comes back). */
  sides: number;
  sidesEach: number;
  sideUsd: number;
  /** For each payer of the target, so many others that pay only fake services beside it: strangers who stand behind those. */
  fillers: number;
  /** Share of the payers that rate. */
  raters: number;
  /** Days from listing to the day of reckoning; all capital is locked for as long. */
  days: number;
  bondUsd: number;
};

export const TARGET = idOf("attacker target");
/** Assumptions that are no measurements. */
export const PRICES = { gasPriceGwei: 0.01, etherUsd: 3_000, capitalRatePerYear: 0.1 };

const gasOf = (file: string): Record<string, number> => JSON.parse(readFileSync(new URL(`../results/${file}.json`, import.meta.url), "utf8")) as Record<string, number>;
const [channels, bazaar] = [gasOf("gas"), gasOf("bazaar-gas")];
/** Whole acts at their cheapest: claims are a row of a large batch, ratings one of ten in a call. Funding a payer is taken as free. */
const GAS = {
  list: bazaar["list, by a key"]! + bazaar["publish, by a key"]!,
  open: channels["deposit, first"]!,
  claim: Math.round((channels["packed batch, 500 rows,   1 receivers: gas"]! as number) / 500),
  rate: bazaar["rate, one of ten in a call"]!,
  bond: bazaar["bond a service"]!,
};

export type Cost = { totalUsd: number; gasUsd: number; spentUsd: number; lockedUsd: number; lockUsd: number; gas: number };

export function costOf({ payers, paidUsd, genuineUsd, genuineAt, sides, sidesEach, sideUsd, fillers, raters, days, bondUsd }: Strategy): Cost {
  const genuine = genuineUsd > 0 ? genuineAt : 0;
  const side = sides > 0 ? sidesEach : 0;
  // The seller at a genuine purchase pays for its own claim.
  const gas = (1 + sides) * GAS.list + payers * (2 * GAS.claim + (1 + genuine + side) * GAS.open + side * GAS.claim + raters * GAS.rate) + payers * fillers * side * (GAS.open + GAS.claim) + (bondUsd > 0 ? GAS.bond : 0);
  const lockedUsd = payers * (paidUsd + (1 + fillers) * side * sideUsd) + bondUsd;
  const gasUsd = gas * PRICES.gasPriceGwei * 1e-9 * PRICES.etherUsd;
  const lockUsd = (lockedUsd * PRICES.capitalRatePerYear * days) / 365;
  const spentUsd = genuineUsd * payers;
  return { totalUsd: gasUsd + lockUsd + spentUsd, gasUsd, spentUsd, lockedUsd, lockUsd, gas };
}

/** The market with the attack in it. Every payer is funded by an exchange that everybody uses, so nothing leads from one to another. */
export function withAttack({ facts, providers }: Market, strategy: Strategy, seed: number): Facts {
  const { payers, paidUsd, genuineUsd, genuineAt, sides, sidesEach, sideUsd, fillers, raters, days, bondUsd } = strategy;
  const d = dice(seed, "attack");
  const draft = emptyDraft();
  const fake = (name: string) => ({ serviceId: idOf(name), owner: addressOf(`${name} owner`), payTo: addressOf(`${name} payTo`), registeredAtS: NOW_S - days * DAY_S, bondAtomic: name === "attacker target" ? BigInt(Math.round(bondUsd * 1e6)) : 0n });
  const target = fake("attacker target");
  const others = Array.from({ length: sides }, (_, n) => fake(`attacker side ${n}`));
  draft.services.push(target, ...others);
  // The best known services lend the most.
  const known = [...providers].sort((a, b) => b.fame - a.fame).slice(0, 60);
  for (let n = 0, all = Math.round(payers * (1 + fillers)); n < all; n++) {
    const payer = addressOf(`attacker payer ${n}`);
    draft.fundings.push({ from: exchange(n % 4), to: payer, amountAtomic: usd(10 * (paidUsd + genuineUsd + sidesEach * sideUsd)), atS: NOW_S - (days + 1) * DAY_S });
    for (const side of d.some(others, sidesEach)) pay(draft, payer, side, sideUsd, days, 1);
    if (n >= payers) continue;
    pay(draft, payer, target, paidUsd, days, 2);
    if (genuineUsd > 0) for (let m = 0; m < genuineAt; m++) pay(draft, payer, d.pick(known), genuineUsd / genuineAt, days, 1);
    if (n < Math.ceil(raters * payers)) draft.ratings.push({ serviceId: TARGET, rater: payer, atS: NOW_S - 60, amountAtomic: usd(paidUsd), score: 100 });
  }
  return {
    nowS: facts.nowS, services: [...facts.services, ...draft.services], fundings: [...facts.fundings, ...draft.fundings], channels: [...facts.channels, ...draft.channels],
    claims: [...facts.claims, ...draft.claims], jobs: facts.jobs, ratings: [...facts.ratings, ...draft.ratings],
  };
}

/** A channel with perfect, acknowledged receipts; several claims lie more than a day apart. */
function pay(draft: Draft, payer: string, service: { serviceId: string; payTo: string }, amountUsd: number, days: number, claims: number): void {
  const channelId = idOf(`attack ${payer} ${service.serviceId} ${draft.channels.length}`);
  const openedAtS = NOW_S - days * DAY_S;
  draft.channels.push({ channelId, payer, receiver: service.payTo, openedAtS, depositedAtomic: usd(amountUsd), returnedAtomic: 0n });
  for (let n = 0; n < claims; n++) {
    const receipts = { count: 10, acknowledged: 10, failed: 0, late: 0, creditedAtomic: 0n, latencyMs: 100 };
    draft.claims.push({ channelId, serviceId: service.serviceId, atS: NOW_S - 60 - Math.round((claims - 1 - n) * Math.min(2, days) * DAY_S), amountAtomic: usd(amountUsd / claims), receipts });
  }
}

/** The place of the target, from 1, by what is ranked. Ties go against it. */
export function placeOf(values: ReadonlyMap<string, number>): number {
  const own = values.get(TARGET) ?? -Infinity;
  return 1 + [...values].filter(([serviceId, value]) => serviceId !== TARGET && value >= own).length;
}

/** What the chain's sums alone would rank by: the mean of a service's ratings, the number of them between equals. */
export function plainAverages({ ratings }: Facts): Map<string, number> {
  return new Map([...Map.groupBy(ratings, ({ serviceId }) => serviceId)].map(([serviceId, own]) => [serviceId, own.reduce((sum, { score }) => sum + score, 0) / own.length + 1e-6 * own.length]));
}
