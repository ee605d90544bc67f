// MandateRegistry's events to rows. A payment under a mandate that was not approved yet approves it first, so a mandate's row is there
// before any event that spends under it. Only revocations may come before: of a mandate that nobody used.
import { ponder, type Context, type Event } from "ponder:registry";
import { channelFunding, mandate, mandateRevocation, mandateSpend, principalEpoch } from "ponder:schema";
import { zeroHash, type Hex } from "viem";

/** Of a contract; blocks have events too. */
type Logged = Extract<Event, { log: unknown }>;

type MandateRow = typeof mandate.$inferSelect;

function origin(event: Logged) {
  return { transactionHash: event.transaction.hash, logIndex: event.log.logIndex, blockNumber: event.block.number, timestamp: event.block.timestamp };
}

const orNull = (hash: Hex): Hex | null => (hash === zeroHash ? null : hash);

async function mandateOf(context: Context, id: Hex): Promise<MandateRow> {
  const row = await context.db.find(mandate, { id });
  if (row === null) throw new Error(`event of a mandate that was never approved: ${id}`);
  return row;
}

ponder.on("MandateRegistry:MandateApproved", async ({ event, context }) => {
  const { mandateId: id, mandate: granted } = event.args;
  const { payeesRoot, capability, terms, parent: parentHash, period, validAfter, validUntil, ...rest } = granted;
  const parentId = orNull(parentHash);
  const parent = parentId === null ? undefined : await mandateOf(context, parentId);
  const { transactionHash, blockNumber, timestamp } = origin(event);
  await context.db.insert(mandate).values({
    id, ...rest, period: BigInt(period), validAfter: BigInt(validAfter), validUntil: BigInt(validUntil),
    ...{ payeesRoot: orNull(payeesRoot), capability: orNull(capability), terms: orNull(terms), parentId },
    ...{ rootId: parent?.rootId ?? id, depth: parent === undefined ? 0 : parent.depth + 1, status: "approved" as const },
    ...{ spent: 0n, spendCount: 0, ownSpent: 0n, ownSpendCount: 0, transactionHash, blockNumber, timestamp, updatedAt: timestamp },
  });
});

ponder.on("MandateRegistry:MandateSpent", async ({ event, context }) => {
  const { mandateId, principal, payee, token, amount, totalSpent } = event.args;
  const leaf = await mandateOf(context, mandateId);
  await context.db.insert(mandateSpend).values({ id: event.id, mandateId, rootId: leaf.rootId, principal, payee, token, amount, totalSpent, ...origin(event) });
  await context.db.update(mandate, { id: leaf.id }).set({ ownSpent: leaf.ownSpent + amount, ownSpendCount: leaf.ownSpendCount + 1 });
  // The contract charges every ancestor in the same call.
  for (let row: MandateRow | undefined = leaf; row !== undefined; row = row.parentId === null ? undefined : await mandateOf(context, row.parentId)) {
    await context.db.update(mandate, { id: row.id }).set({ spent: row.spent + amount, spendCount: row.spendCount + 1, updatedAt: event.block.timestamp });
  }
});

ponder.on("MandateRegistry:ChannelFunded", async ({ event, context }) => {
  const { mandateId, channelId, principal, channels, amount } = event.args;
  await context.db.insert(channelFunding).values({ id: event.id, mandateId, channelId, principal, channels, amount, ...origin(event) });
});

ponder.on("MandateRegistry:MandateRevoked", async ({ event, context }) => {
  const { mandateId, principal, by } = event.args;
  await context.db.insert(mandateRevocation).values({ mandateId, principal, by, ...origin(event) });
  if ((await context.db.find(mandate, { id: mandateId })) === null) return;
  const { timestamp } = event.block;
  await context.db.update(mandate, { id: mandateId }).set({ status: "revoked", revokedBy: by, revokedAt: timestamp, updatedAt: timestamp });
});

ponder.on("MandateRegistry:EpochBumped", async ({ event, context }) => {
  const { principal, epoch } = event.args;
  const { transactionHash, blockNumber, timestamp } = origin(event);
  const row = { epoch, transactionHash, blockNumber, timestamp };
  await context.db.insert(principalEpoch).values({ principal, ...row }).onConflictDoUpdate(row);
});
