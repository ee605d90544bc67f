// SessionChannels' events to rows. Events of one transaction arrive in log order, so a channel's row is there before any
// event that names it: deposit emits ChannelCreated first.
import { ponder, type Context, type Event } from "ponder:registry";
import { channel, claim, deposit, packedGroup, receiptRoot, refund, settlement, skippedClaim, withdrawal } from "ponder:schema";
import { zeroHash, type Address, type Hex } from "viem";
import { decodePackedResults, type PackedResult } from "../../sdk/src/packed-claim.ts";
import { addToAccount, addToTotals } from "./totals.ts";

/** Of a contract; blocks have events too. */
type Logged = Extract<Event, { log: unknown }>;

type ChannelRow = typeof channel.$inferSelect;

/** Where a row comes from; every table carries these. */
function origin(event: Logged) {
  return {
    transactionHash: event.transaction.hash,
    logIndex: event.log.logIndex,
    blockNumber: event.block.number,
    timestamp: event.block.timestamp,
  };
}

/** Who a row is about; every table of a channel's events carries these. */
function parties({ id, payer, receiver, token }: ChannelRow) {
  return { channelId: id, payer, receiver, token };
}

async function channelOf(context: Context, id: Hex): Promise<ChannelRow> {
  const row = await context.db.find(channel, { id });
  if (row === null) throw new Error(`event of a channel that was never created: ${id}`);
  return row;
}

ponder.on("SessionChannels:ChannelCreated", async ({ event, context }) => {
  const { channelId: id, config } = event.args;
  const { transactionHash, blockNumber, timestamp } = origin(event);
  // A closed channel that is funded again is created again, with the same id.
  const before = await context.db.find(channel, { id });
  if (before !== null) return void (await context.db.update(channel, { id }).set({ status: "open", updatedAt: timestamp }));

  const none = { balance: 0n, totalClaimed: 0n, totalDeposited: 0n, totalRefunded: 0n, totalWithdrawn: 0n, depositCount: 0, claimCount: 0 };
  await context.db
    .insert(channel)
    .values({ id, ...config, status: "open", ...none, transactionHash, blockNumber, timestamp, updatedAt: timestamp });
  await addToTotals(context, event, config.token, { channelsOpened: 1 });
  await addToAccount(context, event, config.payer, config.token, { channelsAsPayer: 1 });
  await addToAccount(context, event, config.receiver, config.token, { channelsAsReceiver: 1 });
});

ponder.on("SessionChannels:ChannelClosed", async ({ event, context }) => {
  await context.db.update(channel, { id: event.args.channelId }).set({ status: "closed", updatedAt: event.block.timestamp });
});

ponder.on("SessionChannels:Deposited", async ({ event, context }) => {
  const { channelId: id, sender, amount, newBalance } = event.args;
  const row = await channelOf(context, id);
  await context.db.insert(deposit).values({ id: event.id, ...parties(row), sender, amount, newBalance, ...origin(event) });
  await context.db.update(channel, { id }).set({
    balance: newBalance,
    totalDeposited: row.totalDeposited + amount,
    depositCount: row.depositCount + 1,
    updatedAt: event.block.timestamp,
  });
  await addToAccount(context, event, row.payer, row.token, { deposited: amount });
  await addToTotals(context, event, row.token, { deposited: amount, deposits: 1 });
});

ponder.on("SessionChannels:Claimed", async ({ event, context }) => {
  const { channelId, sender, claimAmount, newTotalClaimed } = event.args;
  const claimed = { channelId, claimAmount, totalClaimed: newTotalClaimed };
  await addClaim(context, event, claimed, { id: event.id, path: "plain", rowIndex: 0, sender });
});

ponder.on("SessionChannels:PackedClaimed", async ({ event, context }) => {
  const { receiver, receiverAuthorizer, token, withdrawDelay, sender, claimAmount, results } = event.args;
  const rows = decodePackedResults(results);
  const receiptsRoot = event.args.receiptsRoot === zeroHash ? null : event.args.receiptsRoot;
  const claimedCount = rows.filter(({ status }) => status === "Claimed").length;
  await context.db.insert(packedGroup).values({
    id: event.id,
    ...{ receiver, receiverAuthorizer, token, withdrawDelay, sender, receiptsRoot },
    ...{ amount: claimAmount, rowCount: rows.length, claimedCount },
    ...origin(event),
  });
  if (receiptsRoot !== null) await addRoot(context, event, { root: receiptsRoot, receiver, receiverAuthorizer, token });
  for (const [rowIndex, row] of rows.entries()) {
    const place = { id: `${event.id}-${String(rowIndex).padStart(5, "0")}`, groupId: event.id, rowIndex, sender };
    if (row.status === "Claimed") await addClaim(context, event, row, { ...place, path: "packed", receiptsRoot });
    else await addSkipped(context, event, row, { ...place, receiver, token });
  }
});

/**
 * Who first shows a root; what is under it is looked up later (src/reputation.ts), and again when it is shown again: for another row perhaps.
 * It keeps its attempts then, so that whoever shows old roots over and over stands behind all new ones.
 */
async function addRoot(context: Context, event: Logged, named: Pick<typeof receiptRoot.$inferInsert, "root" | "receiver" | "receiverAuthorizer" | "token">): Promise<void> {
  const { transactionHash, blockNumber, timestamp } = origin(event);
  await context.db.insert(receiptRoot).values({ ...named, groupId: event.id, status: "wanted", attempts: 0, transactionHash, blockNumber, timestamp }).onConflictDoUpdate({ status: "wanted" });
}

type ClaimPlace = Pick<typeof claim.$inferInsert, "id" | "path" | "groupId" | "rowIndex" | "sender" | "receiptsRoot">;

/** A plain claim and a claimed packed row mean the same. */
async function addClaim(context: Context, event: Logged, claimed: Omit<PackedResult, "status">, place: ClaimPlace): Promise<void> {
  const { channelId: id, claimAmount: amount, totalClaimed } = claimed;
  const row = await channelOf(context, id);
  await context.db.insert(claim).values({ ...place, ...parties(row), amount, totalClaimed, ...origin(event) });
  await context.db.update(channel, { id }).set({ totalClaimed, claimCount: row.claimCount + 1, updatedAt: event.block.timestamp });
  await addToAccount(context, event, row.payer, row.token, { spent: amount });
  await addToAccount(context, event, row.receiver, row.token, { earned: amount });
  await addToTotals(context, event, row.token, { claimed: amount, claims: 1 });
}

type SkippedPlace = { id: string; groupId: string; rowIndex: number; sender: Address; receiver: Address; token: Address };

async function addSkipped(context: Context, event: Logged, skipped: PackedResult, place: SkippedPlace): Promise<void> {
  const { status, channelId, totalClaimed } = skipped;
  if (status === "Claimed") return;
  const payer = (await context.db.find(channel, { id: channelId }))?.payer ?? null;
  await context.db.insert(skippedClaim).values({ ...place, reason: status, channelId, payer, totalClaimed, ...origin(event) });
  await addToTotals(context, event, place.token, { skippedClaims: 1 });
}

ponder.on("SessionChannels:Settled", async ({ event, context }) => {
  const { receiver, token, sender, amount } = event.args;
  await context.db.insert(settlement).values({ id: event.id, status: "settled", receiver, token, sender, amount, ...origin(event) });
  await addToAccount(context, event, receiver, token, { settled: amount });
  await addToTotals(context, event, token, { settled: amount, settlements: 1 });
});

ponder.on("SessionChannels:SettleFailed", async ({ event, context }) => {
  const { receiver, token, sender, amount } = event.args;
  await context.db.insert(settlement).values({ id: event.id, status: "failed", receiver, token, sender, amount, ...origin(event) });
  await addToTotals(context, event, token, { failedSettlements: 1 });
});

ponder.on("SessionChannels:Refunded", async ({ event, context }) => {
  const { channelId: id, sender, amount } = event.args;
  const row = await channelOf(context, id);
  await context.db.insert(refund).values({ id: event.id, ...parties(row), sender, amount, ...origin(event) });
  await context.db.update(channel, { id }).set({
    balance: row.balance - amount,
    totalRefunded: row.totalRefunded + amount,
    updatedAt: event.block.timestamp,
  });
  await shrinkWithdrawal(context, event, row, amount);
  await addToAccount(context, event, row.payer, row.token, { refunded: amount });
  await addToTotals(context, event, row.token, { refunded: amount, refunds: 1 });
});

/** A refund counts against a pending withdrawal, as in the contract's `_refund`: nobody is paid twice. */
async function shrinkWithdrawal(context: Context, event: Logged, row: ChannelRow, refunded: bigint): Promise<void> {
  if (row.pendingWithdrawalId === null) return;
  const pending = await context.db.find(withdrawal, { id: row.pendingWithdrawalId });
  if (pending !== null && pending.pendingAmount > refunded) {
    await context.db.update(withdrawal, { id: pending.id }).set({ pendingAmount: pending.pendingAmount - refunded });
  } else {
    await endWithdrawal(context, event, row, "refunded", 0n);
  }
}

ponder.on("SessionChannels:WithdrawInitiated", async ({ event, context }) => {
  const { channelId: id, amount, finalizeAfter } = event.args;
  const row = await channelOf(context, id);
  await context.db.insert(withdrawal).values({
    id: event.id,
    status: "pending",
    ...parties(row),
    ...{ requestedAmount: amount, pendingAmount: amount, paidAmount: 0n, finalizeAfter: BigInt(finalizeAfter) },
    ...origin(event),
  });
  await context.db.update(channel, { id }).set({ pendingWithdrawalId: event.id, updatedAt: event.block.timestamp });
});

ponder.on("SessionChannels:WithdrawCancelled", async ({ event, context }) => {
  const row = await channelOf(context, event.args.channelId);
  await endWithdrawal(context, event, row, "cancelled", 0n);
});

ponder.on("SessionChannels:WithdrawFinalized", async ({ event, context }) => {
  const { channelId: id, amount } = event.args;
  const row = await channelOf(context, id);
  await context.db.update(channel, { id }).set({ balance: row.balance - amount, totalWithdrawn: row.totalWithdrawn + amount });
  await endWithdrawal(context, event, row, "finalized", amount);
  await addToAccount(context, event, row.payer, row.token, { withdrawn: amount });
  await addToTotals(context, event, row.token, { withdrawn: amount, withdrawals: 1 });
});

async function endWithdrawal(
  context: Context,
  event: Logged,
  row: ChannelRow,
  status: "finalized" | "cancelled" | "refunded",
  paidAmount: bigint,
): Promise<void> {
  if (row.pendingWithdrawalId === null) throw new Error(`no withdrawal is pending in channel ${row.id}`);
  const end = { endTransactionHash: event.transaction.hash, endBlockNumber: event.block.number, endTimestamp: event.block.timestamp };
  await context.db.update(withdrawal, { id: row.pendingWithdrawalId }).set({ status, pendingAmount: 0n, paidAmount, ...end });
  await context.db.update(channel, { id: row.id }).set({ pendingWithdrawalId: null, updatedAt: event.block.timestamp });
}
