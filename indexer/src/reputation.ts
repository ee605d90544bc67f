// Every so many blocks: fetches receipts under new roots, and scores every service again from the other tables. Nothing here decides about
// money; README.md says who believes it.
import { ponder, type Context } from "ponder:registry";
import { channel, claim, job, rating, receiptRoot, receiptSum, reputation, reputationEvent, service } from "ponder:schema";
import { eq } from "ponder";
import type { Hex } from "viem";
import { chainById } from "../../sdk/src/constants.ts";
import { receiptSources } from "../ponder.config.ts";
import { servicesByReceiver } from "../reputation/attribute.ts";
import { acknowledgedSums, fetchBundle } from "../reputation/bundle.ts";
import type { ClaimFact, Facts, ReceiptSums } from "../reputation/facts.ts";
import { jobFactsOf } from "../reputation/jobs.ts";
import { score, type Reputation } from "../reputation/score.ts";

type Block = { number: bigint; timestamp: bigint };

/** While history is read, only what is recent is scored: the last score is made of everything before it. */
const RECENT_S = 3_600;
const BUNDLES_A_TURN = 20;
const MOST_ATTEMPTS = 20;
const POINTS = 5;

ponder.on("Reputation:block", async ({ event, context }) => {
  const block = event.block;
  if (Number(block.timestamp) + RECENT_S < Date.now() / 1_000) return;
  await fetchReceipts(context);
  await writeScores(context, block, score(await factsOf(context, Number(block.timestamp))));
});

// ------------------------------------------------------------------ receipts

async function fetchReceipts(context: Context): Promise<void> {
  if (receiptSources.length === 0) return;
  const wanted = await context.db.sql.select().from(receiptRoot).where(eq(receiptRoot.status, "wanted")).orderBy(receiptRoot.attempts, receiptRoot.blockNumber).limit(BUNDLES_A_TURN);
  for (const { root, attempts } of wanted) {
    const leaves = await fetchBundle(receiptSources, root);
    if (leaves === undefined) {
      await context.db.update(receiptRoot, { root }).set({ attempts: attempts + 1, status: attempts + 1 < MOST_ATTEMPTS ? "wanted" : "unavailable" });
      continue;
    }
    const sums = await acknowledgedSums(leaves, context.chain.id, context.contracts.SessionChannels.address as Hex, (id) => context.db.find(channel, { id }));
    for (const [channelId, sum] of sums) await context.db.insert(receiptSum).values({ root, channelId, ...sum }).onConflictDoNothing();
    const acknowledged = [...sums.values()].reduce((all, sum) => all + sum.acknowledged, 0);
    await context.db.update(receiptRoot, { root }).set({ status: "verified", attempts: attempts + 1, receipts: leaves.length, acknowledged });
  }
}

// ------------------------------------------------------------------ facts

/** Only in USDC: a token that anybody can mint proves nothing. */
async function factsOf(context: Context, nowS: number): Promise<Facts> {
  const usdc = chainById(context.chain.id)?.usdc.address.toLowerCase() ?? "";
  const { sql } = context.db;
  const [services, channels, claims, ratings, sums, jobs] = await Promise.all([sql.select().from(service), sql.select().from(channel), sql.select().from(claim), sql.select().from(rating), sql.select().from(receiptSum), sql.select().from(job)]);
  const counted = services.filter(({ token }) => token.toLowerCase() === usdc);
  const facts = counted.map((row) => ({ serviceId: low(row.id), owner: low(row.owner), payTo: low(row.payTo), registeredAtS: Number(row.timestamp), bondAtomic: row.bond - row.unbonding }));
  const byReceiver = servicesByReceiver(facts);
  const receipts = new Map(sums.map((row) => [`${row.root}|${row.channelId}`, row]));
  const settled = claims.filter(({ token, receiver }) => token.toLowerCase() === usdc && byReceiver.has(low(receiver)));
  return {
    nowS,
    services: facts,
    fundings: [],
    channels: channels.filter(({ token }) => token.toLowerCase() === usdc).map((row) => ({
      channelId: low(row.id), payer: low(row.payer), receiver: low(row.receiver), openedAtS: Number(row.timestamp), depositedAtomic: row.totalDeposited, returnedAtomic: row.totalRefunded + row.totalWithdrawn,
    })),
    claims: settled.flatMap((row) => claimsOf(row, byReceiver.get(low(row.receiver))!, receipts.get(`${row.receiptsRoot}|${row.channelId}`))),
    jobs: jobFactsOf(jobs.map(endedJob), facts, byReceiver),
    ratings: ratings.filter(({ token }) => token.toLowerCase() === usdc).map((row) => ({ serviceId: low(row.serviceId), rater: low(row.rater), atS: Number(row.timestamp), amountAtomic: row.amount, score: row.score })),
  };
}

const low = (hex: Hex): string => hex.toLowerCase();

const endedJob = ({ id, client, provider, status, submittedAt, paid, splitBps, disputed, updatedAt }: typeof job.$inferSelect) => ({
  id, client: low(client), provider: provider && low(provider), status, submitted: submittedAt !== null, paidAtomic: paid, splitBps, disputed, endedAtS: Number(updatedAt),
});

/** What acknowledged receipts say of more than was claimed is not believed. */
function claimsOf(row: typeof claim.$inferSelect, serviceIds: readonly string[], sum: typeof receiptSum.$inferSelect | undefined): ClaimFact[] {
  const believed = sum !== undefined && sum.amount <= row.totalClaimed ? sum : undefined;
  const receipts: ReceiptSums | undefined = believed && { count: believed.acknowledged, acknowledged: believed.acknowledged, failed: 0, late: believed.late, creditedAtomic: 0n, latencyMs: Number(believed.latencyMs) };
  return serviceIds.map((serviceId) => ({ channelId: low(row.channelId), serviceId, atS: Number(row.timestamp), amountAtomic: row.amount / BigInt(serviceIds.length), receipts }));
}

// ------------------------------------------------------------------ scores

async function writeScores(context: Context, block: Block, scores: readonly Reputation[]): Promise<void> {
  const before = new Map((await context.db.sql.select().from(reputation)).map((row) => [row.serviceId.toLowerCase(), row]));
  for (const { serviceId, evidence, ...values } of scores) {
    const id = serviceId as Hex;
    const known = before.get(serviceId);
    const row = { ...values, evidence: JSON.stringify(evidence), blockNumber: block.number, updatedAt: block.timestamp };
    if (known?.evidence === row.evidence) continue;
    await context.db.insert(reputation).values({ serviceId: id, ...row }).onConflictDoUpdate(row);
    if (known !== undefined && known.trust === row.trust && Math.abs(known.overall - row.overall) < POINTS) continue;
    const moved = { overall: row.overall, trust: row.trust, overallBefore: known?.overall ?? null, trustBefore: known?.trust ?? null, timestamp: block.timestamp };
    await context.db.insert(reputationEvent).values({ serviceId: id, blockNumber: block.number, ...moved }).onConflictDoNothing();
  }
}
