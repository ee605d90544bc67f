// x402's answer headers: base64 of JSON, the same text as @x402/core writes. That takes every byte to a character on its own and
// costs as much as signing a receipt (`npm run -s bench -- crypto`).
import type { PaymentRequired, SettleResponse } from "@x402/core/types";

/** PAYMENT-RESPONSE. What extensions answer to the seller's server is none of the buyer's business. */
export function encodePaymentResponse(settlement: SettleResponse): string {
  const { extensionResponses, ...buyerFacing } = settlement as SettleResponse & { extensionResponses?: unknown };
  return encodeJson(buyerFacing);
}

/** PAYMENT-REQUIRED. */
export function encodePaymentRequired(required: PaymentRequired): string {
  return encodeJson(required);
}

/** Standard base64 of UTF-8 JSON. */
export function encodeJson(value: unknown): string {
  return Buffer.from(JSON.stringify(value)).toString("base64");
}
