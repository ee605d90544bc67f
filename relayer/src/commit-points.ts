// Moments after which another step must follow, here or in another process: a crash at any of them may cost nothing. The chaos
// run (`npm run chaos`) kills the process at each; in production `reached` does nothing.
//
// A new durable step gets a name here and a call of `deps.reached(name)` right after it. A name that nothing calls fails the chaos run.
export const COMMIT_POINTS = [
  // a paid call
  "channel.inserted",
  "payment.reserved",
  "upstream.answered", // nothing is charged yet
  "payment.charged", // charge and answer are durable, no byte has left
  "answer.sent",
  "payment.released",
  // exact
  "exact.reserved",
  "exact.stored", // the answer is durable and withheld
  "exact.queued", // the authorisation is to be carried
  "exact.settled",
  // streams
  "stream.opened",
  "stream.charged",
  "stream.ended",
  // transactions: signed bytes are committed, then broadcast
  "tx.committed.deposit",
  "tx.committed.claim",
  "tx.committed.settle",
  "tx.committed.refund",
  "tx.committed.exact",
  "tx.committed.anchor",
  "tx.committed.listing",
  "tx.committed.job",
  "tx.broadcast",
  "tx.resolved",
  "tx.bumped",
  // settlement
  "batch.prepared", // simulated; nothing is written yet
  "batch.closed",
  "refund.closed",
  // mandates
  "mandate.registered",
  "mandate.revoked",
  "mandates.synced",
  "guard.decided", // what a voucher costs its mandates; it is signed after this
  // fees
  "fees.booked",
  "invoice.issued",
  // the audit log
  "audit.sealed",
  // the chain's follower
  "views.synced",
  "cursor.saved",
] as const;

export type CommitPoint = (typeof COMMIT_POINTS)[number];
export type Reached = (point: CommitPoint) => void;
