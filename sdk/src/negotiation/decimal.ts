// Decimals as people write them, exactly: never through a float. Pure.
import { formatUnits, parseUnits } from "viem";
import { TallystickError } from "../errors.ts";

const MAX_UINT128 = (1n << 128n) - 1n;
/** USDC's. */
export const TOKEN_DECIMALS = 6;

export function malformedField(field: string, what: string): TallystickError {
  return new TallystickError({ code: "negotiation_malformed", status: 400, retry: "never", field, detail: `${field} ${what}.` });
}

/**
 * Atomic units of a decimal such as "0.008" (8000 of USDC).
 * @throws TallystickError `negotiation_malformed` for a sign, an exponent, a number that is no text, more decimals than the token has, zero, and what does not fit in 128 bits.
 */
export function parseAmount(text: unknown, field: string, decimals = TOKEN_DECIMALS): bigint {
  if (typeof text !== "string" || !new RegExp(`^(?:0|[1-9]\\d{0,38})(?:\\.\\d{1,${decimals}})?$`).test(text)) throw malformedField(field, `is a decimal in quotes such as "0.008", with at most ${decimals} decimals; ${JSON.stringify(text)} is not`);
  const amount = parseUnits(text, decimals);
  if (amount === 0n) throw malformedField(field, "is zero");
  if (amount > MAX_UINT128) throw malformedField(field, "does not fit in 128 bits");
  return amount;
}

export const formatAmount = (atomic: bigint, decimals = TOKEN_DECIMALS): string => formatUnits(atomic, decimals);

/** Hundredths of a percent of a number such as 99.5, by its digits. @throws TallystickError `negotiation_malformed`. */
export function parsePercent(value: unknown, field: string): number {
  const [, whole, part = ""] = /^(100|\d{1,2})(?:\.(\d{1,2}))?$/.exec(typeof value === "number" ? String(value) : "") ?? [];
  const hundredths = whole === undefined ? 10_001 : Number(whole) * 100 + Number(part.padEnd(2, "0"));
  if (hundredths > 10_000) throw malformedField(field, "is a number from 0 to 100 with at most two decimals");
  return hundredths;
}
