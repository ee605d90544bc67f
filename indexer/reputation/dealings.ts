// Facts by service and counterparty: what each one paid, since when, and what the receipts say. Pure.
import type { Entities } from "./entities.ts";
import type { Facts, ReceiptSums, ServiceFact } from "./facts.ts";

/** USD, decayed: half of it counts after this long. */
const HALF_LIFE_S = 120 * 86_400;
const ATOMIC_PER_USD = 1e6;

/** One counterparty at one service. */
export type Dealing = {
  entity: string;
  /** Accounts of the counterparty that paid. */
  accounts: Set<string>;
  /** What was paid, decayed, USD. */
  paidUsd: number;
  firstS: number;
  lastS: number;
  claims: number;
  receipts: Pick<ReceiptSums, "count" | "acknowledged" | "failed" | "late"> & { creditedUsd: number; paidUsd: number };
};

export type Books = {
  /** Dealings by service, then by counterparty. */
  services: Map<string, Map<string, Dealing>>;
  /** The same, by counterparty, then by service. */
  entities: Map<string, Map<string, Dealing>>;
};

export const usdOf = (atomic: bigint): number => Number(atomic) / ATOMIC_PER_USD;
export const decayed = (amount: number, atS: number, nowS: number): number => amount * 2 ** (-Math.max(0, nowS - atS) / HALF_LIFE_S);

export function booksOf({ nowS, channels, claims }: Facts, entities: Entities): Books {
  const channelOf = new Map(channels.map((channel) => [channel.channelId, channel]));
  const books: Books = { services: new Map(), entities: new Map() };
  for (const { channelId, serviceId, atS, amountAtomic, receipts } of claims) {
    const channel = channelOf.get(channelId);
    if (channel === undefined) continue;
    const dealing = dealingOf(books, serviceId, entities.of(channel.payer), channel.openedAtS);
    const usd = usdOf(amountAtomic);
    dealing.accounts.add(channel.payer);
    dealing.paidUsd += decayed(usd, atS, nowS);
    dealing.claims += 1;
    dealing.firstS = Math.min(dealing.firstS, channel.openedAtS);
    dealing.lastS = Math.max(dealing.lastS, atS);
    if (receipts !== undefined) addReceipts(dealing, receipts, usd);
  }
  return books;
}

function addReceipts({ receipts }: Dealing, more: ReceiptSums, usd: number): void {
  receipts.count += more.count;
  receipts.acknowledged += more.acknowledged;
  receipts.failed += more.failed;
  receipts.late += more.late;
  receipts.creditedUsd += usdOf(more.creditedAtomic);
  receipts.paidUsd += usd;
}

function dealingOf({ services, entities }: Books, serviceId: string, entity: string, firstS: number): Dealing {
  const own = services.get(serviceId) ?? new Map<string, Dealing>();
  services.set(serviceId, own);
  const known = own.get(entity);
  if (known !== undefined) return known;
  const dealing: Dealing = { entity, accounts: new Set(), paidUsd: 0, firstS, lastS: firstS, claims: 0, receipts: { count: 0, acknowledged: 0, failed: 0, late: 0, creditedUsd: 0, paidUsd: 0 } };
  own.set(entity, dealing);
  const theirs = entities.get(entity) ?? new Map<string, Dealing>();
  entities.set(entity, theirs.set(serviceId, dealing));
  return dealing;
}

/** Who is behind each service: its owner and its payTo, as counterparties. */
export function sellersOf(services: readonly ServiceFact[], entities: Entities): Map<string, Set<string>> {
  return new Map(services.map(({ serviceId, owner, payTo }) => [serviceId, new Set([owner, payTo].map((account) => entities.of(account)))]));
}
