// What a transaction would cost on Base: execution gas plus the fee for publishing its bytes on L1 (Fjord's formula).
import { hexToBytes, type Hex } from "viem";
import { fastLzLength } from "./fastlz.ts";

/** Prices that the local chain cannot know. Printed with every cost; change them here. */
export type Prices = {
  l2GasPriceWei: bigint;
  l1BaseFeeWei: bigint;
  l1BlobBaseFeeWei: bigint;
  /** Set by the chain operator in the SystemConfig contract; Base's values. */
  baseFeeScalar: bigint;
  blobBaseFeeScalar: bigint;
  usdPerEther: number;
};

export const ASSUMED_PRICES: Prices = {
  l2GasPriceWei: 10_000_000n, // 0.01 gwei
  l1BaseFeeWei: 1_000_000_000n, // 1 gwei
  l1BlobBaseFeeWei: 62_500_000n, // a sixteenth of it: the floor that EIP-7918 gives blobs
  baseFeeScalar: 2_269n,
  blobBaseFeeScalar: 1_055_762n,
  usdPerEther: 3_000,
};

// Fjord specification, "Fees": size = max(100, -42.5856 + 0.836500 * FastLZ length), all in millionths.
const MIN_SIZE_SCALED = 100_000_000n;
const INTERCEPT_SCALED = -42_585_600n;
const FASTLZ_COEFFICIENT_SCALED = 836_500n;

/** Fee for publishing a signed transaction on L1, wei. */
export function l1FeeWei(signedTransaction: Uint8Array, prices: Prices): bigint {
  const regressed = INTERCEPT_SCALED + FASTLZ_COEFFICIENT_SCALED * BigInt(fastLzLength(signedTransaction));
  const sizeScaled = regressed > MIN_SIZE_SCALED ? regressed : MIN_SIZE_SCALED;
  const feeScaled = prices.baseFeeScalar * prices.l1BaseFeeWei * 16n + prices.blobBaseFeeScalar * prices.l1BlobBaseFeeWei;
  return (sizeScaled * feeScaled) / 1_000_000_000_000n;
}

/** Whole cost of a mined transaction, wei. */
export function transactionCostWei(transaction: { raw: Hex; gasUsed: bigint }, prices: Prices): bigint {
  return transaction.gasUsed * prices.l2GasPriceWei + l1FeeWei(hexToBytes(transaction.raw), prices);
}

/** Wei in US dollars; for display only. */
export function weiToUsd(wei: bigint, prices: Prices): number {
  return (Number(wei) / 1e18) * prices.usdPerEther;
}

/** The assumptions in one line. */
export function describePrices(prices: Prices): string {
  const gwei = (wei: bigint) => `${Number(wei) / 1e9} gwei`;
  return (
    `gas ${gwei(prices.l2GasPriceWei)}, L1 base fee ${gwei(prices.l1BaseFeeWei)}, blob base fee ${gwei(prices.l1BlobBaseFeeWei)}, ` +
    `scalars ${prices.baseFeeScalar} and ${prices.blobBaseFeeScalar}, ether ${prices.usdPerEther} USD`
  );
}
