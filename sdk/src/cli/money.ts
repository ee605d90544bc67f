// USDC as people write it, atomic units as everything else counts.
import { formatUnits, parseUnits } from "viem";
import { usageError } from "./exit.ts";

const DECIMALS = 6; // of USDC, on every chain we know

/** "0.001" from 1000n. */
export function usdc(atomic: bigint): string {
  return formatUnits(atomic, DECIMALS);
}

/** 10000n from "0.01". @throws CliError `usage` when it is no amount with at most six decimals. */
export function parseUsdc(text: string, name: string): bigint {
  if (!/^\d{1,30}(?:\.\d{1,6})?$/.test(text)) throw usageError(`${name} must be an amount in USDC such as 0.01, with at most six decimals`);
  return parseUnits(text, DECIMALS);
}
