// x402 v2 on the wire, as a buyer reads and writes it: base64 JSON headers, the terms of a 402, what was settled. Every field that
// decides about money is checked here, once; browser-safe.
import { getAddress, isAddress, isHex, type Address, type Hex } from "viem";
import { TallystickError } from "../errors.ts";

/** One way to pay, as the seller wrote it: copied back verbatim. */
export type Accepts = {
  scheme: string;
  network: string;
  amount: string;
  asset: string;
  payTo: string;
  maxTimeoutSeconds: number;
  extra?: Record<string, unknown>;
};
export type PaymentRequired = {
  x402Version: number;
  error?: string;
  resource?: { url: string };
  accepts: Accepts[];
  extensions?: Record<string, unknown>;
};

/** The seller's word on a channel; amounts in atomic units. */
export type ChannelState = { channelId: Hex; balance: bigint; totalClaimed: bigint; chargedCumulative: bigint; withdrawRequestedAt: number };

/** A PAYMENT-RESPONSE. `charged` is undefined where the seller names none (a refund). */
export type Settlement = {
  success: boolean;
  errorReason: string | undefined;
  transaction: string;
  /** Deposited, refunded or (exact) paid; undefined when nothing moved on chain. */
  amount: bigint | undefined;
  charged: bigint | undefined;
  paymentId: string | undefined;
  channel: ChannelState | undefined;
  extensions: Record<string, unknown>;
};

const MAX_HEADER_CHARS = 65_536;

/** Standard base64 of UTF-8 JSON. */
export function encodeHeader(value: unknown): string {
  const bytes = new TextEncoder().encode(JSON.stringify(value));
  let binary = "";
  for (let start = 0; start < bytes.length; start += 8_192) binary += String.fromCharCode(...bytes.subarray(start, start + 8_192));
  return btoa(binary);
}

/** @throws TallystickError `seller_malformed` that names the header. */
export function decodeHeader(name: string, value: string): Record<string, unknown> {
  if (value.length > MAX_HEADER_CHARS) throw malformed(name, "is too long");
  try {
    const bytes = Uint8Array.from(atob(value), (char) => char.charCodeAt(0));
    const json: unknown = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
    if (typeof json === "object" && json !== null) return json as Record<string, unknown>;
  } catch (cause) {
    throw malformed(name, "is not base64 of UTF-8 JSON", cause);
  }
  throw malformed(name, "is not an object");
}

/** The terms in a 402, from PAYMENT-REQUIRED. @throws TallystickError `seller_malformed` naming the field. */
export function readPaymentRequired(headers: Headers): PaymentRequired {
  const header = headers.get("payment-required");
  if (header === null) throw malformed("PAYMENT-REQUIRED", "is missing in the 402");
  const json = decodeHeader("PAYMENT-REQUIRED", header) as PaymentRequired;
  if (json.x402Version !== 2) throw malformed("x402Version", `is ${String(json.x402Version)}, not 2`);
  if (!Array.isArray(json.accepts) || json.accepts.length === 0) throw malformed("accepts", "is empty");
  return json;
}

/** Undefined when the answer carries no PAYMENT-RESPONSE. @throws TallystickError `seller_malformed` naming the field. */
export function readSettlement(headers: Headers): Settlement | undefined {
  const header = headers.get("payment-response");
  if (header === null) return undefined;
  const json = decodeHeader("PAYMENT-RESPONSE", header);
  const extra = objectIn(json, "extra") ?? {};
  const state = objectIn(extra, "channelState");
  return {
    success: json["success"] === true,
    errorReason: textIn(json, "errorReason"),
    transaction: textIn(json, "transaction") ?? "",
    amount: amountIn(json, "amount"),
    charged: amountIn(extra, "chargedAmount"),
    paymentId: textIn(extra, "paymentId"),
    channel: state === undefined ? undefined : readChannelState(state),
    extensions: objectIn(json, "extensions") ?? {},
  };
}

export function readChannelState(state: Record<string, unknown>): ChannelState {
  return {
    channelId: hexIn(state, "channelId"),
    balance: requiredAmount(state, "balance"),
    totalClaimed: requiredAmount(state, "totalClaimed"),
    chargedCumulative: requiredAmount(state, "chargedCumulativeAmount"),
    withdrawRequestedAt: Number(state["withdrawRequestedAt"] ?? 0),
  };
}

export function objectIn(from: Record<string, unknown>, field: string): Record<string, unknown> | undefined {
  const value = from[field];
  return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : undefined;
}

export function textIn(from: Record<string, unknown>, field: string): string | undefined {
  const value = from[field];
  return typeof value === "string" ? value : undefined;
}

/** A decimal string of atomic units; undefined when it is absent or empty. */
export function amountIn(from: Record<string, unknown>, field: string): bigint | undefined {
  const value = from[field];
  if (value === undefined || value === null || value === "") return undefined;
  if (typeof value !== "string" || !/^\d{1,39}$/.test(value)) throw malformed(field, "is not a decimal string of atomic units");
  return BigInt(value);
}

export function requiredAmount(from: Record<string, unknown>, field: string): bigint {
  const amount = amountIn(from, field);
  if (amount === undefined) throw malformed(field, "is missing");
  return amount;
}

export function addressIn(from: Record<string, unknown>, field: string): Address {
  const value = from[field];
  if (typeof value !== "string" || !isAddress(value, { strict: false })) throw malformed(field, "is not an address");
  return getAddress(value);
}

function hexIn(from: Record<string, unknown>, field: string): Hex {
  const value = from[field];
  if (!isHex(value)) throw malformed(field, "is not hex");
  return value.toLowerCase() as Hex;
}

export function malformed(field: string, what: string, cause?: unknown): TallystickError {
  return new TallystickError({ code: "seller_malformed", status: 502, retry: "never", field, detail: `The seller's ${field} ${what}.`, cause });
}
