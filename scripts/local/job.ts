// The main job: three kinds of agents buy an analysis of the documents, one kind under a mandate, the relayer settles, the indexer follows.
import { setTimeout as sleep } from "node:timers/promises";
import { createPublicClient, http } from "viem";
import { reconcile, type Reconciliation } from "../../indexer/reconcile/reconcile.ts";
import { openPool, type Db } from "../../relayer/src/db/pool.ts";
import { BATCH_INDEXES, EXACT_INDEXES, localAccount } from "./accounts.ts";
import { buyAll, stockBatchAgent, stockExactAgent, type Agent, type Purchase } from "./agents.ts";
import { readContract, readIndex, readTransfers, type Totals } from "./chain-totals.ts";
import { SESSION_CHANNELS } from "../../sdk/src/constants.ts";
import type { Document } from "./documents.ts";
import { readDirectPayers, readPayers, readProgress, readTransactions, type DirectBooks, type MinedTransaction, type PayerBooks } from "./ledger-store.ts";
import { runBazaar, type BazaarResult } from "./bazaar.ts";
import { runJobs, type JobsResult } from "./jobs.ts";
import { grantMandates, readMandateBooks, tryForbidden, type Household, type MandateBooks } from "./mandate.ts";
import { startProgress, type Counts } from "./progress.ts";
import type { World } from "./world.ts";

/** The same money as four parties know it. */
export type JobResult = {
  /** How many purchases there had to be. */
  planned: number;
  seconds: number;
  purchases: Purchase[];
  books: PayerBooks[];
  /** Of those who paid each call on its own, with what the token's Transfer events say they paid. */
  direct: (DirectBooks & { transferredAtomic: bigint })[];
  transactions: MinedTransaction[];
  contract: Totals;
  index: Totals;
  /** Every indexed row against a replay of the raw logs and the contract's getters. */
  reconciliation: Reconciliation;
  /** Why settlement did not end, or undefined. */
  unsettled: string | undefined;
  mandate: MandateBooks;
  jobs: JobsResult;
  bazaar: BazaarResult;
};

/** Each such call is a transaction of its own: enough to show what that costs. */
const EXACT_DOCUMENTS = 50;
const SETTLEMENT_TIMEOUT_MS = 90_000;
const POLL_MS = 250;

type Shift = { agents: Agent[]; documents: Document[] };

/** Who buys what, one kind after the other, so that their times can be compared. */
function shifts(world: World, household: Household, documents: Document[]): Shift[] {
  const { rpcUrl } = world;
  return [
    { agents: BATCH_INDEXES.map((index) => stockBatchAgent(localAccount(index), rpcUrl)), documents },
    { agents: EXACT_INDEXES.map((index) => stockExactAgent(localAccount(index), rpcUrl)), documents: documents.slice(0, EXACT_DOCUMENTS) },
    { agents: household.agents, documents },
  ];
}

export async function runMainJob(world: World, documents: Document[], signal: AbortSignal): Promise<JobResult> {
  const db = openPool(world.ledgerUrl, 2);
  const household = await grantMandates(world);
  // Beside the calls: most of it is waiting for windows to end.
  const hired = runJobs(world, signal);
  hired.catch(() => {}); // told when it is waited for
  const traded = runBazaar(world, signal);
  traded.catch(() => {});
  const plan = shifts(world, household, documents);
  const planned = plan.reduce((total, shift) => total + shift.documents.length, 0);
  const progress = startProgress(planned);
  const counts: Counts = { calls: 0, paidAtomic: 0n, settledAtomic: 0n };
  const started = performance.now();
  let direct = 0n;
  const watch = watchSettlement(db, (settled) => progress.show(Object.assign(counts, { settledAtomic: settled + direct })));
  try {
    // A chain that others used before us (RPC_URL) already carries totals of this receiver.
    const before = await readContract(world, []);
    const chain = createPublicClient({ transport: http(world.rpcUrl) });
    const fromBlock = await chain.getBlockNumber();
    const onPurchase = ({ agent, chargedAtomic }: Purchase) => {
      counts.calls++;
      counts.paidAtomic += chargedAtomic;
      // Paid by a transfer of its own, so settled at once.
      if (agent === "stock-exact") direct += chargedAtomic;
      progress.show(counts);
    };
    const purchases: Purchase[] = [];
    for (const shift of plan) purchases.push(...(await buyAll({ ...shift, url: world.serviceUrl, signal, onPurchase })));
    const refusal = await tryForbidden(household, world);
    const [jobs, bazaar] = await Promise.all([hired, traded]);
    const unsettled = await waitForSettlement(db, signal);
    progress.show(Object.assign(counts, { settledAtomic: (await readProgress(db)).settledAtomic + direct }));
    const books = await readPayers(db, world.receiver);
    const contract = await readContract(world, books);
    const transfers = await readTransfers(world, fromBlock);
    await world.indexer.waitForBlock(await chain.getBlockNumber());
    const index = await readIndex(world, books);
    const reconciliation = await reconcile({ rpcUrl: world.rpcUrl, graphqlUrl: world.indexer.graphqlUrl, address: SESSION_CHANNELS, fromBlock: 0n });
    const transactions = await readTransactions(db);
    const mandate = await readMandateBooks(world, household, refusal, db);
    const seconds = (performance.now() - started) / 1_000;
    const totals = { contract: since(contract, before, books), index: since(index, before, books), reconciliation };
    const paidDirectly = (await readDirectPayers(db)).map((payer) => ({ ...payer, transferredAtomic: transfers.get(payer.payer) ?? 0n }));
    return { planned, seconds, purchases, books, direct: paidDirectly, transactions, unsettled, mandate, jobs, bazaar, ...totals };
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
