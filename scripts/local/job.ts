// The main job: stock clients buy an analysis of every document, the relayer settles, the indexer follows.
import { setTimeout as sleep } from "node:timers/promises";
import { createPublicClient, http } from "viem";
import { reconcile, type Reconciliation } from "../../indexer/reconcile/reconcile.ts";
import { openPool, type Db } from "../../relayer/src/db/pool.ts";
import { localAccount, PAYER_INDEXES } from "./accounts.ts";
import { buyAll, stockAgent, type Purchase } from "./agents.ts";
import { readContract, readIndex, type Totals } from "./chain-totals.ts";
import { SESSION_CHANNELS } from "../../sdk/src/constants.ts";
import type { Document } from "./documents.ts";
import { readPayers, readProgress, readTransactions, type MinedTransaction, type PayerBooks } from "./ledger-store.ts";
import { startProgress, type Counts } from "./progress.ts";
import type { World } from "./world.ts";

/** The same money as four parties know it. */
export type JobResult = {
  documents: number;
  seconds: number;
  purchases: Purchase[];
  books: PayerBooks[];
  transactions: MinedTransaction[];
  contract: Totals;
  index: Totals;
  /** Every indexed row against a replay of the raw logs and the contract's getters. */
  reconciliation: Reconciliation;
  /** Why settlement did not end, or undefined. */
  unsettled: string | undefined;
};

const SETTLEMENT_TIMEOUT_MS = 90_000;
const POLL_MS = 250;

export async function runMainJob(world: World, documents: Document[], signal: AbortSignal): Promise<JobResult> {
  const db = openPool(world.ledgerUrl, 2);
  const progress = startProgress(documents.length);
  const counts: Counts = { calls: 0, paidAtomic: 0n, settledAtomic: 0n };
  const started = performance.now();
  const watch = watchSettlement(db, (settledAtomic) => progress.show(Object.assign(counts, { settledAtomic })));
  try {
    // A chain that others used before us (RPC_URL) already carries totals of this receiver.
    const before = await readContract(world, []);
    const purchases = await buyAll({
      agents: PAYER_INDEXES.map((index) => stockAgent(localAccount(index), world.rpcUrl)),
      documents,
      url: world.serviceUrl,
      signal,
      onPurchase: ({ chargedAtomic }) => {
        counts.calls++;
        counts.paidAtomic += chargedAtomic;
        progress.show(counts);
      },
    });
    const unsettled = await waitForSettlement(db, signal);
    progress.show(Object.assign(counts, { settledAtomic: (await readProgress(db)).settledAtomic }));
    const books = await readPayers(db);
    const contract = await readContract(world, books);
    await world.indexer.waitForBlock(await createPublicClient({ transport: http(world.rpcUrl) }).getBlockNumber());
    const index = await readIndex(world, books);
    const reconciliation = await reconcile({ rpcUrl: world.rpcUrl, graphqlUrl: world.indexer.graphqlUrl, address: SESSION_CHANNELS, fromBlock: 0n });
    const transactions = await readTransactions(db);
    const seconds = (performance.now() - started) / 1_000;
    const totals = { contract: since(contract, before, books), index: since(index, before, books), reconciliation };
    return { documents: documents.length, seconds, purchases, books, transactions, unsettled, ...totals };
  } finally {
    watch.stop();
    progress.stop();
    await db.end();
  }
}

function since(now: Totals, before: Totals, books: PayerBooks[]): Totals {
  const opening = new Map(books.map(({ payer, openingAtomic }) => [payer, openingAtomic]));
  const byPayer = new Map([...now.byPayer].map(([payer, claimed]) => [payer, claimed - (opening.get(payer) ?? 0n)]));
  return { byPayer, claimedAtomic: now.claimedAtomic - before.claimedAtomic, settledAtomic: now.settledAtomic - before.settledAtomic };
}

/** The relayer settles by itself; here we only wait until all that was charged is paid out. */
async function waitForSettlement(db: Db, signal: AbortSignal): Promise<string | undefined> {
  const deadline = performance.now() + SETTLEMENT_TIMEOUT_MS;
  for (;;) {
    signal.throwIfAborted();
    const { chargedAtomic, settledAtomic, unresolved } = await readProgress(db);
    if (chargedAtomic === settledAtomic && unresolved === 0) return undefined;
    if (performance.now() > deadline) {
      return `after ${SETTLEMENT_TIMEOUT_MS / 1000} s, ${settledAtomic} of ${chargedAtomic} charged atomic units were settled, ${unresolved} payments or transactions unresolved`;
    }
    await sleep(POLL_MS);
  }
}

function watchSettlement(db: Db, onSettled: (settledAtomic: bigint) => void): { stop(): void } {
  let busy = false;
  const timer = setInterval(() => {
    if (busy) return;
    busy = true;
    // The bar may miss a beat; whether the database answers is found out by those who need it.
    readProgress(db).then(({ settledAtomic }) => onSettled(settledAtomic), () => {}).finally(() => void (busy = false));
  }, 1_000);
  return { stop: () => clearInterval(timer) };
}
