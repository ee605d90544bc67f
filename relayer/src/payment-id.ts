// One id follows a payment from the 402 to the transaction. It is minted with the 402 and comes back in the buyer's copy
// of the terms; it is a label, never a permission. Its first twelve hex digits are the time of the 402, unix milliseconds.
import { randomBytes } from "node:crypto";

const SHAPE = /^pay_[0-9a-f]{32}$/;

export function newPaymentId(): string {
  return `pay_${Date.now().toString(16).padStart(12, "0")}${randomBytes(10).toString("hex")}`;
}

/** The id a client echoed when it is one of ours in form, else a new one. */
export function paymentIdFrom(echoed: unknown): string {
  return typeof echoed === "string" && SHAPE.test(echoed) ? echoed : newPaymentId();
}
