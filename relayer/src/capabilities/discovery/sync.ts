// Keeps the copy that search reads. The indexer tells what changed since the cursor; a window before it is read again every time, and what the
// indexer no longer tells of in there was undone by a reorganisation. Any number of processes may do it: rows are written as the chain has them.
import type { Hex } from "viem";
import type { Deps } from "../../deps.ts";
import { readStored } from "./documents.ts";
import { openIndexer, type IndexerReader } from "./indexer.ts";
import { qualityOf } from "./logic.ts";
import * as store from "./sync-store.ts";

export type SyncDeps = Pick<Deps, "config" | "db" | "outbound" | "log">;

/** Read again each time, seconds: no reorganisation of Base is that deep. */
const WINDOW_S = 900n;

/** For the sweeper. @throws TallystickError `indexer_unavailable`, after what this relayer knows itself was brought in. */
export async function syncDiscovery(deps: SyncDeps): Promise<void> {
  const since = await store.clock(deps.db);
  try {
    if (deps.config.indexerUrl !== undefined) await readIndexer(deps, await openIndexer(deps.config.indexerUrl));
  } finally {
    await store.forgetUnlisted(deps.db);
    await store.upsertServices(deps.db, await store.ownListings(deps.db), "listing");
    await store.copyAvailability(deps.db, deps.config.publicUrl);
    await store.copyBlocks(deps.db);
    while ((await readStored(deps)) > 0);
    await rankAgain(deps, since);
  }
}

async function readIndexer(deps: SyncDeps, indexer: IndexerReader): Promise<void> {
  const head = await indexer.headTime();
  if (head === undefined) return;
  await readServices(deps, indexer, head);
  await readScores(deps, indexer, head);
}

/** From where on; all of it the first time, and after the indexer began anew on a chain that is behind. */
async function windowOf({ db }: SyncDeps, name: string, head: bigint): Promise<bigint> {
  const readTo = await store.cursor(db, name);
  if (readTo === undefined || readTo > head) return 0n;
  return readTo > WINDOW_S ? readTo - WINDOW_S : 0n;
}

async function readServices(deps: SyncDeps, indexer: IndexerReader, head: bigint): Promise<void> {
  const { db } = deps;
  const since = await windowOf(deps, "services", head);
  const told = new Set<Hex>();
  for await (const page of indexer.servicesSince(since)) {
    for (const { serviceId } of page) told.add(serviceId);
    await store.upsertServices(db, page, "indexer");
  }
  // What is missing went back to what it was before the window, or never was.
  const missing = (await store.knownSince(db, since)).filter((id) => !told.has(id));
  const older = await indexer.servicesById(missing);
  await store.upsertServices(db, older, "indexer");
  const there = new Set(older.map(({ serviceId }) => serviceId));
  await store.removeServices(db, missing.filter((id) => !there.has(id)));
  await store.setCursor(db, "services", head);
}

async function readScores(deps: SyncDeps, indexer: IndexerReader, head: bigint): Promise<void> {
  const pages = indexer.scoresSince(await windowOf(deps, "scores", head));
  if (pages === undefined) return;
  for await (const page of pages) await store.setReputations(deps.db, page);
  await store.setCursor(deps.db, "scores", head);
}

/** Places of what changed since then. */
export async function rankAgain({ config, db }: Pick<Deps, "config" | "db">, since: Date): Promise<void> {
  const rows = await store.measuredSince(db, since);
  const ranked = rows.map(({ serviceId, measured, quality: before }) => ({ serviceId, before, quality: qualityOf(measured, config.token.address).quality }));
  await store.setQualities(db, ranked.filter(({ before, quality }) => before !== quality));
}
