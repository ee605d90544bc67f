// A simulated market whose truth is known: 1,000 honest providers with a quality each, the buyers that found them, and what settled
// between them in half a year. It holds on purpose what looks like a ring and is none: operators that fund a fleet of agents, resellers
// that spend what they earned, providers that try their own service, and many buyers that only ever need one service.
import type { ChannelFact, ClaimFact, Facts, Funding, JobFact, RatingFact, ReceiptSums, ServiceFact } from "../../indexer/reputation/facts.ts";
import { addressOf, dice, idOf, usd, weighted, type Dice } from "./dice.ts";

export const DAY_S = 86_400;
export const MARKET_DAYS = 180;
/** The end of the simulated time. */
export const NOW_S = 1_800_000_000;
export const PROVIDERS = 1_000;
const BUYERS = 4_000;
const EXCHANGES = 4;

/** What nobody but the simulation knows. */
export type Quality = {
  /** Share of calls that are answered as agreed. */
  reliability: number;
  /** Share of calls within the agreed time. */
  punctuality: number;
  /** What an honest buyer finds, 0 to 1. */
  worth: number;
};

export type Provider = ServiceFact & { quality: Quality; priceUsd: number; fame: number };
export type Market = { facts: Facts; providers: readonly Provider[] };

/** A draft of facts that generators add to. */
export type Draft = { services: ServiceFact[]; fundings: Funding[]; channels: ChannelFact[]; claims: ClaimFact[]; jobs: JobFact[]; ratings: RatingFact[] };

export const emptyDraft = (): Draft => ({ services: [], fundings: [], channels: [], claims: [], jobs: [], ratings: [] });

export const exchange = (n: number): string => addressOf(`exchange ${n}`);
export const anExchange = (d: Dice): string => exchange(d.int(0, EXCHANGES - 1));

export function simulateMarket(seed: number): Market {
  const draft = emptyDraft();
  const providers = Array.from({ length: PROVIDERS }, (_, n) => provider(dice(seed, "provider", n), n));
  draft.services.push(...providers.map(({ serviceId, owner, payTo, registeredAtS, bondAtomic }) => ({ serviceId, owner, payTo, registeredAtS, bondAtomic })));
  const choose = weighted(providers.map(({ fame }) => fame));
  addBuyers(draft, seed, providers, choose);
  addFleets(draft, seed, providers, choose);
  addResellers(draft, seed, providers, choose);
  addSelfTests(draft, seed, providers);
  addJobs(draft, seed, providers, choose);
  return { facts: { nowS: NOW_S, ...draft }, providers };
}

/** Fame falls as in most markets, by rank; the good are found more often, but not always. */
function provider(d: Dice, n: number): Provider {
  const worth = Math.min(0.99, Math.max(0.2, d.normal(0.75, 0.13)));
  const quality = { worth, reliability: Math.min(0.9995, 0.85 + 0.15 * worth + d.normal(0, 0.01)), punctuality: Math.min(0.999, 0.75 + 0.25 * worth + d.normal(0, 0.03)) };
  const owner = addressOf(`owner ${n}`);
  return {
    serviceId: idOf(`service ${n}`), owner, payTo: d.chance(0.7) ? owner : addressOf(`payTo ${n}`), quality, priceUsd: d.logUniform(0.001, 0.05),
    registeredAtS: NOW_S - Math.round(d.real(10, MARKET_DAYS) * DAY_S), bondAtomic: d.chance(0.15) ? usd(d.logUniform(10, 500)) : 0n,
    fame: worth ** 4 / (1 + n) ** 0.7,
  };
}

// ------------------------------------------------------------------ buyers

export type Dealing = { payer: string; service: ServiceFact; priceUsd: number; quality: Quality; /** How often it claims are cut. */ claims: number; callsAClaim: number; fromS: number; toS: number; acknowledges: boolean; rates: boolean; /** Deposited beyond what is used, as a share. */ spare: number };

/** One payer and one service over time: a channel, its claims with the receipts under them, and a rating maybe. */
export function addDealing(draft: Draft, d: Dice, dealing: Dealing): void {
  const { payer, service, priceUsd, quality, claims, callsAClaim, fromS, toS } = dealing;
  const channelId = idOf(`channel ${payer} ${service.serviceId} ${draft.channels.length} ${draft.services.length}`);
  let total = 0n;
  for (let n = 0; n < claims; n++) {
    const count = Math.max(1, Math.round(callsAClaim * d.real(0.5, 1.5)));
    const amountAtomic = usd(count * priceUsd);
    total += amountAtomic;
    const atS = Math.round(fromS + ((n + 1) / (claims + 1)) * (toS - fromS));
    draft.claims.push({ channelId, serviceId: service.serviceId, atS, amountAtomic, receipts: receipts(d, dealing, count) });
  }
  const depositedAtomic = total + (total * BigInt(Math.round(dealing.spare * 100))) / 100n;
  draft.channels.push({ channelId, payer, receiver: service.payTo, openedAtS: Math.round(fromS), depositedAtomic, returnedAtomic: d.chance(0.3) ? depositedAtomic - total : 0n });
  if (!dealing.rates) return;
  const score = Math.round(Math.min(100, Math.max(0, d.normal(100 * quality.worth, 10))));
  draft.ratings.push({ serviceId: service.serviceId, rater: payer, atS: Math.round(toS), amountAtomic: total, score });
}

function receipts(d: Dice, { acknowledges, quality, priceUsd }: Dealing, count: number): ReceiptSums {
  if (!acknowledges) return { count, acknowledged: 0, failed: 0, late: 0, creditedAtomic: 0n, latencyMs: 0 };
  const share = (rate: number) => Math.min(count, Math.max(0, Math.round(count * (1 - rate) + d.normal(0, Math.sqrt(count * rate * (1 - rate))))));
  const late = share(quality.punctuality);
  return { count, acknowledged: count, failed: share(quality.reliability), late, creditedAtomic: usd(late * priceUsd * 0.2), latencyMs: Math.round(count * d.real(80, 900)) };
}

/** When a buyer is about: it joined some day and stayed or left. */
function period(d: Dice, service: ServiceFact): { fromS: number; toS: number } {
  const fromS = service.registeredAtS + d.real(0, 0.8) * (NOW_S - service.registeredAtS);
  return { fromS, toS: fromS + d.real(0.2, 1) * (NOW_S - fromS) };
}

function addBuyers(draft: Draft, seed: number, providers: readonly Provider[], choose: (d: Dice) => number): void {
  for (let n = 0; n < BUYERS; n++) {
    const d = dice(seed, "buyer", n);
    const payer = addressOf(`buyer ${n}`);
    // Four in ten need one service; few need many.
    const needs = d.chance(0.4) ? 1 : Math.round(d.logUniform(2, 14));
    buys(draft, d, payer, providers, new Set(Array.from({ length: needs }, () => choose(d))), anExchange(d));
  }
}

function buys(draft: Draft, d: Dice, payer: string, providers: readonly Provider[], chosen: Iterable<number>, funder: string): void {
  const [acknowledges, eager] = [d.chance(0.5), d.chance(0.2)];
  const before = draft.channels.length;
  for (const index of chosen) {
    const service = providers[index]!;
    const deal = { payer, service, priceUsd: service.priceUsd, quality: service.quality, claims: d.int(1, 8), callsAClaim: d.logUniform(5, 200), spare: d.real(0, 1) };
    addDealing(draft, d, { ...deal, ...period(d, service), acknowledges, rates: eager || d.chance(0.1) });
  }
  const opened = draft.channels.slice(before);
  const amountAtomic = opened.reduce((sum, { depositedAtomic }) => sum + depositedAtomic, 0n);
  draft.fundings.push({ from: funder, to: payer, amountAtomic: amountAtomic * 2n, atS: Math.min(...opened.map(({ openedAtS }) => openedAtS)) - d.int(60, DAY_S) });
}

/** One operator, many agents of the same kind: fresh payers from one funder, and yet honest. */
function addFleets(draft: Draft, seed: number, providers: readonly Provider[], choose: (d: Dice) => number): void {
  for (let fleet = 0; fleet < 25; fleet++) {
    const d = dice(seed, "fleet", fleet);
    const operator = addressOf(`operator ${fleet}`);
    const tools = Array.from({ length: d.int(1, 5) }, () => choose(d));
    for (let agent = 0, size = d.int(8, 50); agent < size; agent++) buys(draft, d, addressOf(`agent ${fleet} ${agent}`), providers, new Set(tools.filter(() => d.chance(0.8)).concat(tools[0]!)), operator);
    draft.fundings.push({ from: anExchange(d), to: operator, amountAtomic: usd(20_000), atS: NOW_S - MARKET_DAYS * DAY_S });
  }
}

/** A provider that buys from others with what it earned: value goes round, and yet honest. */
function addResellers(draft: Draft, seed: number, providers: readonly Provider[], choose: (d: Dice) => number): void {
  providers.forEach((reseller, n) => {
    const d = dice(seed, "reseller", n);
    if (!d.chance(0.08)) return;
    for (const index of new Set(Array.from({ length: d.int(1, 4) }, () => choose(d)))) {
      const service = providers[index]!;
      if (index === n) continue;
      const fromS = Math.max(reseller.registeredAtS, service.registeredAtS) + DAY_S;
      addDealing(draft, d, { payer: reseller.payTo, service, priceUsd: service.priceUsd, quality: service.quality, claims: d.int(2, 6), callsAClaim: d.logUniform(10, 150), fromS, toS: NOW_S - DAY_S, acknowledges: d.chance(0.5), rates: d.chance(0.2), spare: 0.3 });
    }
  });
}

/** A provider tries its own service once, from a second wallet. */
function addSelfTests(draft: Draft, seed: number, providers: readonly Provider[]): void {
  providers.forEach((service, n) => {
    const d = dice(seed, "self", n);
    if (!d.chance(0.06)) return;
    const payer = addressOf(`tester ${n}`);
    draft.fundings.push({ from: service.payTo, to: payer, amountAtomic: usd(5), atS: service.registeredAtS + 60 });
    addDealing(draft, d, { payer, service, priceUsd: service.priceUsd, quality: service.quality, claims: 1, callsAClaim: 5, fromS: service.registeredAtS + 120, toS: service.registeredAtS + DAY_S, acknowledges: true, rates: false, spare: 0.5 });
  });
}

function addJobs(draft: Draft, seed: number, providers: readonly Provider[], choose: (d: Dice) => number): void {
  for (let n = 0; n < 600; n++) {
    const d = dice(seed, "job", n);
    const { serviceId, quality, registeredAtS } = providers[choose(d)]!;
    const good = d.chance(0.6 + 0.4 * quality.worth);
    const outcome = good ? "completed" : d.pick(["rejected", "expired", "split", "disputed_lost", "disputed_won"] as const);
    const atS = Math.round(d.real(registeredAtS, NOW_S));
    draft.jobs.push({ jobId: idOf(`job ${n}`), client: addressOf(`buyer ${d.int(0, BUYERS - 1)}`), serviceId, atS, paidAtomic: outcome === "rejected" || outcome === "expired" ? 0n : usd(d.logUniform(2, 200)), outcome });
  }
}
