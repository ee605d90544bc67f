// How services are ranked, and what a question means. Pure. A place in the list is a sum that anybody can add up: factors from 0 to 1, times
// weights that stand here and nowhere else.
import { isAddressEqual, type Address } from "viem";
import { TallystickError } from "../../../../sdk/src/errors.ts";
import type { Measured } from "./types.ts";

export type Factor = { factor: string; weight: number; value: number; contribution: number; why: string };
export type Rank = { score: number; factors: Factor[] };

/** Of everything but the text; they add up to 1. */
export const QUALITY_WEIGHTS = { reputation: 0.4, uptime: 0.18, latency: 0.12, honesty: 0.12, price: 0.12, bond: 0.06 } as const;
/** What the text counts beside the quality, where one was asked for. */
export const TEXT_WEIGHT = 0.5;

/** Nobody scored it. More than nothing would put whoever lists anew above those who are scored badly. */
const UNSCORED = 0;
/** A promise counts half of a measurement. */
const PROMISED = 0.5;
/** 1,000 whole tokens of six decimals: from there on a price counts as dearest. */
const DEAREST_ATOMIC = 1_000_000_000;
/** A bond that counts half, atomic units of the bond token. */
const HALF_BOND_ATOMIC = 100_000_000;
const SLOW_MS = 1_000;

type Parts = Record<keyof typeof QUALITY_WEIGHTS, { value: number; why: string }>;

/** @param token the chain's: prices in another are not compared. */
export function qualityOf(measured: Measured, token: Address): { quality: number; parts: Parts } {
  const parts: Parts = {
    reputation: reputationPart(measured.reputation),
    uptime: percentPart(measured.uptime, "of probes answered"),
    latency: latencyPart(measured),
    honesty: percentPart(measured.honesty, "of probes saw the registry's terms"),
    price: pricePart(measured, token),
    bond: { value: rounded(Number(measured.bond) / (Number(measured.bond) + HALF_BOND_ATOMIC)), why: measured.bond === 0n ? "no bond" : `${measured.bond} atomic units stand` },
  };
  const quality = Object.entries(QUALITY_WEIGHTS).reduce((sum, [name, weight]) => sum + weight * parts[name as keyof Parts].value, 0);
  return { quality: rounded(quality), parts };
}

/** The place of a service, taken apart. `textMatch` undefined: no text was asked for. */
export function explain(measured: Measured, token: Address, textMatch: number | undefined, textWhy = "full-text rank of the words"): Rank {
  const { parts } = qualityOf(measured, token);
  const share = textMatch === undefined ? 1 : 1 - TEXT_WEIGHT;
  const factors = Object.entries(QUALITY_WEIGHTS).map(([factor, weight]) => factorOf(factor, weight * share, parts[factor as keyof Parts].value, parts[factor as keyof Parts].why));
  if (textMatch !== undefined) factors.unshift(factorOf("text", TEXT_WEIGHT, rounded(textMatch), textWhy));
  return { score: rounded(factors.reduce((sum, { contribution }) => sum + contribution, 0)), factors };
}

function factorOf(factor: string, weight: number, value: number, why: string): Factor {
  return { factor, weight: rounded(weight), value, contribution: rounded(weight * value), why };
}

function reputationPart(overall: number | undefined): { value: number; why: string } {
  if (overall === undefined) return { value: UNSCORED, why: "not scored yet" };
  return { value: rounded(clamped(overall / 100)), why: `scored ${overall} of 100 from settled receipts` };
}

function percentPart(percent: number | undefined, what: string): { value: number; why: string } {
  return percent === undefined ? { value: 0, why: "not measured yet" } : { value: rounded(clamped(percent / 100)), why: `${percent} % ${what}` };
}

function latencyPart({ p90Ms, promisedLatencyMs }: Measured): { value: number; why: string } {
  if (p90Ms !== undefined) return { value: rounded(1 / (1 + p90Ms / SLOW_MS)), why: `nine in ten answers within ${p90Ms} ms` };
  if (promisedLatencyMs !== undefined) return { value: rounded(PROMISED / (1 + promisedLatencyMs / SLOW_MS)), why: `${promisedLatencyMs} ms promised, not measured yet` };
  return { value: 0, why: "neither measured nor promised" };
}

/** By the logarithm, against a fixed scale: no listing can make the others look dear. */
function pricePart({ price, token: asked }: Measured, token: Address): { value: number; why: string } {
  if (!isAddressEqual(asked, token)) return { value: 0, why: "in another token, not compared" };
  return { value: rounded(clamped(1 - Math.log1p(Number(price)) / Math.log1p(DEAREST_ATOMIC))), why: `${price} atomic units a call` };
}

const clamped = (value: number): number => Math.min(1, Math.max(0, value));
/** Six decimals: what is shown adds up to what is shown. */
export const rounded = (value: number): number => Math.round(value * 1e6) / 1e6;

// ---------------------------------------------------------------- questions

export const MOST_OFFSET = 10_000;
export const MOST_TEXT = 1_000;

/**
 * A text as it is looked up: cut, without what PostgreSQL cannot hold. It takes any text for a search, but nests a negation a dash: a
 * thousand of them are deeper than its stack, and more than one means nothing.
 */
export function searchText(text: string): string {
  return text.slice(0, MOST_TEXT).toWellFormed().replaceAll("\0", " ").replace(/-[\s"-]*-/g, " ").trim();
}

export function cursorOf(offset: number): string {
  return Buffer.from(`o${offset}`).toString("base64url");
}

/** @throws TallystickError 400 `cursor_invalid`. */
export function offsetOf(cursor: string | undefined): number {
  if (cursor === undefined || cursor === "") return 0;
  const [, digits] = /^o(\d{1,6})$/.exec(Buffer.from(cursor, "base64url").toString("latin1")) ?? [];
  const offset = digits === undefined ? Number.NaN : Number(digits);
  if (offset <= MOST_OFFSET) return offset;
  throw new TallystickError({ code: "cursor_invalid", status: 400, retry: "never", field: "cursor", detail: "The cursor is none that was given out here." });
}

/** Decimal whole tokens ("$0.01", "0.01") to atomic units, exactly. @throws TallystickError 400 `price_malformed`. */
export function atomicOf(price: string, field: string): bigint {
  const [, whole, fraction = ""] = /^\$?(\d{1,20})(?:\.(\d{1,6}))?$/.exec(price.trim()) ?? [];
  if (whole === undefined) throw new TallystickError({ code: "price_malformed", status: 400, retry: "never", field, detail: `${field} must be a decimal with at most six decimals, such as "0.01".` });
  return BigInt(whole + fraction.padEnd(6, "0"));
}

/** Atomic units of a token of six decimals as a decimal. */
export function decimalOf(atomic: bigint): string {
  const digits = atomic.toString().padStart(7, "0");
  return `${digits.slice(0, -6)}.${digits.slice(-6)}`.replace(/\.?0+$/, "");
}
