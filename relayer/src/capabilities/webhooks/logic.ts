// How a delivery is signed, and when the next attempt is due. Pure.
import { createHmac } from "node:crypto";

/** Attempts at one event before it is given up; with the pauses below, two days. */
export const MOST_ATTEMPTS = 16;
const LONGEST_PAUSE_S = 21_600;
const FIRST_PAUSE_S = 5;

export const pauseAfter = (attempts: number): number => Math.min(FIRST_PAUSE_S * 2 ** (attempts - 1), LONGEST_PAUSE_S);

/** Time and body are signed together, so that an old delivery cannot be shown again as a new one. */
export function signatureOf(secret: string, atS: number, body: string): string {
  return `t=${atS},v1=${createHmac("sha256", secret).update(`${atS}.${body}`).digest("hex")}`;
}

export const isWanted = (kinds: readonly string[], kind: string): boolean => kinds.length === 0 || kinds.some((beginning) => kind.startsWith(beginning));
