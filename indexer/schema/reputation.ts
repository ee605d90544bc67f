// Tables of reputation; a part of ponder.schema.ts. Opinions of this indexer, made from the other tables: README.md says how.
import { index, onchainEnum, onchainTable, primaryKey } from "ponder";

export const trustLevel = onchainEnum("trust_level", ["untrusted", "new", "trusted", "verified", "elite"]);
export const bundleStatus = onchainEnum("bundle_status", ["wanted", "verified", "unavailable"]);

/** A root of receipts that rode in a packed claim, and what is known of the receipts under it. */
export const receiptRoot = onchainTable(
  "receipt_root",
  (t) => ({
    root: t.hex().primaryKey(),
    /** Of the packed claim that first showed it. */
    groupId: t.text().notNull(),
    receiver: t.hex().notNull(),
    receiverAuthorizer: t.hex().notNull(),
    token: t.hex().notNull(),
    /** verified: the receipts were fetched and hash to the root. Without them services are scored all the same. */
    status: bundleStatus().notNull(),
    attempts: t.integer().notNull(),
    receipts: t.integer(),
    /** Of these, acknowledged by their buyers, and counted under no root before. */
    acknowledged: t.integer(),
    transactionHash: t.hex().notNull(),
    blockNumber: t.bigint().notNull(),
    timestamp: t.bigint().notNull(),
  }),
  (table) => ({ byReceiver: index().on(table.receiver, table.timestamp), byStatus: index().on(table.status, table.blockNumber) }),
);

/** Acknowledged receipts of one channel counted under one root: signed for by the seller's root and by the buyer's ReceiptAck. */
export const receiptSum = onchainTable(
  "receipt_sum",
  (t) => ({
    root: t.hex().notNull(),
    channelId: t.hex().notNull(),
    acknowledged: t.integer().notNull(),
    /** Of those with an agreed SLA, missed. */
    late: t.integer().notNull(),
    latencyMs: t.bigint().notNull(),
    amount: t.bigint().notNull(),
  }),
  (table) => ({ pk: primaryKey({ columns: [table.root, table.channelId] }) }),
);

/** An acknowledged receipt counts once, however many roots name it. */
export const countedReceipt = onchainTable("counted_receipt", (t) => ({ receiptHash: t.hex().primaryKey(), /** Under which it counts. */ root: t.hex().notNull() }));

/** All scores 0 to 100. `evidence`: JSON, each factor with value, weight and reason. */
export const reputation = onchainTable(
  "reputation",
  (t) => ({
    serviceId: t.hex().primaryKey(),
    overall: t.real().notNull(),
    reliability: t.real().notNull(),
    quality: t.real().notNull(),
    speed: t.real().notNull(),
    honesty: t.real().notNull(),
    collaboration: t.real().notNull(),
    trust: trustLevel().notNull(),
    /** 0 to 1: how much of its custom looks like its own. */
    wash: t.real().notNull(),
    evidence: t.text().notNull(),
    blockNumber: t.bigint().notNull(),
    updatedAt: t.bigint().notNull(),
  }),
  (table) => ({ byOverall: index().on(table.overall), byTrust: index().on(table.trust, table.overall) }),
);

/** When a service's standing moved: another trust level, or five points. */
export const reputationEvent = onchainTable(
  "reputation_event",
  (t) => ({
    serviceId: t.hex().notNull(),
    blockNumber: t.bigint().notNull(),
    overall: t.real().notNull(),
    /** Null: it had none before. */
    overallBefore: t.real(),
    trust: trustLevel().notNull(),
    trustBefore: trustLevel(),
    timestamp: t.bigint().notNull(),
  }),
  (table) => ({ pk: primaryKey({ columns: [table.serviceId, table.blockNumber] }) }),
);
