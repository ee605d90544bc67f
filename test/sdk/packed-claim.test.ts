import { expect } from "chai";
import fc from "fast-check";
import { concat, getAddress, pad, parseCompactSignature, serializeSignature, compactSignatureToSignature, size, zeroHash, type Hex } from "viem";
import { privateKeyToAccount } from "viem/accounts";
import {
  compactSignature,
  decodePackedResults,
  decodePackedRows,
  encodePackedResults,
  encodePackedRows,
  MalformedPackedBytes,
  packedResultCount,
  ROW_STATUSES,
  type PackedRow,
} from "../../sdk/src/packed-claim.ts";

const bytes = (length: number) => fc.uint8Array({ minLength: length, maxLength: length }).map((a): Hex => `0x${Buffer.from(a).toString("hex")}`);
const address = bytes(20).map((hex) => getAddress(hex));
const amount = fc.oneof(
  fc.bigInt(0n, (1n << 128n) - 1n),
  fc.bigInt(0n, (1n << 64n) - 1n),
  fc.constantFrom(0n, (1n << 64n) - 1n, 1n << 64n, (1n << 128n) - 1n),
);
const row: fc.Arbitrary<PackedRow> = fc
  .record({
    payer: address,
    other: fc.option(address),
    salt: fc.oneof(fc.constant(zeroHash), bytes(32)),
    maxClaimableAmount: amount,
    otherTotal: fc.option(amount),
    signature: bytes(64),
  })
  .map(({ payer, other, salt, maxClaimableAmount, otherTotal, signature }) => ({
    payer,
    payerAuthorizer: other ?? payer,
    salt,
    maxClaimableAmount,
    totalClaimed: otherTotal ?? maxClaimableAmount,
    signature,
  }));
const result = fc.record({
  status: fc.constantFrom(...ROW_STATUSES),
  channelId: bytes(32),
  claimAmount: amount,
  totalClaimed: amount,
});

const payer = getAddress(pad("0xa1", { size: 20 }));
const authorizer = getAddress(pad("0xb2", { size: 20 }));
const plain: PackedRow = {
  payer,
  payerAuthorizer: payer,
  salt: zeroHash,
  maxClaimableAmount: 5n,
  totalClaimed: 5n,
  signature: `0x${"11".repeat(64)}`,
};

describe("packed claim codec", () => {
  it("gives rows back as they were", () => {
    fc.assert(
      fc.property(fc.array(row, { maxLength: 20 }), (rows) => {
        expect(decodePackedRows(encodePackedRows(rows))).to.deep.equal(rows);
      }),
    );
  });

  it("gives results back as they were, 65 bytes each", () => {
    fc.assert(
      fc.property(fc.array(result, { maxLength: 20 }), (results) => {
        const encoded = encodePackedResults(results);
        expect(decodePackedResults(encoded)).to.deep.equal(results);
        expect(packedResultCount(encoded)).to.equal(results.length);
      }),
    );
  });

  it("spends bytes only on what differs from the default", () => {
    const length = (change: Partial<PackedRow>) => size(encodePackedRows([{ ...plain, ...change }]));
    expect(length({})).to.equal(1 + 20 + 8 + 64);
    expect(length({ payerAuthorizer: authorizer })).to.equal(93 + 20);
    expect(length({ salt: pad("0x01") })).to.equal(93 + 32);
    expect(length({ totalClaimed: 4n })).to.equal(93 + 8);
    expect(length({ maxClaimableAmount: 1n << 64n, totalClaimed: 1n << 64n })).to.equal(93 + 8);
    expect(length({ maxClaimableAmount: 1n << 64n, totalClaimed: 1n })).to.equal(93 + 8 + 16);
  });

  it("lays a row out as the contract reads it", () => {
    const full: PackedRow = { ...plain, payerAuthorizer: authorizer, salt: pad("0x07"), maxClaimableAmount: 1n << 64n, totalClaimed: 3n };
    expect(encodePackedRows([full])).to.equal(
      concat(["0x0f", payer, authorizer, pad("0x07"), pad("0x010000000000000000", { size: 16 }), pad("0x03", { size: 16 }), full.signature]).toLowerCase(),
    );
  });

  it("accepts rows written longer than needed", () => {
    const long = concat(["0x0f", payer, payer, zeroHash, pad("0x05", { size: 16 }), pad("0x05", { size: 16 }), plain.signature]);
    expect(decodePackedRows(long)).to.deep.equal([plain]);
  });

  it("refuses bytes that end inside a row, wherever they are cut, and names the row", () => {
    const encoded = encodePackedRows([plain, { ...plain, salt: pad("0x01") }]);
    fc.assert(
      fc.property(fc.integer({ min: 1, max: size(encoded) - 1 }), (cut) => {
        fc.pre(cut !== 93);
        const part = encoded.slice(0, 2 + 2 * cut) as Hex;
        expect(() => decodePackedRows(part))
          .to.throw(MalformedPackedBytes)
          .with.property("offset", cut < 93 ? 0 : 93);
      }),
    );
  });

  it("refuses unknown flags and statuses", () => {
    fc.assert(
      fc.property(fc.integer({ min: 0x10, max: 0xff }), (flags) => {
        const bad = concat([`0x${flags.toString(16)}`, `0x${encodePackedRows([plain]).slice(4)}`]);
        expect(() => decodePackedRows(bad)).to.throw(MalformedPackedBytes);
      }),
    );
    expect(() => decodePackedResults(`0x07${"00".repeat(64)}`)).to.throw(MalformedPackedBytes);
    expect(() => decodePackedResults(`0x00${"00".repeat(63)}`)).to.throw(MalformedPackedBytes);
  });

  it("refuses amounts and signatures that do not fit", () => {
    expect(() => encodePackedRows([{ ...plain, maxClaimableAmount: 1n << 128n }])).to.throw(RangeError);
    expect(() => encodePackedRows([{ ...plain, totalClaimed: -1n }])).to.throw(RangeError);
    expect(() => encodePackedRows([{ ...plain, signature: "0x1234" }])).to.throw(RangeError);
    expect(() => encodePackedRows([{ ...plain, salt: "0x1234" }])).to.throw(RangeError);
    expect(() => compactSignature(`0x${"11".repeat(32)}${"ff".repeat(32)}1b`)).to.throw(RangeError);
    expect(() => compactSignature(`0x${"11".repeat(64)}1d`)).to.throw(RangeError);
  });

  it("compacts real signatures reversibly", async () => {
    const account = privateKeyToAccount(`0x${"42".repeat(32)}`);
    for (let index = 0; index < 32; index++) {
      const signature = await account.signMessage({ message: `voucher ${index}` });
      const compact = compactSignature(signature);
      expect(serializeSignature(compactSignatureToSignature(parseCompactSignature(compact)))).to.equal(signature);
      expect(compactSignature(compact)).to.equal(compact);
    }
  });
});
