// Prometheus metrics. Names end in their unit; no addresses or channel ids as labels.
import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from "prom-client";

export type Metrics = ReturnType<typeof createMetrics>;

export function createMetrics() {
  const registry = new Registry();
  collectDefaultMetrics({ register: registry });
  const registers = [registry];
  return {
    registry,
    payments: new Counter({ name: "tallystick_payments_total", help: "Payment attempts by outcome", labelNames: ["outcome"], registers }),
    refusals: new Counter({ name: "tallystick_refusals_total", help: "Refused payments by code", labelNames: ["code"], registers }),
    chargedAtomic: new Counter({ name: "tallystick_charged_atomic_total", help: "Charged, atomic token units", registers }),
    paidCallSeconds: new Histogram({
      name: "tallystick_paid_call_seconds",
      help: "A paid call from its header to its answer",
      buckets: [0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30],
      registers,
    }),
    transactions: new Counter({ name: "tallystick_transactions_total", help: "Transactions by purpose and result", labelNames: ["purpose", "result"], registers }),
    lanes: new Gauge({ name: "tallystick_lanes", help: "Keys that pay gas, by what holds their nonce lane up", labelNames: ["state"], registers }),
    settlementRows: new Counter({ name: "tallystick_settlement_rows_total", help: "Claimed rows by result", labelNames: ["result"], registers }),
    claimedAtomic: new Counter({ name: "tallystick_claimed_atomic_total", help: "Claimed on chain, atomic token units", registers }),
    chainLagSeconds: new Gauge({ name: "tallystick_chain_lag_seconds", help: "Time since the chain was last read", registers }),
    chainAlerts: new Counter({ name: "tallystick_chain_alerts_total", help: "What others did on chain that an operator should look at, by kind", labelNames: ["kind"], registers }),
    chainMissed: new Counter({ name: "tallystick_chain_missed_total", help: "Channels whose state differed from the chain's when all were read again", registers }),
    auditEntries: new Counter({ name: "tallystick_audit_entries_total", help: "Entries of the audit log sealed by this process", registers }),
    auditDropped: new Counter({ name: "tallystick_audit_dropped_total", help: "Approvals that were not kept while the database was away; recovered from the payments", registers }),
    ledgerStopped: new Gauge({ name: "tallystick_ledger_stopped_bool", help: "1 while nothing is sold by channel because the ledger lost commits", registers }),
    nativeSignatures: new Gauge({ name: "tallystick_native_secp256k1_bool", help: "1 when signatures and hashes are made and checked by native code", registers }),
  };
}
