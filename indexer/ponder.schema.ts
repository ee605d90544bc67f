// What is indexed. Every amount is atomic token units; every timestamp is unix seconds; day is a UTC date. The chain is the
// authority for all of it: a row can be deleted and comes back by indexing again. README.md says which are sums.
import { index, onchainEnum, onchainTable, primaryKey, relations } from "ponder";
import { rating, service } from "./schema/bazaar.ts";
import { channelFunding, mandate, mandateSpend, principalEpoch } from "./schema/mandates.ts";

export * from "./schema/bazaar.ts";
export * from "./schema/jobs.ts";
export * from "./schema/mandates.ts";
export * from "./schema/reputation.ts";

export const channelStatus = onchainEnum("channel_status", ["open", "closed"]);
export const claimPath = onchainEnum("claim_path", ["plain", "packed"]);
export const skipReason = onchainEnum("skip_reason", [
  "NothingNew",
  "ExceedsCeiling",
  "ExceedsBalance",
  "InvalidSignature",
  "ContractSignatureUnsupported",
  "ReceiverTotalOverflow",
]);
export const settlementStatus = onchainEnum("settlement_status", ["settled", "failed"]);
export const withdrawalStatus = onchainEnum("withdrawal_status", ["pending", "finalized", "cancelled", "refunded"]);

/** A prepaid session, as SessionChannels.channels(id) and pendingWithdrawals(id) tell it, with its totals. */
export const channel = onchainTable(
  "channel",
  (t) => ({
    id: t.hex().primaryKey(),
    payer: t.hex().notNull(),
    payerAuthorizer: t.hex().notNull(),
    receiver: t.hex().notNull(),
    receiverAuthorizer: t.hex().notNull(),
    token: t.hex().notNull(),
    withdrawDelay: t.integer().notNull(),
    salt: t.hex().notNull(),
    status: channelStatus().notNull(),
    balance: t.bigint().notNull(),
    totalClaimed: t.bigint().notNull(),
    totalDeposited: t.bigint().notNull(),
    totalRefunded: t.bigint().notNull(),
    totalWithdrawn: t.bigint().notNull(),
    depositCount: t.integer().notNull(),
    claimCount: t.integer().notNull(),
    /** The withdrawal under way; its amount is kept in the withdrawal's own row. */
    pendingWithdrawalId: t.text(),
    transactionHash: t.hex().notNull(),
    blockNumber: t.bigint().notNull(),
    timestamp: t.bigint().notNull(),
    updatedAt: t.bigint().notNull(),
  }),
  (table) => ({
    byPayer: index().on(table.payer, table.timestamp),
    byReceiver: index().on(table.receiver, table.timestamp),
    byToken: index().on(table.token),
    byUpdatedAt: index().on(table.updatedAt),
  }),
);

export const deposit = onchainTable(
  "deposit",
  (t) => ({
    id: t.text().primaryKey(),
    channelId: t.hex().notNull(),
    payer: t.hex().notNull(),
    receiver: t.hex().notNull(),
    token: t.hex().notNull(),
    sender: t.hex().notNull(),
    amount: t.bigint().notNull(),
    newBalance: t.bigint().notNull(),
    transactionHash: t.hex().notNull(),
    logIndex: t.integer().notNull(),
    blockNumber: t.bigint().notNull(),
    timestamp: t.bigint().notNull(),
  }),
  (table) => ({
    byChannelId: index().on(table.channelId),
    byPayer: index().on(table.payer, table.timestamp),
    byReceiver: index().on(table.receiver, table.timestamp),
    byTransactionHash: index().on(table.transactionHash),
  }),
);

/** Value that moved from a channel to its receiver: one Claimed event, or one row of a PackedClaimed event. */
export const claim = onchainTable(
  "claim",
  (t) => ({
    id: t.text().primaryKey(),
    path: claimPath().notNull(),
    /** The packed group the row came in; null for a plain claim. */
    groupId: t.text(),
    rowIndex: t.integer().notNull(),
    channelId: t.hex().notNull(),
    payer: t.hex().notNull(),
    receiver: t.hex().notNull(),
    token: t.hex().notNull(),
    sender: t.hex().notNull(),
    amount: t.bigint().notNull(),
    /** The channel's cumulative claimed total afterwards. */
    totalClaimed: t.bigint().notNull(),
    receiptsRoot: t.hex(),
    transactionHash: t.hex().notNull(),
    logIndex: t.integer().notNull(),
    blockNumber: t.bigint().notNull(),
    timestamp: t.bigint().notNull(),
  }),
  (table) => ({
    byChannelId: index().on(table.channelId),
    byGroupId: index().on(table.groupId),
    byPayer: index().on(table.payer, table.timestamp),
    byReceiver: index().on(table.receiver, table.timestamp),
    byTransactionHash: index().on(table.transactionHash),
  }),
);

/** One PackedClaimed event: rows of one receiver, token and withdrawDelay. */
export const packedGroup = onchainTable(
  "packed_group",
  (t) => ({
    id: t.text().primaryKey(),
    receiver: t.hex().notNull(),
    receiverAuthorizer: t.hex().notNull(),
    token: t.hex().notNull(),
    withdrawDelay: t.integer().notNull(),
    sender: t.hex().notNull(),
    /** Null when the group named no receipts. */
    receiptsRoot: t.hex(),
    amount: t.bigint().notNull(),
    rowCount: t.integer().notNull(),
    claimedCount: t.integer().notNull(),
    transactionHash: t.hex().notNull(),
    logIndex: t.integer().notNull(),
    blockNumber: t.bigint().notNull(),
    timestamp: t.bigint().notNull(),
  }),
  (table) => ({
    byReceiver: index().on(table.receiver, table.timestamp),
    byReceiptsRoot: index().on(table.receiptsRoot),
    byTransactionHash: index().on(table.transactionHash),
  }),
);

/** A packed row that moved nothing, and why. */
export const skippedClaim = onchainTable(
  "skipped_claim",
  (t) => ({
    id: t.text().primaryKey(),
    groupId: t.text().notNull(),
    rowIndex: t.integer().notNull(),
    reason: skipReason().notNull(),
    channelId: t.hex().notNull(),
    /** Null when no deposit ever opened that channel: the event names only its id. */
    payer: t.hex(),
    receiver: t.hex().notNull(),
    token: t.hex().notNull(),
    sender: t.hex().notNull(),
    totalClaimed: t.bigint().notNull(),
    transactionHash: t.hex().notNull(),
    logIndex: t.integer().notNull(),
    blockNumber: t.bigint().notNull(),
    timestamp: t.bigint().notNull(),
  }),
  (table) => ({
    byGroupId: index().on(table.groupId),
    byChannelId: index().on(table.channelId),
    byPayer: index().on(table.payer),
    byReceiver: index().on(table.receiver, table.timestamp),
    byTransactionHash: index().on(table.transactionHash),
  }),
);

/** Claimed value paid out to its receiver, or (failed) refused by the token inside claimAndSettle: nothing moved then. */
export const settlement = onchainTable(
  "settlement",
  (t) => ({
    id: t.text().primaryKey(),
    status: settlementStatus().notNull(),
    receiver: t.hex().notNull(),
    token: t.hex().notNull(),
    sender: t.hex().notNull(),
    amount: t.bigint().notNull(),
    transactionHash: t.hex().notNull(),
    logIndex: t.integer().notNull(),
    blockNumber: t.bigint().notNull(),
    timestamp: t.bigint().notNull(),
  }),
  (table) => ({
    byReceiver: index().on(table.receiver, table.timestamp),
    byStatus: index().on(table.status),
    byTransactionHash: index().on(table.transactionHash),
  }),
);

export const refund = onchainTable(
  "refund",
  (t) => ({
    id: t.text().primaryKey(),
    channelId: t.hex().notNull(),
    payer: t.hex().notNull(),
    receiver: t.hex().notNull(),
    token: t.hex().notNull(),
    sender: t.hex().notNull(),
    amount: t.bigint().notNull(),
    transactionHash: t.hex().notNull(),
    logIndex: t.integer().notNull(),
    blockNumber: t.bigint().notNull(),
    timestamp: t.bigint().notNull(),
  }),
  (table) => ({
    byChannelId: index().on(table.channelId),
    byPayer: index().on(table.payer, table.timestamp),
    byReceiver: index().on(table.receiver, table.timestamp),
    byTransactionHash: index().on(table.transactionHash),
  }),
);

/** One withdrawal from its start (transactionHash, blockNumber, timestamp) to its end (the same names with `end`). */
export const withdrawal = onchainTable(
  "withdrawal",
  (t) => ({
    id: t.text().primaryKey(),
    status: withdrawalStatus().notNull(),
    channelId: t.hex().notNull(),
    payer: t.hex().notNull(),
    receiver: t.hex().notNull(),
    token: t.hex().notNull(),
    requestedAmount: t.bigint().notNull(),
    /** Still to be withdrawn; refunds shrink it. Zero at the end. */
    pendingAmount: t.bigint().notNull(),
    /** What reached the payer when it was finalized. */
    paidAmount: t.bigint().notNull(),
    finalizeAfter: t.bigint().notNull(),
    transactionHash: t.hex().notNull(),
    logIndex: t.integer().notNull(),
    blockNumber: t.bigint().notNull(),
    timestamp: t.bigint().notNull(),
    endTransactionHash: t.hex(),
    endBlockNumber: t.bigint(),
    endTimestamp: t.bigint(),
  }),
  (table) => ({
    byChannelId: index().on(table.channelId),
    byStatusFinalizeAfter: index().on(table.status, table.finalizeAfter),
    byPayer: index().on(table.payer, table.timestamp),
    byReceiver: index().on(table.receiver, table.timestamp),
    byTransactionHash: index().on(table.transactionHash),
  }),
);

/** What an address did with one token: as payer (deposited … spent) and as receiver (earned, settled). */
export const account = onchainTable(
  "account",
  (t) => ({
    address: t.hex().notNull(),
    token: t.hex().notNull(),
    deposited: t.bigint().notNull(),
    /** Claimed from this payer's channels. */
    spent: t.bigint().notNull(),
    refunded: t.bigint().notNull(),
    withdrawn: t.bigint().notNull(),
    channelsAsPayer: t.integer().notNull(),
    /** Claimed for this receiver. */
    earned: t.bigint().notNull(),
    /** Paid out to this receiver; earned - settled waits in the contract. */
    settled: t.bigint().notNull(),
    channelsAsReceiver: t.integer().notNull(),
    firstSeenAt: t.bigint().notNull(),
    lastSeenAt: t.bigint().notNull(),
  }),
  (table) => ({
    pk: primaryKey({ columns: [table.address, table.token] }),
    byEarned: index().on(table.earned),
    bySpent: index().on(table.spent),
  }),
);

/** Sums of one UTC day. */
export const dailyTotal = onchainTable(
  "daily_total",
  (t) => ({
    /** YYYY-MM-DD */
    day: t.text().notNull(),
    token: t.hex().notNull(),
    ...sums(t),
  }),
  (table) => ({
    pk: primaryKey({ columns: [table.day, table.token] }),
  }),
);

/** Sums since the first block. */
export const protocolTotal = onchainTable("protocol_total", (t) => ({
  token: t.hex().primaryKey(),
  ...sums(t),
  payers: t.integer().notNull(),
  receivers: t.integer().notNull(),
}));

type Columns = Parameters<Extract<Parameters<typeof onchainTable>[1], (...args: never[]) => unknown>>[0];

function sums(t: Columns) {
  return {
    deposited: t.bigint().notNull(),
    claimed: t.bigint().notNull(),
    settled: t.bigint().notNull(),
    refunded: t.bigint().notNull(),
    withdrawn: t.bigint().notNull(),
    deposits: t.integer().notNull(),
    claims: t.integer().notNull(),
    skippedClaims: t.integer().notNull(),
    settlements: t.integer().notNull(),
    failedSettlements: t.integer().notNull(),
    refunds: t.integer().notNull(),
    withdrawals: t.integer().notNull(),
    /** First-time openings; a closed channel that is funded again is not counted twice. */
    channelsOpened: t.integer().notNull(),
  };
}

export const channelRelations = relations(channel, ({ one, many }) => ({
  payerAccount: one(account, { relationName: "payer", fields: [channel.payer, channel.token], references: [account.address, account.token] }),
  receiverAccount: one(account, { relationName: "receiver", fields: [channel.receiver, channel.token], references: [account.address, account.token] }),
  pendingWithdrawal: one(withdrawal, { relationName: "pending", fields: [channel.pendingWithdrawalId], references: [withdrawal.id] }),
  deposits: many(deposit),
  claims: many(claim),
  skippedClaims: many(skippedClaim),
  refunds: many(refund),
  withdrawals: many(withdrawal, { relationName: "channel" }),
  fundings: many(channelFunding),
}));

export const mandateRelations = relations(mandate, ({ one, many }) => ({
  parent: one(mandate, { relationName: "tree", fields: [mandate.parentId], references: [mandate.id] }),
  children: many(mandate, { relationName: "tree" }),
  spends: many(mandateSpend),
  fundings: many(channelFunding),
  principalEpoch: one(principalEpoch, { fields: [mandate.principal], references: [principalEpoch.principal] }),
}));

export const mandateSpendRelations = relations(mandateSpend, ({ one }) => ({
  mandate: one(mandate, { fields: [mandateSpend.mandateId], references: [mandate.id] }),
}));

export const channelFundingRelations = relations(channelFunding, ({ one }) => ({
  mandate: one(mandate, { fields: [channelFunding.mandateId], references: [mandate.id] }),
  channel: one(channel, { fields: [channelFunding.channelId], references: [channel.id] }),
}));

export const serviceRelations = relations(service, ({ many }) => ({
  ratings: many(rating),
}));

export const ratingRelations = relations(rating, ({ one }) => ({
  service: one(service, { fields: [rating.serviceId], references: [service.id] }),
}));

export const depositRelations = relations(deposit, ({ one }) => ({
  channel: one(channel, { fields: [deposit.channelId], references: [channel.id] }),
}));

export const claimRelations = relations(claim, ({ one }) => ({
  channel: one(channel, { fields: [claim.channelId], references: [channel.id] }),
  group: one(packedGroup, { fields: [claim.groupId], references: [packedGroup.id] }),
}));

export const packedGroupRelations = relations(packedGroup, ({ many }) => ({
  claims: many(claim),
  skippedClaims: many(skippedClaim),
}));

export const skippedClaimRelations = relations(skippedClaim, ({ one }) => ({
  channel: one(channel, { fields: [skippedClaim.channelId], references: [channel.id] }),
  group: one(packedGroup, { fields: [skippedClaim.groupId], references: [packedGroup.id] }),
}));

export const settlementRelations = relations(settlement, ({ one }) => ({
  receiverAccount: one(account, { fields: [settlement.receiver, settlement.token], references: [account.address, account.token] }),
}));

export const refundRelations = relations(refund, ({ one }) => ({
  channel: one(channel, { fields: [refund.channelId], references: [channel.id] }),
}));

export const withdrawalRelations = relations(withdrawal, ({ one }) => ({
  channel: one(channel, { relationName: "channel", fields: [withdrawal.channelId], references: [channel.id] }),
}));

export const accountRelations = relations(account, ({ many }) => ({
  payerChannels: many(channel, { relationName: "payer" }),
  receiverChannels: many(channel, { relationName: "receiver" }),
  settlements: many(settlement),
}));
