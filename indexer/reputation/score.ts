// The reputation of every service, out of facts alone: the same facts give the same scores, and each says what it was made of. Pure.
//
// Nothing here asks what the sums on chain are: whoever pays itself decides those. README.md says what each factor resists.
import { booksOf, decayed, usdOf, type Dealing } from "./dealings.ts";
import { entitiesOf } from "./entities.ts";
import type { Facts, JobFact, RatingFact, ServiceFact } from "./facts.ts";
import { standingsOf, type Standing } from "./standing.ts";

export const TRUST_LEVELS = ["untrusted", "new", "trusted", "verified", "elite"] as const;
export type Trust = (typeof TRUST_LEVELS)[number];
export const FACTORS = ["reliability", "quality", "speed", "honesty", "collaboration"] as const;
export type Factor = (typeof FACTORS)[number];

/** One thing a score is made of. `weight`: its share of the factor or the whole; values are 0 to 1 unless the reason says otherwise. */
export type Evidence = { factor: Factor | "overall"; name: string; value: number; weight: number; reason: string };

export type Reputation = Record<Factor, number> & {
  serviceId: string;
  /** 0 to 100, as the factors. */
  overall: number;
  trust: Trust;
  /** 0 to 1: how much of its custom looks like its own. */
  wash: number;
  evidence: Evidence[];
};

/** What each factor adds to the whole. */
const SHARES: Record<Factor, number> = { reliability: 0.25, quality: 0.35, speed: 0.15, honesty: 0.15, collaboration: 0.1 };
/** So many full voices, and a service is half believed. */
const HALF_BELIEVED = 30;
/** A bond counts as at most so many voices, at half of it when it is so large. */
const BOND_VOICES = 2;
const HALF_BOND_USD = 500;
/** From where on a share of own custom takes from the score, in full at 1. */
const WASH_FROM = 0.7;

export function score(facts: Facts): Reputation[] {
  const entities = entitiesOf(facts);
  const books = booksOf(facts, entities);
  const standings = standingsOf(facts, books, entities);
  const jobs = Map.groupBy(facts.jobs, ({ serviceId }) => serviceId);
  const ratings = Map.groupBy(facts.ratings, ({ serviceId }) => serviceId);
  return facts.services.map((service) => {
    const standing = standings.get(service.serviceId)!;
    const voiceOf = new Map(standing.voices.map((voice) => [voice.dealing.entity, voice.weight]));
    const weightOf = (account: string) => voiceOf.get(entities.of(account)) ?? 0;
    return reputationOf(service, standing, jobs.get(service.serviceId) ?? [], ratings.get(service.serviceId) ?? [], weightOf, facts.nowS);
  });
}

type WeightOf = (account: string) => number;

function reputationOf(service: ServiceFact, standing: Standing, jobs: readonly JobFact[], ratings: readonly RatingFact[], weightOf: WeightOf, nowS: number): Reputation {
  const factors = [reliabilityOf(standing, jobs, weightOf), qualityOf(ratings, weightOf, nowS), speedOf(standing), honestyOf(standing, jobs, weightOf), collaborationOf(standing)];
  const wash = washOf(standing);
  const bond = BOND_VOICES * half(usdOf(service.bondAtomic), HALF_BOND_USD);
  // A bond speaks for a service that somebody buys from; alone it says nothing.
  const believed = half(standing.mass + Math.min(bond, standing.mass), HALF_BELIEVED);
  const kept = Math.min(1, (1 - wash) / (1 - WASH_FROM));
  const mean = factors.reduce((sum, { factor, value }) => sum + SHARES[factor] * value, 0);
  const overall = percent(mean * believed * kept);
  const evidence: Evidence[] = [
    ...factors.flatMap(({ evidence: own }) => own),
    ...factors.map(({ factor, value }): Evidence => ({ factor: "overall", name: factor, value: round(value), weight: SHARES[factor], reason: `${factor}, as its own evidence says` })),
    { factor: "overall", name: "counterparties", value: round(standing.mass), weight: round(believed), reason: `full voices of ${standing.voices.length} counterparties; everything above is multiplied by the weight` },
    { factor: "overall", name: "bond", value: usdOf(service.bondAtomic), weight: round(Math.min(bond, standing.mass)), reason: "USD locked; counts as so many voices more, never more than there are" },
    { factor: "overall", name: "own custom", value: round(wash), weight: round(kept), reason: "share of its custom that is the seller's own, goes in a circle, or buys nowhere else; everything above is multiplied by the weight" },
  ];
  const named = Object.fromEntries(factors.map(({ factor, value }) => [factor, percent(value)])) as Record<Factor, number>;
  return { serviceId: service.serviceId, ...named, overall, wash: round(wash), trust: trustOf(overall, standing, wash, named), evidence };
}

type Scored = { factor: Factor; value: number; evidence: Evidence[] };

/** A mean with a prior, so that little evidence says little. */
function meanOf(factor: Factor, prior: { value: number; weight: number }, parts: { name: string; value: number; weight: number; reason: string }[]): Scored {
  const total = parts.reduce((sum, { weight }) => sum + weight, prior.weight);
  const value = parts.reduce((sum, part) => sum + part.weight * part.value, prior.weight * prior.value) / total;
  const all = [{ name: "prior", ...prior, reason: "what is assumed of a service that nothing is known of" }, ...parts.filter(({ weight }) => weight > 0)];
  return { factor, value, evidence: all.map((part) => ({ factor, name: part.name, value: round(part.value), weight: round(part.weight / total), reason: part.reason })) };
}

/** Weighted by voices: what strangers say. */
function voiced({ voices }: Standing, of: (dealing: Dealing) => { value: number; weight: number } | undefined): { value: number; weight: number } {
  let [value, weight] = [0, 0];
  for (const voice of voices) {
    const own = of(voice.dealing);
    if (own === undefined) continue;
    weight += voice.weight * own.weight;
    value += voice.weight * own.weight * own.value;
  }
  return { value: weight === 0 ? 0 : value / weight, weight };
}

function reliabilityOf(standing: Standing, jobs: readonly JobFact[], weightOf: WeightOf): Scored {
  const answered = voiced(standing, ({ receipts: { acknowledged, failed } }) => (acknowledged === 0 ? undefined : { value: spread(1 - failed / acknowledged), weight: 1 }));
  const done = jobsOf(jobs, weightOf, ({ outcome }) => (outcome === "completed" || outcome === "disputed_won" ? 1 : outcome === "split" ? 0.5 : 0));
  return meanOf("reliability", { value: 0.5, weight: 2 }, [
    { name: "acknowledged receipts", ...answered, reason: "share without a failure, by the buyers who acknowledged them; 90 % and less is 0" },
    { name: "jobs", ...done, reason: "share that was completed, by clients who are strangers" },
  ]);
}

function qualityOf(ratings: readonly RatingFact[], weightOf: WeightOf, nowS: number): Scored {
  let [value, weight] = [0, 0];
  for (const { rater, amountAtomic, score: given, atS } of ratings) {
    const own = decayed(weightOf(rater) * half(usdOf(amountAtomic), 0.25), atS, nowS);
    weight += own;
    value += (own * given) / 100;
  }
  return meanOf("quality", { value: 0.55, weight: 3 }, [{ name: "ratings", value: weight === 0 ? 0 : value / weight, weight, reason: `${ratings.length} ratings, by what the rater has at stake here and elsewhere` }]);
}

function speedOf(standing: Standing): Scored {
  const onTime = voiced(standing, ({ receipts: { acknowledged, late } }) => (acknowledged === 0 ? undefined : { value: 1 - late / acknowledged, weight: 1 }));
  return meanOf("speed", { value: 0.6, weight: 2 }, [{ name: "on time", ...onTime, reason: "share of acknowledged receipts within the agreed time" }]);
}

function honestyOf(standing: Standing, jobs: readonly JobFact[], weightOf: WeightOf): Scored {
  const kept = voiced(standing, ({ receipts: { acknowledged, creditedUsd, paidUsd } }) => (acknowledged === 0 || paidUsd === 0 ? undefined : { value: spread(Math.max(0, 1 - creditedUsd / paidUsd)), weight: 1 }));
  const disputed = jobsOf(jobs, weightOf, ({ outcome }) => (outcome === "disputed_lost" ? 0 : outcome === "split" ? 0.5 : 1));
  return meanOf("honesty", { value: 0.6, weight: 2 }, [
    { name: "not refunded", ...kept, reason: "share of what was paid that was not credited back for a missed agreement; 90 % and less is 0" },
    { name: "disputes", ...disputed, reason: "jobs that no dispute was lost over" },
  ]);
}

function collaborationOf(standing: Standing): Scored {
  const back = voiced(standing, ({ claims, firstS, lastS }) => ({ value: claims > 1 && lastS - firstS > DAY_S ? 1 : 0, weight: 1 }));
  const agreed = voiced(standing, ({ receipts: { count, acknowledged } }) => (count === 0 ? undefined : { value: acknowledged > 0 ? 1 : 0, weight: 0.5 }));
  return meanOf("collaboration", { value: 0.5, weight: 2 }, [
    { name: "came back", ...back, reason: "counterparties that were claimed from on more than one day" },
    { name: "acknowledged", ...agreed, reason: "counterparties that acknowledge its receipts" },
  ]);
}

function jobsOf(jobs: readonly JobFact[], weightOf: WeightOf, of: (job: JobFact) => number): { value: number; weight: number } {
  let [value, weight] = [0, 0];
  for (const job of jobs) {
    // A client that never paid it by channel is nearly unknown, and yet a dispute is no wash.
    const own = Math.max(JOB_VOICE, weightOf(job.client)) * (of(job) === 1 ? half(usdOf(job.paidAtomic), 10) : 1);
    weight += own;
    value += own * of(job);
  }
  return { value: weight === 0 ? 0 : value / weight, weight };
}

/** How much of the crowd, account by account, is the seller's, in its circle, or at home nowhere else. Few accounts say little. */
export function washOf({ voices }: Standing): number {
  const accounts = voices.reduce((sum, { dealing }) => sum + dealing.accounts.size, 0);
  const open = voices.reduce((sum, { independence, openness }) => sum + independence * openness, 0);
  return 1 - (open + 1) / (accounts + 2);
}

function trustOf(overall: number, { mass }: Standing, wash: number, { honesty, reliability }: Record<Factor, number>): Trust {
  if (wash > UNTRUSTED_WASH || honesty < 30 || reliability < 20) return "untrusted";
  if (mass < 3) return "new";
  if (overall >= 70 && mass >= 60) return "elite";
  if (overall >= 50 && mass >= 20) return "verified";
  return overall >= 20 ? "trusted" : "new";
}

const DAY_S = 86_400;
const JOB_VOICE = 0.05;
const UNTRUSTED_WASH = 0.85;
const half = (amount: number, at: number): number => amount / (amount + at);
/** From 90 % to 100 %, where services differ. */
const spread = (share: number): number => Math.max(0, 10 * share - 9);
const round = (value: number): number => Math.round(value * 1e4) / 1e4;
const percent = (value: number): number => Math.round(Math.min(1, Math.max(0, value)) * 1e4) / 100;
