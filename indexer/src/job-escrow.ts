// Jobs: JobEscrow says what became of the money, DisputeEvaluator whether it was disputed.
import { ponder, type Context, type Event } from "ponder:registry";
import { job } from "ponder:schema";
import { zeroAddress } from "viem";

/** Of a contract; blocks have events too. */
type Logged = Extract<Event, { log: unknown }>;

ponder.on("JobEscrow:JobCreated", async ({ event, context }) => {
  const { jobId: id, client, provider, evaluator, expiredAt } = event.args;
  const { number: blockNumber, timestamp } = event.block;
  await context.db.insert(job).values({
    id, client, provider: provider === zeroAddress ? null : provider, evaluator, status: "open", budget: 0n, expiredAt, submittedAt: null, paid: 0n, refunded: 0n, splitBps: null, disputed: false,
    ...{ transactionHash: event.transaction.hash, blockNumber, timestamp, updatedAt: timestamp },
  });
});

async function change(context: Context, event: Logged, id: bigint, values: Partial<Omit<typeof job.$inferSelect, "id">>): Promise<void> {
  await context.db.update(job, { id }).set({ ...values, updatedAt: event.block.timestamp });
}

ponder.on("JobEscrow:ProviderSet", ({ event, context }) => change(context, event, event.args.jobId, { provider: event.args.provider }));
ponder.on("JobEscrow:BudgetSet", ({ event, context }) => change(context, event, event.args.jobId, { budget: event.args.amount }));
ponder.on("JobEscrow:JobFunded", ({ event, context }) => change(context, event, event.args.jobId, { status: "funded" }));
ponder.on("JobEscrow:JobSubmitted", ({ event, context }) => change(context, event, event.args.jobId, { status: "submitted", submittedAt: event.block.timestamp }));
ponder.on("JobEscrow:JobRejected", ({ event, context }) => change(context, event, event.args.jobId, { status: "rejected" }));
ponder.on("JobEscrow:JobExpired", ({ event, context }) => change(context, event, event.args.jobId, { status: "expired" }));
ponder.on("JobEscrow:Refunded", ({ event, context }) => change(context, event, event.args.jobId, { refunded: event.args.amount }));
/** It follows the JobCompleted that divides. */
ponder.on("JobEscrow:JobSplit", ({ event, context }) => change(context, event, event.args.jobId, { splitBps: event.args.providerBps, paid: event.args.providerAmount }));

ponder.on("JobEscrow:JobCompleted", async ({ event, context }) => {
  await context.db.update(job, { id: event.args.jobId }).set(({ budget }) => ({ status: "completed", paid: budget, updatedAt: event.block.timestamp }));
});

ponder.on("DisputeEvaluator:Disputed", ({ event, context }) => change(context, event, event.args.jobId, { disputed: true }));
