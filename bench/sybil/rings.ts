// Wash rings to be found: providers that pay themselves, in every way we could think of, from the plain to the patient. All of them
// claim to be near perfect. None of them knows a scorer.
import type { ServiceFact } from "../../indexer/reputation/facts.ts";
import { addressOf, dice, idOf, usd, type Dice } from "./dice.ts";
import { addDealing, anExchange, DAY_S, emptyDraft, NOW_S, type Draft, type Market, type Quality } from "./market.ts";

/** How perfect a ring says it is. */
const PERFECT: Quality = { worth: 0.97, reliability: 0.999, punctuality: 0.995 };

type Site = { name: string; d: Dice; draft: Draft; market: Market };
/** Adds a ring and says which services are washed by it. */
type Ring = (site: Site) => string[];

function fakeService({ name, d, draft }: Site, n: number, agedays: number, payTo = addressOf(`${name} payTo ${n}`)): ServiceFact {
  const service = { serviceId: idOf(`${name} service ${n}`), owner: addressOf(`${name} owner ${n}`), payTo, registeredAtS: Math.round(NOW_S - agedays * DAY_S), bondAtomic: d.chance(0.1) ? usd(d.logUniform(10, 100)) : 0n };
  draft.services.push(service);
  return service;
}

type Wash = { payer: string; service: ServiceFact; days: number; calls?: number; priceUsd?: number; claims?: number; spare?: number };

function wash({ d, draft }: Site, { payer, service, days, calls = d.logUniform(10, 150), priceUsd = d.logUniform(0.002, 0.05), claims = d.int(1, 8), spare = d.real(0, 1) }: Wash): void {
  const fromS = Math.max(service.registeredAtS + 3_600, NOW_S - days * DAY_S);
  addDealing(draft, d, { payer, service, priceUsd, quality: PERFECT, claims, callsAClaim: calls, fromS, toS: NOW_S - d.real(0, 0.3) * (NOW_S - fromS), acknowledges: true, rates: d.chance(0.7), spare });
}

const payerOf = ({ name }: Site, n: number | string) => addressOf(`${name} payer ${n}`);
const fund = ({ d, draft }: Site, from: string, to: string, days: number, amountUsd = d.logUniform(5, 100)) => draft.fundings.push({ from, to, amountAtomic: usd(amountUsd), atS: Math.round(NOW_S - (days + d.real(0.1, 2)) * DAY_S) });

/** The provider's own purse funds its payers, and its earnings fund them again. */
const selfFunded: Ring = (site) => {
  const days = site.d.real(15, 90);
  const service = fakeService(site, 0, days + 3);
  for (let n = 0, size = site.d.int(5, 40); n < size; n++) {
    fund(site, service.payTo, payerOf(site, n), days);
    wash(site, { payer: payerOf(site, n), service, days });
  }
  return [service.serviceId];
};

/** k providers, each a payer of the next, with what it earned. */
const cycle: Ring = (site) => {
  const days = site.d.real(20, 120);
  const services = Array.from({ length: site.d.int(3, 8) }, (_, n) => fakeService(site, n, days + 2));
  services.forEach((service, n) => {
    const { payTo } = services[(n + services.length - 1) % services.length]!;
    fund(site, anExchange(site.d), payTo, days);
    wash(site, { payer: payTo, service, days, calls: site.d.logUniform(50, 500) });
  });
  return services.map(({ serviceId }) => serviceId);
};

/** Many fresh payers that one new account funds; the earnings go back to it. */
const oneFunder: Ring = (site) => {
  const days = site.d.real(10, 60);
  const [service, purse] = [fakeService(site, 0, days + 5), addressOf(`${site.name} purse`)];
  fund(site, anExchange(site.d), purse, days + 3, 2_000);
  for (let n = 0, size = site.d.int(20, 120); n < size; n++) {
    fund(site, purse, payerOf(site, n), days);
    wash(site, { payer: payerOf(site, n), service, days });
  }
  site.draft.fundings.push({ from: service.payTo, to: purse, amountAtomic: usd(500), atS: NOW_S - DAY_S });
  return [service.serviceId];
};

/** The same through a chain of accounts, a new one for every payer. */
const chained: Ring = (site) => {
  const days = site.d.real(10, 90);
  const [service, purse] = [fakeService(site, 0, days + 5), addressOf(`${site.name} purse`)];
  fund(site, anExchange(site.d), purse, days + 4, 2_000);
  for (let n = 0, size = site.d.int(10, 60); n < size; n++) {
    const hops = [purse, addressOf(`${site.name} hop ${n}`), ...(site.d.chance(0.5) ? [addressOf(`${site.name} second hop ${n}`)] : []), payerOf(site, n)];
    for (let hop = 1; hop < hops.length; hop++) fund(site, hops[hop - 1]!, hops[hop]!, days + 2 - hop * 0.5);
    wash(site, { payer: payerOf(site, n), service, days });
  }
  return [service.serviceId];
};

/** Listed for long, paid slowly by payers that an exchange funded one by one; nothing leads back. */
const sleeper: Ring = (site) => {
  const services = Array.from({ length: site.d.int(1, 3) }, (_, n) => fakeService(site, n, site.d.real(120, 179)));
  for (let n = 0, size = site.d.int(10, 60); n < size; n++) {
    const days = site.d.real(20, 115);
    fund(site, anExchange(site.d), payerOf(site, n), days);
    for (const service of services) wash(site, { payer: payerOf(site, n), service, days, claims: site.d.int(1, 4) });
  }
  return services.map(({ serviceId }) => serviceId);
};

/** Payers that also buy from honest providers, so that they look like customers; earnings go back through an exchange. */
const mixed: Ring = (site) => {
  const days = site.d.real(20, 120);
  const services = Array.from({ length: site.d.int(1, 3) }, (_, n) => fakeService(site, n, days + 10));
  const camouflage = site.d.real(0.05, 0.5);
  for (let n = 0, size = site.d.int(8, 50); n < size; n++) {
    fund(site, site.d.chance(0.5) ? addressOf(`${site.name} purse`) : anExchange(site.d), payerOf(site, n), days);
    for (const service of services) wash(site, { payer: payerOf(site, n), service, days });
    for (let m = 0, others = site.d.int(1, 3); m < others; m++) honestPurchase(site, payerOf(site, n), days, camouflage);
  }
  return services.map(({ serviceId }) => serviceId);
};

function honestPurchase({ d, draft, market }: Site, payer: string, days: number, share: number): void {
  const service = d.pick(market.providers);
  const fromS = Math.max(service.registeredAtS, NOW_S - days * DAY_S);
  addDealing(draft, d, { payer, service, priceUsd: service.priceUsd, quality: service.quality, claims: 1, callsAClaim: Math.max(1, 100 * share), fromS, toS: NOW_S - DAY_S, acknowledges: true, rates: d.chance(0.3), spare: 0.2 });
}

/** Very many payments of next to nothing. */
const dust: Ring = (site) => {
  const days = site.d.real(5, 40);
  const service = fakeService(site, 0, days + 2);
  for (let n = 0, size = site.d.int(50, 300); n < size; n++) {
    fund(site, site.d.chance(0.5) ? service.owner : anExchange(site.d), payerOf(site, n), days, 0.01);
    wash(site, { payer: payerOf(site, n), service, days, calls: 2, priceUsd: 0.0001, claims: 1, spare: 0 });
  }
  return [service.serviceId];
};

/** A club: some providers and a crowd of payers that all buy from all of them, so that every payer has many counterparties. */
const club: Ring = (site) => {
  const days = site.d.real(20, 100);
  const services = Array.from({ length: site.d.int(3, 8) }, (_, n) => fakeService(site, n, days + site.d.real(1, 20)));
  for (let n = 0, size = site.d.int(10, 40); n < size; n++) {
    fund(site, site.d.chance(0.4) ? site.d.pick(services).payTo : anExchange(site.d), payerOf(site, n), days);
    for (const service of services) if (site.d.chance(0.85)) wash(site, { payer: payerOf(site, n), service, days });
  }
  return services.map(({ serviceId }) => serviceId);
};

/** A real service with real customers that buys itself the rest. */
const padded: Ring = (site) => {
  const service = site.d.pick(site.market.providers.slice(300));
  const days = Math.max(8, ((NOW_S - service.registeredAtS) / DAY_S) * 0.7);
  const buyers = new Set(site.market.facts.channels.filter(({ receiver }) => receiver === service.payTo).map(({ payer }) => payer)).size;
  for (let n = 0, size = 8 + 2 * buyers; n < size; n++) {
    fund(site, site.d.chance(0.6) ? service.payTo : anExchange(site.d), payerOf(site, n), days);
    wash(site, { payer: payerOf(site, n), service, days, priceUsd: service.priceUsd });
  }
  return [service.serviceId];
};

export const RINGS: Record<string, Ring> = { selfFunded, cycle, oneFunder, chained, sleeper, mixed, dust, club, padded };

/** The market with `each` rings of every kind in it. `washed`: service id to the ring's kind. */
export function withRings(market: Market, seed: number, each: number): { market: Market; washed: ReadonlyMap<string, string> } {
  const draft = emptyDraft();
  const washed = new Map<string, string>();
  for (const [kind, ring] of Object.entries(RINGS)) {
    for (let n = 0; n < each; n++) {
      const name = `ring ${seed} ${kind} ${n}`;
      for (const serviceId of ring({ name, d: dice(seed, "ring", kind, n), draft, market })) washed.set(serviceId, kind);
    }
  }
  const { facts } = market;
  const joined = {
    nowS: facts.nowS, services: [...facts.services, ...draft.services], fundings: [...facts.fundings, ...draft.fundings], channels: [...facts.channels, ...draft.channels],
    claims: [...facts.claims, ...draft.claims], jobs: [...facts.jobs, ...draft.jobs], ratings: [...facts.ratings, ...draft.ratings],
  };
  return { market: { facts: joined, providers: market.providers }, washed };
}
