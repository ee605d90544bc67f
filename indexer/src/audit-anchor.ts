// AuditAnchor's one event.
import { ponder } from "ponder:registry";
import { auditAnchor } from "ponder:schema";

ponder.on("AuditAnchor:Anchored", async ({ event, context }) => {
  const { relayer, day, root } = event.args;
  await context.db.insert(auditAnchor).values({
    id: event.id, relayer, day, root, transactionHash: event.transaction.hash, logIndex: event.log.logIndex, blockNumber: event.block.number, timestamp: event.block.timestamp,
  });
});
