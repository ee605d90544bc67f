// Tables of JobEscrow and of the disputes over its jobs; a part of ponder.schema.ts. Amounts are atomic units of the escrow's one token.
import { index, onchainEnum, onchainTable } from "ponder";

/** IERC8183.JobStatus. */
export const jobStatus = onchainEnum("job_status", ["open", "funded", "submitted", "completed", "rejected", "expired"]);

/** A job, as the escrow's `stateOf(id)` knows it, and what became of its budget. */
export const job = onchainTable(
  "job",
  (t) => ({
    id: t.bigint().primaryKey(),
    client: t.hex().notNull(),
    /** Null until somebody is named. */
    provider: t.hex(),
    evaluator: t.hex().notNull(),
    status: jobStatus().notNull(),
    budget: t.bigint().notNull(),
    expiredAt: t.bigint().notNull(),
    /** Null: the provider delivered nothing. */
    submittedAt: t.bigint(),
    /** What went to the provider, with the fee, and what went back to the client. */
    paid: t.bigint().notNull(),
    refunded: t.bigint().notNull(),
    /** The provider's share of the budget where a completed job was divided; null: it was not. */
    splitBps: t.integer(),
    /** Before the DisputeEvaluator; disputes that another evaluator hears are not known. */
    disputed: t.boolean().notNull(),
    transactionHash: t.hex().notNull(),
    blockNumber: t.bigint().notNull(),
    timestamp: t.bigint().notNull(),
    updatedAt: t.bigint().notNull(),
  }),
  (table) => ({
    byClient: index().on(table.client, table.timestamp),
    byProvider: index().on(table.provider, table.timestamp),
    byStatus: index().on(table.status, table.updatedAt),
  }),
);
