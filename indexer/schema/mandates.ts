// Tables of MandateRegistry and AuditAnchor; a part of ponder.schema.ts, which says how they hang together.
import { index, onchainEnum, onchainTable } from "ponder";

export const mandateStatus = onchainEnum("mandate_status", ["approved", "revoked"]);

/** A spend mandate, from its approval on. What the registry keeps of it is `mandates(id)`. */
export const mandate = onchainTable(
  "mandate",
  (t) => ({
    id: t.hex().primaryKey(),
    /** Whose tokens. */
    principal: t.hex().notNull(),
    /** The agent. */
    delegate: t.hex().notNull(),
    token: t.hex().notNull(),
    limit: t.bigint().notNull(),
    /** 0: no periods. */
    periodLimit: t.bigint().notNull(),
    paymentLimit: t.bigint().notNull(),
    period: t.bigint().notNull(),
    validAfter: t.bigint().notNull(),
    validUntil: t.bigint().notNull(),
    /** The principal's epoch that it is good in; see principal_epoch. */
    epoch: t.integer().notNull(),
    /** Null: any payee. */
    payeesRoot: t.hex(),
    /** Null: any capability. */
    capability: t.hex(),
    terms: t.hex(),
    salt: t.hex().notNull(),
    /** Null for a root. */
    parentId: t.hex(),
    /** Itself for a root. */
    rootId: t.hex().notNull(),
    depth: t.integer().notNull(),
    /** Its own; one whose ancestor is revoked is dead too. */
    status: mandateStatus().notNull(),
    /** Of it and all below it: what counts against its limit. */
    spent: t.bigint().notNull(),
    spendCount: t.integer().notNull(),
    /** Directly under it. */
    ownSpent: t.bigint().notNull(),
    ownSpendCount: t.integer().notNull(),
    revokedBy: t.hex(),
    revokedAt: t.bigint(),
    transactionHash: t.hex().notNull(),
    blockNumber: t.bigint().notNull(),
    timestamp: t.bigint().notNull(),
    updatedAt: t.bigint().notNull(),
  }),
  (table) => ({
    byPrincipal: index().on(table.principal, table.timestamp),
    byDelegate: index().on(table.delegate, table.timestamp),
    byParent: index().on(table.parentId),
    byRoot: index().on(table.rootId),
  }),
);

/** Tokens that left a principal under a mandate; counted once here, and in the totals of the mandate and of each ancestor. */
export const mandateSpend = onchainTable(
  "mandate_spend",
  (t) => ({
    id: t.text().primaryKey(),
    mandateId: t.hex().notNull(),
    rootId: t.hex().notNull(),
    principal: t.hex().notNull(),
    payee: t.hex().notNull(),
    token: t.hex().notNull(),
    amount: t.bigint().notNull(),
    /** Of the mandate, with this payment. */
    totalSpent: t.bigint().notNull(),
    transactionHash: t.hex().notNull(),
    logIndex: t.integer().notNull(),
    blockNumber: t.bigint().notNull(),
    timestamp: t.bigint().notNull(),
  }),
  (table) => ({
    byMandate: index().on(table.mandateId, table.timestamp),
    byRoot: index().on(table.rootId, table.timestamp),
    byPrincipal: index().on(table.principal, table.timestamp),
    byPayee: index().on(table.payee, table.timestamp),
    byTransactionHash: index().on(table.transactionHash),
  }),
);

/** Revoked, approved before or not: a mandate can be taken back before anybody used it. */
export const mandateRevocation = onchainTable(
  "mandate_revocation",
  (t) => ({
    mandateId: t.hex().primaryKey(),
    principal: t.hex().notNull(),
    /** The principal, or the delegate of its parent. */
    by: t.hex().notNull(),
    transactionHash: t.hex().notNull(),
    logIndex: t.integer().notNull(),
    blockNumber: t.bigint().notNull(),
    timestamp: t.bigint().notNull(),
  }),
  (table) => ({ byPrincipal: index().on(table.principal, table.timestamp) }),
);

/** The deposit of a channel that a mandate paid for. */
export const channelFunding = onchainTable(
  "channel_funding",
  (t) => ({
    id: t.text().primaryKey(),
    mandateId: t.hex().notNull(),
    channelId: t.hex().notNull(),
    principal: t.hex().notNull(),
    /** The channel contract; its channels are indexed here when it is the SessionChannels of this indexer. */
    channels: t.hex().notNull(),
    amount: t.bigint().notNull(),
    transactionHash: t.hex().notNull(),
    logIndex: t.integer().notNull(),
    blockNumber: t.bigint().notNull(),
    timestamp: t.bigint().notNull(),
  }),
  (table) => ({
    byMandate: index().on(table.mandateId, table.timestamp),
    byChannel: index().on(table.channelId),
    byTransactionHash: index().on(table.transactionHash),
  }),
);

/** The epoch of a principal that ever bumped it; of all others it is 0. Mandates of earlier epochs never move tokens again. */
export const principalEpoch = onchainTable("principal_epoch", (t) => ({
  principal: t.hex().primaryKey(),
  epoch: t.integer().notNull(),
  transactionHash: t.hex().notNull(),
  blockNumber: t.bigint().notNull(),
  timestamp: t.bigint().notNull(),
}));

/** A root of a relayer's audit log, as it was shown. */
export const auditAnchor = onchainTable(
  "audit_anchor",
  (t) => ({
    id: t.text().primaryKey(),
    relayer: t.hex().notNull(),
    day: t.bigint().notNull(),
    root: t.hex().notNull(),
    transactionHash: t.hex().notNull(),
    logIndex: t.integer().notNull(),
    blockNumber: t.bigint().notNull(),
    timestamp: t.bigint().notNull(),
  }),
  (table) => ({ byRelayer: index().on(table.relayer, table.day) }),
);
