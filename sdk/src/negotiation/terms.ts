// What is agreed comes to: prices by volume, calls of a budget, credits, and what a policy answers. Pure. Prices are atomic units. The
// database asks the same of a charge (migration 0024); a test compares them.
import { isAddressEqual } from "viem";
import { parsePercent } from "./decimal.ts";
import type { RefundPolicy, Sla, VolumeTier } from "./fields.ts";
import type { Counter, Intent, Offer, PricePolicy } from "./messages.ts";

export type PriceTerms = { pricePerRequest: bigint; tiers: readonly VolumeTier[] };

/** Times an offer can be countered; the last answer stands. */
export const MOST_ROUNDS = 4;
/** An intent may wait so long for offers, seconds. */
export const LONGEST_INTENT_S = 86_400;

/** What the `nth` call of a session costs at most, counted from 1. */
export function priceOfCall({ pricePerRequest, tiers }: PriceTerms, nth: number): bigint {
  return tiers.reduce((price, tier) => (nth >= tier.minCalls && tier.pricePerRequest < price ? tier.pricePerRequest : price), pricePerRequest);
}

/** What the first `calls` calls cost at most. */
export function priceOfCalls(terms: PriceTerms, calls: number): bigint {
  return steps(terms, calls).reduce((total, { from, upto, price }) => total + BigInt(upto - from + 1) * price, 0n);
}

/** How many calls a budget buys at least: 1.0 USDC at 0.008 is 125. */
export function callsFor(terms: PriceTerms & { maxCalls: number }, budget: bigint): number {
  let left = budget;
  let calls = 0;
  for (const { from, upto, price } of steps(terms, terms.maxCalls)) {
    const affordable = left / price;
    const taken = affordable < BigInt(upto - from + 1) ? Number(affordable) : upto - from + 1;
    calls += taken;
    left -= BigInt(taken) * price;
    if (taken < upto - from + 1) break;
  }
  return calls;
}

function steps(terms: PriceTerms, calls: number): { from: number; upto: number; price: bigint }[] {
  const starts = [1, ...terms.tiers.map(({ minCalls }) => minCalls)].filter((from) => from <= calls);
  return starts.map((from, index) => ({ from, upto: (starts[index + 1] ?? calls + 1) - 1, price: priceOfCall(terms, from) }));
}

/** What is charged for an answer that came too late: rounds in the buyer's favour. */
export const chargeWhenLate = (amount: bigint, { latencyCreditBps }: RefundPolicy): bigint => (amount * BigInt(10_000 - latencyCreditBps)) / 10_000n;

export const isLate = (latencyMs: bigint, { maxLatencyMs }: Sla): boolean => maxLatencyMs > 0 && latencyMs > BigInt(maxLatencyMs);

/** Why a policy has no offer for an intent; undefined when it has. */
export function whyNoOffer(policy: PricePolicy, intent: Intent): string | undefined {
  if (!isAddressEqual(policy.token, intent.token)) return "it sells for another token";
  if (intent.service !== "" && intent.service !== policy.service) return "another service is asked for";
  if (intent.capability !== "" && intent.capability !== policy.capability) return "it has another capability";
  if (intent.maxPricePerRequest < policy.floorPrice) return "it is not sold for so little";
  if (intent.sla.maxLatencyMs > 0 && (policy.sla.maxLatencyMs === 0 || policy.sla.maxLatencyMs > intent.sla.maxLatencyMs)) return "it does not promise so short a latency";
  if (!keepsSla({ ...policy.sla, maxLatencyMs: intent.sla.maxLatencyMs }, intent.sla)) return "it does not promise so much uptime";
  return undefined;
}

/** Whether what is promised is at least what is wanted; a latency of 0 promises, or wants, none. */
export function keepsSla(promised: Sla, wanted: Sla): boolean {
  if (wanted.maxLatencyMs > 0 && (promised.maxLatencyMs === 0 || promised.maxLatencyMs > wanted.maxLatencyMs)) return false;
  return hundredths(promised) >= hundredths(wanted);
}

const hundredths = ({ minUptimePercent }: Sla): number => parsePercent(minUptimePercent, "sla.minUptimePercent");

const least = (a: bigint, b: bigint): bigint => (a < b ? a : b);
const most = (a: bigint, b: bigint): bigint => (a > b ? a : b);

/** The lowest price that the policy gives in a round: from the list price down to the floor, in equal steps. */
export function lowestIn({ listPrice, floorPrice }: PricePolicy, round: number): bigint {
  const gone = BigInt(Math.min(round, MOST_ROUNDS));
  return listPrice - ((listPrice - floorPrice) * gone) / BigInt(MOST_ROUNDS);
}

/** What the policy asks of an intent at first, and of a counter-offer in the rounds that follow: never more than before, never below the floor. */
export function policyPrice(policy: PricePolicy, intent: Intent, round: number, before?: bigint, counter?: Counter): bigint {
  const highest = least(policy.listPrice, intent.maxPricePerRequest);
  if (before === undefined || counter === undefined) return most(highest, policy.floorPrice);
  return most(policy.floorPrice, least(before, most(counter.pricePerRequest, lowestIn(policy, round))));
}

/** Tiers of a policy that mean something at that price. */
export const tiersBelow = (tiers: readonly VolumeTier[], price: bigint): VolumeTier[] => tiers.filter((tier) => tier.pricePerRequest < price);

/** Which term of an offer the policy does not allow its operator; undefined when it allows them all. */
export function outsidePolicy(offer: Offer, policy: PricePolicy): string | undefined {
  const same = (["provider", "payTo", "token"] as const).find((field) => !isAddressEqual(offer[field], policy[field]));
  if (same !== undefined) return same;
  if (offer.service !== policy.service) return "service";
  if (offer.serviceId !== policy.serviceId) return "serviceId";
  if (offer.pricePerRequest < policy.floorPrice || offer.pricePerRequest > policy.listPrice) return "pricePerRequest";
  if (offer.tiers.some((tier) => !policy.tiers.some((allowed) => allowed.minCalls === tier.minCalls && allowed.pricePerRequest === tier.pricePerRequest))) return "tiers";
  if (offer.sla.maxLatencyMs !== policy.sla.maxLatencyMs || hundredths(offer.sla) !== hundredths(policy.sla)) return "sla";
  if (offer.refundPolicy.latencyCreditBps !== policy.refundPolicy.latencyCreditBps || offer.refundPolicy.failureCreditBps !== policy.refundPolicy.failureCreditBps) return "refundPolicy";
  if (offer.maxCalls > policy.maxCalls) return "maxCalls";
  if (offer.sessionTtlS > policy.sessionTtlS) return "sessionTtlS";
  return offer.expiresAt > policy.expiresAt ? "expiresAt" : undefined;
}
