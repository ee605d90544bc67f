// The size that Base charges its L1 data fee for: vectors of the reference (op-geth), and properties of the format.
import { expect } from "chai";
import fc from "fast-check";
import { fastLzLength, l1Bytes } from "../../bench/fastlz.ts";

const hex = (text: string) => Buffer.from(text, "hex");
const CONTRACT_CALL = hex(
  "02f901550a758302df1483be21b88304743f94f80e51afb613d764fa61751affd3313c190a86bb870151bd62fd12adb8e41ef24f3f" +
    `${"00".repeat(31)}6e${"00".repeat(12)}af88d065e77c8cc2239327c5edb3a432268e5831${"00".repeat(29)}03c1e5${"00".repeat(63)}a0${"00".repeat(31)}` +
    `148c89ed219d02f1a5be012c689b4f5b731827bebe${"00".repeat(12)}` +
    "c001a033fd89cb37c31b2cba46b6466e040c61fc9b2a3675a7f5f493ebd5ad77c497f8a07cdf65680e238392693019b4092f610222e71b7cec06449cb922b93b6a12744e",
);

describe("the size that L1 charges for", () => {
  const VECTORS: [string, Uint8Array, number][] = [
    ["nothing", new Uint8Array(0), 0],
    ["a thousand ones", new Uint8Array(1000).fill(1), 21],
    ["a thousand zeros", new Uint8Array(1000), 21],
    ["an empty transaction", hex("dd80808094095e7baea6a6c7c4c2dfeb977efac326af552d878080808080"), 31],
    ["a contract call", CONTRACT_CALL, 202],
  ];
  for (const [name, data, length] of VECTORS) it(`is the reference's for ${name}`, () => expect(fastLzLength(data)).to.equal(length));

  it("is never more than literals alone, and hardly grows by what was there before", () => {
    fc.assert(fc.property(fc.uint8Array({ maxLength: 600 }), (bytes) => {
      const length = fastLzLength(bytes);
      expect(length).to.be.at.most(bytes.length + Math.ceil(bytes.length / 32));
      expect(fastLzLength(Buffer.concat([bytes, bytes]))).to.be.at.most(2 * bytes.length + Math.ceil(bytes.length / 16));
    }));
    const unlike = Uint8Array.from({ length: 256 }, (_, i) => (i * 167 + (i >> 3)) & 0xff);
    expect(fastLzLength(Buffer.concat([unlike, unlike]))).to.be.below(fastLzLength(unlike) + 40);
  });

  it("has a floor, and grows with the compressed length above it", () => {
    expect(l1Bytes(new Uint8Array(10))).to.equal(100);
    expect(l1Bytes(CONTRACT_CALL)).to.be.closeTo(0.8365 * 202 - 42.5856, 1e-9);
  });
});
