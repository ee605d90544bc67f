// What a claim costs, before it is made: upper bounds of gas and calldata by its parts, and gas in token units. Pure.
// Measured by `npm run bench -- gas` (bench/results/gas.json), with room for receivers that were never paid and for proxied tokens.
import { size, type Hex } from "viem";

export type Form = "packed" | "plain";
export type Size = { gas: bigint; bytes: number };

/** The transaction itself, with multicall around its calls and, in the plain form, one authorization. */
export const TRANSACTION: Record<Form, Size> = { packed: { gas: 30_000n, bytes: 512 }, plain: { gas: 44_000n, bytes: 640 } };
/** What a receiver (plain), or a group of equal terms (packed), adds: header, authorization, event, the receiver's total. */
export const GROUP: Record<Form, Size> = { packed: { gas: 42_000n, bytes: 576 }, plain: { gas: 24_000n, bytes: 0 } };
/** A payout in the same transaction: a transfer of a proxied token to an account that never held it. */
export const PAYOUT: Size = { gas: 85_000n, bytes: 192 };
/** The most that is spent on a voucher that the payer's own code checks. */
export const CONTRACT_WALLET_GAS = 300_000n;

const ROW_GAS: Record<Form, bigint> = { packed: 12_500n, plain: 19_500n };
/** A packed row with every flag set. */
const PACKED_ROW_BYTES = 169;
const PLAIN_ROW_BYTES = 384;

export function rowSize(form: Form, { signature }: { signature: Hex }): Size {
  if (form === "packed") return { gas: ROW_GAS.packed, bytes: PACKED_ROW_BYTES };
  return { gas: ROW_GAS.plain, bytes: PLAIN_ROW_BYTES + 32 * Math.ceil(size(signature) / 32) };
}

export function add(a: Size, b: Size): Size {
  return { gas: a.gas + b.gas, bytes: a.bytes + b.bytes };
}

/** @param gasPriceWei what a unit of gas costs now. @param etherPriceAtomic token units that an ether is worth; 0: gas counts for nothing. */
export type Prices = { gasPriceWei: bigint; etherPriceAtomic: bigint };

const WEI = 10n ** 18n;

/** Gas in atomic token units, rounded up. */
export function gasCostAtomic(gas: bigint, { gasPriceWei, etherPriceAtomic }: Prices): bigint {
  return (gas * gasPriceWei * etherPriceAtomic + WEI - 1n) / WEI;
}

const BPS = 10_000n;

/** Is the gas at most so many hundredths of a percent of the value? */
export function isWithinShare(gas: bigint, valueAtomic: bigint, shareBps: bigint, prices: Prices): boolean {
  return gasCostAtomic(gas, prices) * BPS <= valueAtomic * shareBps;
}
