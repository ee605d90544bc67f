// Tables of BazaarRegistry; a part of ponder.schema.ts. What a service says of itself is text that a stranger chose: whoever shows it escapes it.
import { index, onchainEnum, onchainTable } from "ponder";

export const serviceStatus = onchainEnum("service_status", ["draft", "pending_review", "listed", "suspended", "delisted"]);
export const serviceVisibility = onchainEnum("service_visibility", ["public", "unlisted"]);

/** A service with its terms in full, as the registry's `services(id)` and `isCurrent(id, terms)` know it. */
export const service = onchainTable(
  "service",
  (t) => ({
    id: t.hex().primaryKey(),
    /** agentId + 1 of the identity that owns it; 0: owned by an address. */
    agent: t.bigint().notNull(),
    /** Who owned it when the owner last acted; the owner now of an identity's service is asked of the chain. */
    owner: t.hex().notNull(),
    salt: t.hex().notNull(),
    payTo: t.hex().notNull(),
    token: t.hex().notNull(),
    capability: t.hex().notNull(),
    /** The capability as it reads; null when it is no tag. */
    capabilityTag: t.text(),
    categories: t.bigint().notNull(),
    price: t.bigint().notNull(),
    schemes: t.integer().notNull(),
    visibility: serviceVisibility().notNull(),
    contentHash: t.hex().notNull(),
    uri: t.text().notNull(),
    status: serviceStatus().notNull(),
    /** Who set the status, and the hash of a curator's reason; null: the owner, by listing or updating. */
    statusBy: t.hex(),
    statusReason: t.hex(),
    version: t.integer().notNull(),
    revision: t.integer().notNull(),
    /** Atomic units of the registry's bond token; what is on its way out stands for nothing. */
    bond: t.bigint().notNull(),
    unbonding: t.bigint().notNull(),
    bondWithdrawableAt: t.bigint().notNull(),
    ratingCount: t.integer().notNull(),
    /** Of the transaction that listed it. */
    transactionHash: t.hex().notNull(),
    blockNumber: t.bigint().notNull(),
    timestamp: t.bigint().notNull(),
    updatedAt: t.bigint().notNull(),
  }),
  (table) => ({
    byOwner: index().on(table.owner, table.timestamp),
    byPayTo: index().on(table.payTo),
    byCapability: index().on(table.capabilityTag, table.price),
    byStatus: index().on(table.status, table.updatedAt),
    byUpdatedAt: index().on(table.updatedAt, table.id),
  }),
);

/** What somebody who paid says of a service. */
export const rating = onchainTable(
  "rating",
  (t) => ({
    id: t.text().primaryKey(),
    serviceId: t.hex().notNull(),
    rater: t.hex().notNull(),
    /** Channel, or the hash that names a job. */
    source: t.hex().notNull(),
    /** Of the service when it was paid. */
    payTo: t.hex().notNull(),
    token: t.hex().notNull(),
    /** What was paid since the last rating of the channel, or for the job. */
    amount: t.bigint().notNull(),
    /** 0 to 100. */
    score: t.integer().notNull(),
    /** Null: none given. */
    details: t.hex(),
    /** Whether the ERC-8004 registry took it; null: it was not offered. */
    forwarded: t.boolean(),
    transactionHash: t.hex().notNull(),
    logIndex: t.integer().notNull(),
    blockNumber: t.bigint().notNull(),
    timestamp: t.bigint().notNull(),
  }),
  (table) => ({
    byService: index().on(table.serviceId, table.timestamp),
    byRater: index().on(table.rater, table.timestamp),
    bySource: index().on(table.source),
    byTransactionHash: index().on(table.transactionHash),
  }),
);

/** A relayer that stands behind what it does with a bond. */
export const facilitator = onchainTable(
  "facilitator",
  (t) => ({
    address: t.hex().primaryKey(),
    endpoint: t.text().notNull(),
    contentHash: t.hex().notNull(),
    active: t.boolean().notNull(),
    /** Atomic units of the registry's bond token; what is on its way out stands for nothing. */
    bond: t.bigint().notNull(),
    unbonding: t.bigint().notNull(),
    bondWithdrawableAt: t.bigint().notNull(),
    /** Of its first registration. */
    transactionHash: t.hex().notNull(),
    blockNumber: t.bigint().notNull(),
    timestamp: t.bigint().notNull(),
    updatedAt: t.bigint().notNull(),
  }),
  (table) => ({ byActive: index().on(table.active, table.updatedAt) }),
);
