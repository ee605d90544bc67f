// Whose money it is: accounts that live on another account's money are one counterparty with it, however many they are. Pure.
import type { Facts, Funding } from "./facts.ts";

/** Accounts as counterparties: the account their money comes from, up to a hub, whose customers are strangers to each other. */
export type Entities = { of(account: string): string; isHub(account: string): boolean };

/** An exchange or bridge funds at least so many accounts, and they pay at least so many services. */
const HUB_ACCOUNTS = 60;
const HUB_SERVICES = 40;
const HOPS = 8;
/** Who gave less than this share of what an account deposited does not own it: sending dust to strangers links nobody. */
const OWNING_SHARE = 0.5;

export function entitiesOf({ fundings, channels, claims }: Pick<Facts, "fundings" | "channels" | "claims">): Entities {
  const deposited = new Map<string, bigint>();
  for (const { payer, depositedAtomic } of channels) deposited.set(payer, (deposited.get(payer) ?? 0n) + depositedAtomic);
  const main = mainSources(fundings, deposited);
  const hubs = hubsAmong(main, servicesPaidBy(channels, claims));
  const known = new Map<string, string>();
  const find = (account: string): string => {
    let at = account;
    for (let hop = 0; hop < HOPS; hop++) {
      const source = main.get(at);
      if (source === undefined || hubs.has(source)) break;
      at = source;
    }
    return at;
  };
  return {
    isHub: (account) => hubs.has(account),
    of(account) {
      let entity = known.get(account);
      if (entity === undefined) known.set(account, (entity = find(account)));
      return entity;
    },
  };
}

/** For each account, who gave it most, where that is enough to own it. */
function mainSources(fundings: readonly Funding[], deposited: ReadonlyMap<string, bigint>): Map<string, string> {
  const given = new Map<string, Map<string, bigint>>();
  for (const { from, to, amountAtomic } of fundings) {
    const sources = given.get(to) ?? new Map<string, bigint>();
    given.set(to, sources.set(from, (sources.get(from) ?? 0n) + amountAtomic));
  }
  const main = new Map<string, string>();
  for (const [to, sources] of given) {
    const [source, amount] = [...sources].reduce((most, next) => (next[1] > most[1] ? next : most));
    if (Number(amount) >= OWNING_SHARE * Number(deposited.get(to) ?? 0n)) main.set(to, source);
  }
  return main;
}

function hubsAmong(main: ReadonlyMap<string, string>, services: ReadonlyMap<string, ReadonlySet<string>>): Set<string> {
  const reach = new Map<string, { accounts: number; services: Set<string> }>();
  for (const [account, source] of main) {
    const seen = reach.get(source) ?? { accounts: 0, services: new Set<string>() };
    seen.accounts += 1;
    for (const service of services.get(account) ?? []) seen.services.add(service);
    reach.set(source, seen);
  }
  return new Set([...reach].filter(([, seen]) => seen.accounts >= HUB_ACCOUNTS && seen.services.size >= HUB_SERVICES).map(([account]) => account));
}

function servicesPaidBy(channels: Facts["channels"], claims: Facts["claims"]): Map<string, Set<string>> {
  const payerOf = new Map(channels.map(({ channelId, payer }) => [channelId, payer]));
  const services = new Map<string, Set<string>>();
  for (const { channelId, serviceId } of claims) {
    const payer = payerOf.get(channelId);
    if (payer !== undefined) services.set(payer, (services.get(payer) ?? new Set<string>()).add(serviceId));
  }
  return services;
}
