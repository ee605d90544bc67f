// How sellers write what a call costs: a price, and the charge of one answer. Pure; the relayer, providers and tests run this very code.
import { parseUnits } from "viem";
import { TallystickError } from "./errors.ts";

const MAX_UINT128 = (1n << 128n) - 1n;

/**
 * Atomic units of a price such as "$0.001".
 * @throws TallystickError `price_malformed` for anything else, for zero, and for more digits than the token has.
 */
export function parsePrice(text: string, decimals = 6): bigint {
  const price = new RegExp(`^\\$\\d{1,20}(?:\\.\\d{1,${decimals}})?$`).test(text) ? parseUnits(text.slice(1), decimals) : 0n;
  if (price > 0n && price <= MAX_UINT128) return price;
  throw new TallystickError({ code: "price_malformed", status: 400, retry: "never", field: "price", detail: `A price is written like "$0.001", above zero and with at most ${decimals} decimals; ${JSON.stringify(text)} is not.` });
}

/**
 * What a delivered call costs: the price, or less where the provider says so in `Settlement-Overrides`, the header by which an
 * x402 handler tells its middleware ("1000" atomic units, "33.33%" of the price, "$0.05"). Rounds down.
 * @returns undefined for a header that says nothing sensible, or more than the price.
 */
export function actualCharge(header: string | string[] | undefined, price: bigint, decimals: number): bigint | undefined {
  if (header === undefined) return price;
  return chargeOf(overrideAmount(String(header)), price, decimals);
}

/** One amount as `Settlement-Overrides` writes it. @returns undefined for nonsense, or more than the price. */
export function chargeOf(text: string, price: bigint, decimals: number): bigint | undefined {
  const amount = atomicOf(text, price, decimals);
  return amount !== undefined && amount <= price ? amount : undefined;
}

function atomicOf(text: string, price: bigint, decimals: number): bigint | undefined {
  if (/^\d{1,38}$/.test(text)) return BigInt(text);
  const [, whole, part = ""] = /^(\d{1,3})(?:\.(\d{0,2}))?%$/.exec(text) ?? [];
  if (whole !== undefined) return (price * (BigInt(whole) * 100n + BigInt(part.padEnd(2, "0")))) / 10_000n;
  const [, dollars, cents = "0"] = /^\$(\d{1,20})(?:\.(\d{1,18}))?$/.exec(text) ?? [];
  return dollars === undefined ? undefined : parseUnits(`${dollars}.${cents.slice(0, decimals)}`, decimals);
}

function overrideAmount(header: string): string {
  try {
    const { amount } = JSON.parse(header) as { amount?: unknown };
    return typeof amount === "string" ? amount : "";
  } catch {
    return ""; // not JSON, or null
  }
}
