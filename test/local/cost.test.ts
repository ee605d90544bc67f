import { expect } from "chai";
import { hexToBytes } from "viem";
import { ASSUMED_PRICES, l1FeeWei, transactionCostWei } from "../../scripts/local/cost.ts";
import { fastLzLength } from "../../scripts/local/fastlz.ts";

/** A contract call of 344 bytes, from the OP stack's reference vectors. */
const CONTRACT_CALL = hexToBytes(
  "0x02f901550a758302df1483be21b88304743f94f80e51afb613d764fa61751affd3313c190a86bb870151bd62fd12adb8e41ef24f3f000000000000000000000000000000000000000000000000000000000000006e000000000000000000000000af88d065e77c8cc2239327c5edb3a432268e5831000000000000000000000000000000000000000000000000000000000003c1e500000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000a000000000000000000000000000000000000000000000000000000000000000148c89ed219d02f1a5be012c689b4f5b731827bebe000000000000000000000000c001a033fd89cb37c31b2cba46b6466e040c61fc9b2a3675a7f5f493ebd5ad77c497f8a07cdf65680e238392693019b4092f610222e71b7cec06449cb922b93b6a12744e",
);
const EMPTY_TRANSFER = hexToBytes("0xdd80808094095e7baea6a6c7c4c2dfeb977efac326af552d878080808080");

describe("cost of a transaction", () => {
  it("FastLZ lengths equal the OP stack's reference vectors", () => {
    expect(fastLzLength(new Uint8Array())).equal(0);
    expect(fastLzLength(new Uint8Array(1000).fill(1))).equal(21);
    expect(fastLzLength(new Uint8Array(1000))).equal(21);
    expect(fastLzLength(EMPTY_TRANSFER)).equal(31);
    expect(fastLzLength(CONTRACT_CALL)).equal(202);
  });

  it("never reads outside of short inputs", () => {
    for (let length = 0; length < 64; length++) {
      const distinct = Uint8Array.from({ length }, (_, index) => index * 37);
      expect(fastLzLength(distinct), `${length} bytes`).equal(length + Math.ceil(length / 32));
    }
  });

  it("small transactions pay for 100 bytes", () => {
    const perByte = 16n * ASSUMED_PRICES.baseFeeScalar * ASSUMED_PRICES.l1BaseFeeWei + ASSUMED_PRICES.blobBaseFeeScalar * ASSUMED_PRICES.l1BlobBaseFeeWei;
    expect(l1FeeWei(EMPTY_TRANSFER, ASSUMED_PRICES)).equal((100n * perByte) / 1_000_000n);
  });

  it("larger ones pay by the regression of the Fjord specification", () => {
    const prices = { ...ASSUMED_PRICES, baseFeeScalar: 1n, blobBaseFeeScalar: 0n, l1BaseFeeWei: 1_000_000n, l2GasPriceWei: 2n };
    // (-42.5856 + 0.8365 * 202) bytes * 16 wei
    expect(l1FeeWei(CONTRACT_CALL, prices)).equal(2022n);
    const raw = `0x${Buffer.from(CONTRACT_CALL).toString("hex")}` as const;
    expect(transactionCostWei({ raw, gasUsed: 1000n }, prices)).equal(2000n + 2022n);
  });
});
