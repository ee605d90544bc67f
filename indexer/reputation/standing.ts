// What a counterparty's money says about a service. The rule behind all of it: a payment to oneself costs nothing but gas, a payment to a
// stranger is gone. So a counterparty speaks for a service as far as it has spent elsewhere, at services that others stand behind, which
// are not kept up by the same crowd. Pure.
import { circlesOf } from "./cycles.ts";
import { sellersOf, type Books, type Dealing } from "./dealings.ts";
import type { Entities } from "./entities.ts";
import type { Facts } from "./facts.ts";

/** How one counterparty counts at one service, and why. */
export type Voice = {
  dealing: Dealing;
  /** 0 to 1. */
  weight: number;
  /** 0 to 1: whether it is a stranger to the seller. */
  independence: number;
  /** Spent at others that count, USD. */
  elsewhereUsd: number;
  /** Of all its spending, the share that went elsewhere. */
  openness: number;
};

export type Standing = { voices: Voice[]; /** Sum of weights: how many full counterparties stand behind the service. */ mass: number };

/** Half a voice: so much paid here, and so much elsewhere. USD. */
const HALF_PAID_USD = 0.25;
const HALF_ELSEWHERE_USD = 1;
/** A dealing is looked at in full from this age on. */
const RIPE_S = 14 * 86_400;
/** What is left of a voice that pays in a circle with the seller. */
const CIRCLE_SHARE = 0.05;
/** A service with so many full voices lends half of its own weight to what is spent at it. */
const HALF_MASS = 5;
const ROUNDS = 6;
const STRANGERS = 4;

export function standingsOf(facts: Facts, books: Books, entities: Entities): Map<string, Standing> {
  const drafts = draftsOf(facts, books, entities);
  // From above: everybody is believed at first, and what rests on nothing falls, round by round.
  let standings = new Map<string, Standing>();
  for (let round = 0; round < ROUNDS; round++) {
    const before = weightsOf(standings);
    standings = new Map([...drafts].map(([serviceId, own]) => {
      const voices = own.map((draft) => voiceOf(draft, facts.nowS, (ties) => (round === 0 ? 1 : creditOf(ties, before))));
      return [serviceId, { voices, mass: voices.reduce((sum, { weight }) => sum + weight, 0) }];
    }));
  }
  return standings;
}

/** Two services and the counterparties that pay both. */
type Ties = { other: string; shared: readonly string[] };
type Weights = Map<string, { mass: number; of: Map<string, number> }>;

const weightsOf = (standings: ReadonlyMap<string, Standing>): Weights =>
  new Map([...standings].map(([serviceId, { mass, voices }]) => [serviceId, { mass, of: new Map(voices.map(({ dealing, weight }) => [dealing.entity, weight])) }]));

/** What stands behind the other service, without those who stand behind both: a crowd cannot vouch for itself. */
function creditOf({ other, shared }: Ties, before: Weights): number {
  const { mass, of } = before.get(other)!;
  const strangers = mass - shared.reduce((sum, entity) => sum + (of.get(entity) ?? 0), 0);
  return half(Math.max(0, strangers), HALF_MASS);
}

/** What does not change from round to round. `elsewhere`: spent at others, USD, without what the crowds share. */
type Draft = { dealing: Dealing; independence: number; elsewhere: { ties: Ties; usd: number }[] };

function voiceOf({ dealing, independence, elsewhere }: Draft, nowS: number, credit: (ties: Ties) => number): Voice {
  let elsewhereUsd = 0;
  for (const { ties, usd } of elsewhere) elsewhereUsd += usd * credit(ties);
  const ripe = Math.min(1, Math.max(0, nowS - dealing.firstS) / RIPE_S);
  const weight = independence * ripe * Math.min(half(dealing.paidUsd, HALF_PAID_USD), half(elsewhereUsd, HALF_ELSEWHERE_USD));
  const all = elsewhereUsd + dealing.paidUsd;
  return { dealing, weight, independence, elsewhereUsd, openness: all === 0 ? 0 : elsewhereUsd / all };
}

function draftsOf({ services }: Facts, books: Books, entities: Entities): Map<string, Draft[]> {
  const sellers = sellersOf(services, entities);
  const circle = circlesOf(flowsOf(books, sellers));
  const inCircle = (own: ReadonlySet<string>, entity: string) => [...own].some((seller) => circle.has(seller) && circle.get(seller) === circle.get(entity));
  return new Map(services.map(({ serviceId }) => {
    const own = sellers.get(serviceId)!;
    const crowd = books.services.get(serviceId) ?? new Map<string, Dealing>();
    const known = new Map<string, { ties: Ties; overlap: number }>();
    const tiesTo = (other: string) => {
      const ties = known.get(other) ?? tie(crowd, other, books.services.get(other)!);
      known.set(other, ties);
      return ties;
    };
    const isElsewhere = (other: string, entity: string) => other !== serviceId && !shareSeller(own, sellers.get(other)) && sellers.get(other)?.has(entity) !== true;
    return [serviceId, [...crowd.values()].map((dealing): Draft => {
      const others = [...books.entities.get(dealing.entity)!].filter(([other]) => isElsewhere(other, dealing.entity));
      const elsewhere = others.map(([other, { paidUsd }]) => ({ ties: tiesTo(other).ties, usd: paidUsd * (1 - tiesTo(other).overlap) }));
      return { dealing, independence: own.has(dealing.entity) ? 0 : inCircle(own, dealing.entity) ? CIRCLE_SHARE : 1, elsewhere };
    })];
  }));
}

/** `overlap`: of the smaller crowd, the share that pays the other service too. A club pays for everything of its members. */
function tie(crowd: ReadonlyMap<string, Dealing>, other: string, theirs: ReadonlyMap<string, Dealing>): { ties: Ties; overlap: number } {
  const [few, many] = crowd.size < theirs.size ? [crowd, theirs] : [theirs, crowd];
  const shared = [...few.keys()].filter((entity) => many.has(entity));
  // Two crowds of one or two share one easily: a prior of strangers keeps that from counting.
  return { ties: { other, shared }, overlap: Math.max(0, shared.length - 1) / (few.size + STRANGERS) };
}

const half = (amount: number, at: number): number => amount / (amount + at);
const shareSeller = (own: ReadonlySet<string>, theirs: ReadonlySet<string> | undefined): boolean => theirs !== undefined && [...theirs].some((seller) => own.has(seller));

/** Who pays whom, as counterparties. */
function flowsOf({ services }: Books, sellers: ReadonlyMap<string, ReadonlySet<string>>): Map<string, Set<string>> {
  const flows = new Map<string, Set<string>>();
  for (const [serviceId, dealings] of services) {
    for (const entity of dealings.keys()) {
      const to = flows.get(entity) ?? new Set<string>();
      flows.set(entity, to);
      for (const seller of sellers.get(serviceId) ?? []) if (seller !== entity) to.add(seller);
    }
  }
  return flows;
}
