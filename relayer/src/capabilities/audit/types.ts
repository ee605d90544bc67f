// What the gate and everything about it leaves behind. Others write entries by `deps.audit`; how they are chained and sealed is service.ts's.
import type { Address, Hex } from "viem";

export type AuditKind =
  /** The price was set aside: what follows is charged, or given back. One a payment, written where the payment is opened (gateway/service.ts). */
  | "payment.approved"
  /** No money moved, and none can: the payment does not exist, or is NEVER. */
  | "payment.rejected"
  /** Charged by a process that died before its approval was sealed; written from the payment itself. */
  | "payment.recovered"
  /** What was charged will not be claimed: the claim costs more. */
  | "payment.written_off"
  /** A paid stream broke off; what it gave stays charged. */
  | "stream.broken"
  | "guard.signed"
  | "guard.refused"
  | "policy.applied"
  | `approval.${"asked" | "granted" | "refused" | "expired"}`
  | "mandate.registered"
  | "mandate.revoked"
  | `kill.${"set" | "lifted"}`;

/** What may stand in an entry. Bigints become decimal strings; what is undefined is left out; anything else is refused by the type. */
export type AuditValue = string | number | boolean | null | bigint | Date | undefined | readonly AuditValue[] | { readonly [name: string]: AuditValue };

export type AuditEntry = {
  kind: AuditKind;
  /** Now when left out. */
  at?: Date;
  /** Payment id, channel id or mandate id. */
  subject: string;
  /** The rule that decided, such as `policy.price_ceiling`, or the stable code of a refusal. */
  rule?: string | undefined;
  /** For a person. */
  reason?: string | undefined;
  policyHash?: Hex | undefined;
  /** Who may read the entry beside the operator: whose money it is, and whom it was for. */
  payer?: Address | undefined;
  payee?: Address | undefined;
  amountAtomic?: bigint | undefined;
  /** Integers, strings, booleans, null. Never a signature or a key. Not to be changed after it was handed over: it is encoded later. */
  data?: { readonly [name: string]: AuditValue };
};

export type Audit = {
  /**
   * Takes an entry without waiting: it is chained, sealed and stored by a background writer within about a second, and at shutdown. A crash
   * loses it; what was charged meanwhile is found again in the payments.
   */
  record(entry: AuditEntry): void;
  /** Stored when this resolves, whatever happens next: for rejections, before their answer leaves. Sealed within about a second. */
  recordDurably(entry: AuditEntry): Promise<void>;
};
