// Structured logs. Keys, signatures and payment headers never reach them.
import { destination, pino, type DestinationStream, type Logger } from "pino";

export type Log = Logger;

/** Event names, so that a log line can be found from the code and the other way round. */
export const EVENT = {
  paymentRequired: "payment.required",
  paymentRefused: "payment.refused",
  paymentReserved: "payment.reserved",
  paymentCharged: "payment.charged",
  paymentReleased: "payment.released",
  paymentReplayed: "payment.replayed",
  streamBegun: "stream.begun",
  streamExtended: "stream.extended",
  streamBroken: "stream.broken",
  streamEnded: "stream.ended",
  paymentsSettled: "payment.settled",
  receiptAcknowledged: "receipt.acknowledged",
  depositSent: "deposit.sent",
  depositConfirmed: "deposit.confirmed",
  exactSent: "exact.sent",
  refundSent: "refund.sent",
  refundConfirmed: "refund.confirmed",
  batchSent: "settlement.batch_sent",
  batchDone: "settlement.batch_done",
  rowSkipped: "settlement.row_skipped",
  txSigned: "tx.signed",
  txBroadcast: "tx.broadcast",
  txResolved: "tx.resolved",
  laneState: "lane.state",
  ledgerRewound: "ledger.rewound",
  vouchersImported: "vouchers.imported",
  chainLag: "chain.lag",
  chainForeign: "chain.foreign",
  chainMissed: "chain.missed",
  channelSynced: "channel.synced",
  mandateRegistered: "mandate.registered",
  mandateRevoked: "mandate.revoked",
  mandateSynced: "mandate.synced",
  guardBound: "guard.bound",
  feeTerms: "fees.terms",
  invoiceIssued: "invoice.issued",
  invoicePaid: "invoice.paid",
  servicePaused: "service.paused",
  serviceResumed: "service.resumed",
  payoutAsked: "payout.asked",
  serviceListed: "service.listed",
  serviceRemoved: "service.removed",
  serviceHidden: "service.hidden",
  serviceShown: "service.shown",
  listingProposed: "listing.proposed",
  listingSent: "listing.sent",
  listingSynced: "listing.synced",
  intentPublished: "negotiation.intent",
  offerAccepted: "negotiation.accepted",
  firewallRefused: "firewall.refused",
  policyApplied: "firewall.policy_applied",
  approvalDecided: "firewall.approval_decided",
  auditRecovered: "audit.recovered",
  auditAnchored: "audit.anchored",
  jobPosted: "job.posted",
  jobSent: "job.sent",
  jobSynced: "job.synced",
  validatorFailed: "job.validator_failed",
  webhookAdded: "webhook.added",
  webhookFailed: "webhook.failed",
  webhookRetired: "webhook.retired",
  webhookEnabled: "webhook.enabled",
  started: "relayer.started",
  stopped: "relayer.stopped",
  failure: "relayer.failure",
} as const;

const SECRET = ["signature", "*.signature", "privateKey", "*.privateKey", "key", "*.key", "req.headers", "authorization", "*.authorization"];

const BUFFERED_BYTES = 8_192;
const FLUSH_MS = 250;

/** Stdout by the buffer: a write for every line would cost a paid call more than its database does. A kill loses the last moment's lines, and no truth. */
function bufferedStdout(): DestinationStream {
  const out = destination({ fd: 1, sync: false, minLength: BUFFERED_BYTES });
  setInterval(() => out.flush(), FLUSH_MS).unref();
  process.on("exit", () => out.flushSync());
  return out;
}

/** @param to where lines go; stdout when left out. */
export function createLog(level: string, to?: DestinationStream): Log {
  const options = {
    level,
    base: { app: "relayer" },
    redact: { paths: SECRET, censor: "[redacted]" },
    serializers: { err: pino.stdSerializers.err },
    formatters: { level: (label: string) => ({ level: label }) },
    timestamp: pino.stdTimeFunctions.isoTime,
  };
  return pino(options, to ?? (level === "silent" ? { write: () => {} } : bufferedStdout()));
}
