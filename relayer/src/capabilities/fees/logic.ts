// What a fee is, and what may be done with an invoice. Pure.
import type { Address } from "viem";
import { TallystickError } from "../../../../sdk/src/errors.ts";

const BPS = 10_000n;

/** Of one payment, rounded down: never above the agreed share, and nothing of nothing. The books compute the same in SQL. */
export function feeOf(chargedAtomic: bigint, feeBps: number): bigint {
  return (chargedAtomic * BigInt(feeBps)) / BPS;
}

/** An invoice as it stands. Amounts in atomic units. */
export type Invoice = {
  invoiceId: string;
  number: bigint;
  receiver: Address;
  token: Address;
  periodFrom: Date;
  periodTo: Date;
  calls: bigint;
  gross: bigint;
  fee: bigint;
  state: "draft" | "open" | "paid";
  issuedAt: Date | undefined;
  dueAt: Date | undefined;
  paidAt: Date | undefined;
  /** The payment that paid it, or is about to. */
  paymentId: string | undefined;
};

/** Whether it can be paid now. @throws TallystickError 409 `invoice_paid`, `invoice_not_issued`. */
export function checkPayable({ invoiceId, state, paymentId }: Invoice): void {
  if (state === "paid") throw new TallystickError({ code: "invoice_paid", status: 409, retry: "never", detail: `Invoice ${invoiceId} is paid.`, extra: paymentId === undefined ? {} : { paidBy: paymentId } });
  if (state === "draft") throw new TallystickError({ code: "invoice_not_issued", status: 409, retry: "safe", detail: `Invoice ${invoiceId} is not issued yet: fees still come in.` });
}

export const isOverdue = ({ state, dueAt }: Pick<Invoice, "state" | "dueAt">, now: Date): boolean => state === "open" && dueAt !== undefined && dueAt < now;
