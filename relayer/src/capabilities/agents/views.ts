// What the registry says of the services that are sold here, in memory: every payment is held to it, and asks nobody. A counter in the database
// moves with every change and is asked every POLL_MS; beside it stands when the registry was last read to the head. Whoever has not heard of a
// reading younger than RELAYER_CHAIN_MAX_LAG_MS does not know who is to be paid, and lets no payment of a listed service pass.
import type { Address, Hex } from "viem";
import type { Deps } from "../../deps.ts";
import { EVENT } from "../../telemetry/log.ts";
import { readTold } from "./chain-store.ts";
import { listingsAfter, type Listing } from "./store.ts";

export const POLL_MS = 500;
const PAGE = 1_000;

/** A service that is on chain. */
export type ListedService = Pick<Listing, "serviceId" | "owner" | "payTo" | "token" | "price" | "capability" | "status" | "isCurrent" | "version"> & { contentHash: Hex };

export type ListingViews = {
  /** Undefined for a service that is not on chain: what the gateway has counts. */
  find(service: string | undefined): ListedService | undefined;
  isEmpty(): boolean;
  /** What is in memory was so less than RELAYER_CHAIN_MAX_LAG_MS ago. */
  isFresh(): boolean;
  /** What was changed before this was asked is known when it resolves. */
  changed(): Promise<void>;
};
export type RunningListingViews = ListingViews & { start(): Promise<void>; stop(): Promise<void> };

export function createListingViews({ db, config, log }: Pick<Deps, "db" | "config" | "log">): RunningListingViews {
  const byService = new Map<string, ListedService>();
  let change = 0n;
  /** When the registry was read, by the clock of this process. */
  let readAtMs = Number.NEGATIVE_INFINITY;
  let reading: Promise<void> | undefined;
  let timer: NodeJS.Timeout | undefined;
  let stopped = false;

  async function read(): Promise<void> {
    // Counted from before it was asked: the answer may be as old as that.
    const askedAt = performance.now();
    const told = await readTold(db);
    // A counter that went back is another database: nothing that is known counts.
    if (told.change < change) {
      byService.clear();
      change = 0n;
    }
    while (change < told.change) {
      const page = await listingsAfter(db, change, PAGE);
      for (const listing of page) remember(listing);
      const last = page.at(-1);
      if (last === undefined) break;
      change = last.change;
    }
    readAtMs = told.ageMs === undefined ? Number.NEGATIVE_INFINITY : askedAt - told.ageMs;
  }

  function remember({ service, serviceId, owner, payTo, token, price, capability, status, isCurrent, version, contentHash }: Listing): void {
    if (service === undefined) return;
    if (status === "none") byService.delete(service);
    else byService.set(service, { serviceId, owner, payTo, token, price, capability, status, isCurrent, version, contentHash });
  }

  const readOnce = (): Promise<void> => (reading ??= read().finally(() => (reading = undefined)));

  async function poll(): Promise<void> {
    await readOnce().catch((err: unknown) => log.warn({ event: EVENT.failure, err }, "what is listed could not be confirmed"));
    if (!stopped) timer = setTimeout(() => void poll(), POLL_MS);
  }

  return {
    find: (service) => (service === undefined ? undefined : byService.get(service)),
    isEmpty: () => byService.size === 0,
    isFresh: () => performance.now() - readAtMs < config.chainMaxLagMs,
    async changed() {
      await reading?.catch(() => {}); // told to whoever began it
      await readOnce();
    },
    async start() {
      await readOnce();
      timer = setTimeout(() => void poll(), POLL_MS);
    },
    async stop() {
      stopped = true;
      clearTimeout(timer);
      await reading?.catch(() => {}); // it is logged where it was begun
    },
  };
}

/** Who is paid for a listed service: the registry's payTo; nobody where its terms are not known to be the current ones. */
export const payToOf = ({ payTo, isCurrent }: ListedService): Address | undefined => (isCurrent ? payTo : undefined);
