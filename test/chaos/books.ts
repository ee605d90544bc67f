// What the buyers know: every payment they signed, and what came of each attempt to use it.
import type { Hex } from "viem";
import type { SignedReceipt } from "../../sdk/src/receipt.ts";
import { RECEIPT_EXTENSION } from "../../sdk/src/receipt.ts";
import type { ActorKind } from "./plan.ts";

export type Attempt =
  /** An answer that came whole. */
  | { kind: "answer"; status: number; contentType: string; body: string; paymentId: string | undefined; settle: Settle | undefined; code: string | undefined; paid: boolean; /** Asked for by the auditor, after the round. */ refetch: boolean }
  /** Nothing, or a part: whether it was charged is not known. */
  | { kind: "lost"; why: string; /** Unix milliseconds. */ atMs: number };

export type Settle = { success: boolean; transaction: string; amount?: string; extra?: { chargedAmount?: string; paymentId?: string }; extensions?: Record<string, { info?: { receipt?: SignedReceipt } }> };

export type Purchase = {
  /** Names it at the provider. */
  tag: string;
  actor: string;
  kind: ActorKind;
  scheme: "session" | "exact";
  /** Answers are passed as they are written. */
  stream: "fixed" | "metered" | undefined;
  path: string;
  service: string;
  /** PAYMENT-SIGNATURE. */
  header: string;
  payer: Hex;
  channelId: Hex | undefined;
  ceiling: bigint | undefined;
  price: bigint;
  nonce: Hex | undefined;
  clientId: string | undefined;
  attempts: Attempt[];
};

/** A service's answer that was paid for, as opposed to one of the relayer's own or a free failure passed on. */
export const isSale = (attempt: Attempt): attempt is Extract<Attempt, { kind: "answer" }> => attempt.kind === "answer" && attempt.paid;

export const receiptOf = (settle: Settle | undefined): SignedReceipt | undefined => settle?.extensions?.[RECEIPT_EXTENSION]?.info?.receipt;

export type Violation = { rule: string; text: string; paymentId?: string; tag?: string };

/** One round's. */
export class Books {
  readonly purchases: Purchase[] = [];
  /** The highest ceiling that a buyer signed, by channel. */
  readonly signed = new Map<Hex, bigint>();
  readonly channels = new Map<Hex, { actor: string; kind: ActorKind; payer: Hex }>();
  /** Each actor's money at the start. */
  readonly funded = new Map<Hex, bigint>();
  /** Who hired whom, by client: its provider and arbitrator, and the jobs it asked for. */
  readonly employers = new Map<Hex, { others: readonly [Hex, Hex]; jobIds: readonly { jobId?: string }[] }>();
  /** What was asked to be listed, by owner; prices in the order in which they were asked for. */
  readonly listings = new Map<Hex, { prices: readonly number[]; serviceId: Hex | undefined }>();
  readonly violations: Violation[] = [];
  /** What actors sent to others on their own account, by payer (for the sum of all money). */
  readonly spentElsewhere = new Map<Hex, bigint>();

  add(purchase: Purchase): Purchase {
    this.purchases.push(purchase);
    if (purchase.channelId !== undefined && purchase.ceiling !== undefined) this.sign(purchase.channelId, purchase.ceiling);
    return purchase;
  }

  sign(channelId: Hex, ceiling: bigint): void {
    if (ceiling > (this.signed.get(channelId) ?? 0n)) this.signed.set(channelId, ceiling);
  }

  violate(rule: string, text: string, about: { paymentId?: string; tag?: string } = {}): void {
    this.violations.push({ rule, text, ...about });
  }
}
