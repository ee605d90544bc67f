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
const ROUNDS = 5;

export function standingsOf(facts: Facts, books: Books, entities: Entities): Map<string, Standing> {
  const drafts = draftsOf(facts, books, entities);
  // From above: everybody is believed at first, and what rests on nothing falls, round by round.
  let credit = new Map<string, number>();
  let standings = new Map<string, Standing>();
  for (let round = 0; round < ROUNDS; round++) {
    standings = new Map([...drafts].map(([serviceId, own]) => [serviceId, standingOf(own.map((draft) => voiceOf(draft, facts.nowS, credit)))]));
    credit = new Map([...standings].map(([serviceId, { mass }]) => [serviceId, half(mass, HALF_MASS)]));
  }
  return standings;
}

const standingOf = (voices: Voice[]): Standing => ({ voices, mass: voices.reduce((sum, { weight }) => sum + weight, 0) });

/** What does not change from round to round. `elsewhere`: spent at others, USD, without what the crowds share. */
type Draft = { dealing: Dealing; independence: number; elsewhere: [serviceId: string, usd: number][] };

function voiceOf({ dealing, independence, elsewhere }: Draft, nowS: number, credit: ReadonlyMap<string, number>): Voice {
  let elsewhereUsd = 0;
  for (const [other, usd] of elsewhere) elsewhereUsd += usd * (credit.get(other) ?? 1);
  const ripe = Math.min(1, Math.max(0, nowS - dealing.firstS) / RIPE_S);
  const weight = independence * ripe * Math.min(half(dealing.paidUsd, HALF_PAID_USD), half(elsewhereUsd, HALF_ELSEWHERE_USD));
  const all = elsewhereUsd + dealing.paidUsd;
  return { dealing, weight, independence, elsewhereUsd, openness: all === 0 ? 0 : elsewhereUsd / all };
}

function draftsOf({ services }: Facts, books: Books, entities: Entities): Map<string, Draft[]> {
  const sellers = sellersOf(services, entities);
  const circle = circlesOf(flowsOf(books, sellers));
  const overlap = overlaps(books);
  const inCircle = (own: ReadonlySet<string>, entity: string) => [...own].some((seller) => circle.has(seller) && circle.get(seller) === circle.get(entity));
  return new Map(services.map(({ serviceId }) => {
    const own = sellers.get(serviceId)!;
    const dealings = [...(books.services.get(serviceId)?.values() ?? [])];
    const isElsewhere = (other: string, entity: string) => other !== serviceId && !shareSeller(own, sellers.get(other)) && sellers.get(other)?.has(entity) !== true;
    return [serviceId, dealings.map((dealing): Draft => {
      const others = [...books.entities.get(dealing.entity)!].filter(([other]) => isElsewhere(other, dealing.entity));
      const elsewhere = others.map(([other, { paidUsd }]): [string, number] => [other, paidUsd * (1 - overlap(serviceId, other))]);
      return { dealing, independence: own.has(dealing.entity) ? 0 : inCircle(own, dealing.entity) ? CIRCLE_SHARE : 1, elsewhere };
    })];
  }));
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

/** Of the smaller crowd, the share that pays the other service too: a club pays for everything of its members. */
function overlaps({ services }: Books): (a: string, b: string) => number {
  const number = new Map([...services.keys()].map((serviceId, index) => [serviceId, index]));
  const known = new Map<number, number>();
  return (a, b) => {
    const [left, right] = [services.get(a)!, services.get(b)!];
    const [low, high] = [number.get(a)!, number.get(b)!].sort((one, other) => one - other) as [number, number];
    const key = low * number.size + high;
    let share = known.get(key);
    if (share !== undefined) return share;
    const [few, many] = left.size < right.size ? [left, right] : [right, left];
    let both = 0;
    for (const entity of few.keys()) if (many.has(entity)) both += 1;
    // Two crowds of one or two share one easily: a prior of strangers keeps that from counting.
    known.set(key, (share = Math.max(0, both - 1) / (few.size + STRANGERS)));
    return share;
  };
}

const STRANGERS = 4;
