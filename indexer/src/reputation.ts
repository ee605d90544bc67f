// Every so many blocks: fetches receipts under new roots, and scores every service again from the other tables. Nothing here decides about
// money; README.md says who believes it.
import { ponder, type Context } from "ponder:registry";
import { channel, claim, countedReceipt, job, packedGroup, rating, receiptRoot, receiptSum, reputation, reputationEvent, service, skippedClaim } from "ponder:schema";
import { and, eq, inArray, isNotNull } from "ponder";
import type { Hex } from "viem";
import { chainById } from "../../sdk/src/constants.ts";
import { receiptSources } from "../ponder.config.ts";
import { servicesByReceiver } from "../reputation/attribute.ts";
import { acknowledgedIn, fetchBundle, sumsOf, type Acknowledged } from "../reputation/bundle.ts";
import type { ClaimFact, Facts, ReceiptSums } from "../reputation/facts.ts";
import { jobFactsOf } from "../reputation/jobs.ts";
import { receiptsOfClaims, type LaterRoot } from "../reputation/receipts.ts";
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
    const shownFor = await channelsUnder(context, root);
    const found = await acknowledgedIn(leaves, context.chain.id, context.contracts.SessionChannels.address as Hex, async (id) => (shownFor.has(low(id)) ? context.db.find(channel, { id }) : null));
    const counted = await countOnce(context, root, found);
    await context.db.update(receiptRoot, { root }).set((row) => ({ status: "verified", attempts: attempts + 1, receipts: leaves.length, acknowledged: (row.acknowledged ?? 0) + counted }));
  }
}

/** Channels whose claimed rows this root was shown with. Receipts of a row that the chain refused ride again, under a root of their own. */
async function channelsUnder({ db: { sql } }: Context, root: Hex): Promise<Set<string>> {
  const [claimed, later] = await Promise.all([
    sql.select({ channelId: claim.channelId }).from(claim).innerJoin(packedGroup, eq(packedGroup.id, claim.groupId)).where(eq(packedGroup.receiptsRoot, root)),
    sql.select({ channelId: skippedClaim.channelId }).from(skippedClaim).innerJoin(packedGroup, eq(packedGroup.id, skippedClaim.groupId)).where(and(eq(packedGroup.receiptsRoot, root), eq(skippedClaim.reason, "NothingNew"))),
  ]);
  return new Set([...claimed, ...later].map(({ channelId }) => low(channelId)));
}

/** Receipts looked for in one statement. */
const AT_ONCE = 2_000;

/** Each once, under the first root that was looked at. @returns how many were new. */
async function countOnce({ db }: Context, root: Hex, found: readonly Acknowledged[]): Promise<number> {
  const fresh = new Map(found.map((receipt) => [receipt.receiptHash, receipt]));
  const hashes = [...fresh.keys()];
  for (let at = 0; at < hashes.length; at += AT_ONCE) {
    const known = await db.sql.select({ receiptHash: countedReceipt.receiptHash }).from(countedReceipt).where(inArray(countedReceipt.receiptHash, hashes.slice(at, at + AT_ONCE)));
    for (const { receiptHash } of known) fresh.delete(receiptHash);
  }
  const receipts = [...fresh.values()];
  if (receipts.length === 0) return 0;
  await db.insert(countedReceipt).values(receipts.map(({ receiptHash }) => ({ receiptHash, root })));
  for (const [channelId, sum] of sumsOf(receipts)) {
    await db.insert(receiptSum).values({ root, channelId, ...sum }).onConflictDoUpdate((row) => ({ acknowledged: row.acknowledged + sum.acknowledged, late: row.late + sum.late, latencyMs: row.latencyMs + sum.latencyMs, amount: row.amount + sum.amount }));
  }
  return receipts.length;
}

// ------------------------------------------------------------------ facts

/** Only in USDC: a token that anybody can mint proves nothing. */
async function factsOf(context: Context, nowS: number): Promise<Facts> {
  const usdc = chainById(context.chain.id)?.usdc.address.toLowerCase() ?? "";
  const { sql } = context.db;
  const [services, channels, claims, ratings, sums, later, jobs] = await Promise.all([
    sql.select().from(service), sql.select().from(channel), sql.select().from(claim), sql.select().from(rating), sql.select().from(receiptSum), rootsShownLater(context), sql.select().from(job),
  ]);
  const counted = services.filter(({ token }) => token.toLowerCase() === usdc);
  const facts = counted.map((row) => ({ serviceId: low(row.id), owner: low(row.owner), payTo: low(row.payTo), registeredAtS: Number(row.timestamp), bondAtomic: row.bond - row.unbonding }));
  const byReceiver = servicesByReceiver(facts);
  const settled = claims.filter(({ token, receiver }) => token.toLowerCase() === usdc && byReceiver.has(low(receiver)));
  const receipts = receiptsOfClaims(settled, later, sums);
  return {
    nowS,
    services: facts,
    fundings: [],
    channels: channels.filter(({ token }) => token.toLowerCase() === usdc).map((row) => ({
      channelId: low(row.id), payer: low(row.payer), receiver: low(row.receiver), openedAtS: Number(row.timestamp), depositedAtomic: row.totalDeposited, returnedAtomic: row.totalRefunded + row.totalWithdrawn,
    })),
    claims: settled.flatMap((row) => claimsOf(row, byReceiver.get(low(row.receiver))!, receipts.get(row.id))),
    jobs: jobFactsOf(jobs.map(endedJob), facts, byReceiver),
    ratings: ratings.filter(({ token }) => token.toLowerCase() === usdc).map((row) => ({ serviceId: low(row.serviceId), rater: low(row.rater), atS: Number(row.timestamp), amountAtomic: row.amount, score: row.score })),
  };
}

const low = (hex: Hex): string => hex.toLowerCase();

const endedJob = ({ id, client, provider, status, submittedAt, paid, splitBps, disputed, updatedAt }: typeof job.$inferSelect) => ({
  id, client: low(client), provider: provider && low(provider), status, submitted: submittedAt !== null, paidAtomic: paid, splitBps, disputed, endedAtS: Number(updatedAt),
});

/** Rows that brought a root for what had been claimed before. */
async function rootsShownLater({ db: { sql } }: Context): Promise<LaterRoot[]> {
  const { channelId, blockNumber, logIndex, rowIndex } = skippedClaim;
  const rows = await sql.select({ channelId, blockNumber, logIndex, rowIndex, root: packedGroup.receiptsRoot }).from(skippedClaim).innerJoin(packedGroup, eq(packedGroup.id, skippedClaim.groupId))
    .where(and(isNotNull(packedGroup.receiptsRoot), eq(skippedClaim.reason, "NothingNew")));
  return rows.map((row) => ({ ...row, root: row.root! }));
}

function claimsOf(row: typeof claim.$inferSelect, serviceIds: readonly string[], receipts: ReceiptSums | undefined): ClaimFact[] {
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
