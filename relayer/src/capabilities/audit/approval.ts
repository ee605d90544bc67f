// The entry of a payment that may go ahead. One is recorded wherever a payment is opened, after its price was set aside.
import type { Address } from "viem";
import type { AuditEntry } from "./types.ts";

export type Approved = { paymentId: string; payer: Address; payee: Address; service: string; price: bigint };

/** @param decided what the gate says of it: rule, policy, mandate. Nothing where neither policy nor mandate applies. */
export function approval({ paymentId, payer, payee, service, price }: Approved, decided: Pick<AuditEntry, "rule" | "reason" | "policyHash" | "data"> = {}): AuditEntry {
  return { kind: "payment.approved", subject: paymentId, payer, payee, amountAtomic: price, ...decided, data: decided.data === undefined ? { service } : { ...decided.data, service } };
}
