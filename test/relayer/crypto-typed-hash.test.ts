// Prepared typed data against viem, for every type that is signed or checked here, and for values that must be refused.
import { expect } from "chai";
import fc from "fast-check";
import { bytesToHex, getAddress, hashDomain, hashTypedData, hexToBytes, type Address, type Hex, type TypedDataDomain } from "viem";
import { generatePrivateKey, privateKeyToAccount } from "viem/accounts";
import { keyringFromPrivateKeys } from "../../relayer/src/chain/keyring.ts";
import { domainSeparator, prepare, preparedByDomain, type Types } from "../../relayer/src/crypto/typed-hash.ts";
import { SESSION_CHANNELS } from "../../sdk/src/constants.ts";
import { receiptHash } from "../../sdk/src/receipt.ts";
import {
  allowanceCollectorDomain, channelConfigTypes, claimBatchTypes, depositAuthorizationTypes, firstReceiptTypes, packedClaimTypes, receiptAckTypes, receiptDomain, receiptTypes,
  receiveWithAuthorizationTypes, refundTypes, sessionChannelsDomain, transferWithAuthorizationTypes, voucherTypes, x402OfferDomain, x402OfferTypes,
  x402ReceiptDomain, x402ReceiptTypes,
} from "../../sdk/src/typed-data.ts";

const channels = sessionChannelsDomain(84532, SESSION_CHANNELS);
const receipts = receiptDomain(84532, SESSION_CHANNELS);
const token = { name: "USDC", version: "2", chainId: 8453, verifyingContract: "0x036CbD53842c5426634e7929541eC2318f3dCF7e" } as const;

/** A type, under the domain it is signed with. */
const SIGNED: [string, TypedDataDomain, Types][] = [
  ["ChannelConfig", channels, channelConfigTypes],
  ["Voucher", channels, voucherTypes],
  ["Refund", channels, refundTypes],
  ["ClaimBatch", channels, claimBatchTypes],
  ["PackedClaim", channels, packedClaimTypes],
  ["ReceiveWithAuthorization", token, receiveWithAuthorizationTypes],
  ["TransferWithAuthorization", token, transferWithAuthorizationTypes],
  ["DepositAuthorization", allowanceCollectorDomain(84532, SESSION_CHANNELS), depositAuthorizationTypes],
  ["Receipt", receipts, receiptTypes],
  ["Receipt", receipts, firstReceiptTypes],
  ["ReceiptAck", receipts, receiptAckTypes],
  ["Offer", x402OfferDomain, x402OfferTypes],
  ["Receipt", x402ReceiptDomain, x402ReceiptTypes],
  // What none of ours has: nesting, fixed bytes shorter than a word, a bool, arrays of words, a domain with a salt.
  [
    "Outer",
    { name: "é", salt: `0x${"07".repeat(32)}` },
    {
      Outer: [{ name: "one", type: "Inner" }, { name: "two", type: "Inner" }, { name: "many", type: "Inner[]" }, { name: "words", type: "uint256[]" }, { name: "ok", type: "bool" }],
      Inner: [{ name: "tag", type: "bytes4" }, { name: "text", type: "string" }, { name: "leaf", type: "Alpha" }],
      Alpha: [{ name: "small", type: "uint8" }],
    },
  ],
];

const hex = (min: number, max = min) => fc.uint8Array({ minLength: min, maxLength: max }).map((bytes) => bytesToHex(bytes));
const uint = (bits: number) => fc.oneof(fc.bigInt(0n, (1n << BigInt(bits)) - 1n), fc.constantFrom(0n, 1n, (1n << BigInt(bits)) - 1n), fc.bigInt(0n, (1n << BigInt(Math.min(bits, 64))) - 1n));

function valueOf(types: Types, type: string): fc.Arbitrary<unknown> {
  if (type.endsWith("[]")) return fc.array(valueOf(types, type.slice(0, -2)), { maxLength: 5 });
  const fields = types[type];
  if (fields !== undefined) return fc.record(Object.fromEntries(fields.map((field) => [field.name, valueOf(types, field.type)])));
  if (type === "address") return hex(20).map((value) => getAddress(value));
  if (type === "string") return fc.oneof(fc.string({ unit: "binary" }), fc.string({ minLength: 250, maxLength: 600 }), fc.constantFrom("", "eip155:84532"));
  if (type === "bytes") return hex(0, 300);
  if (type === "bool") return fc.boolean();
  const [, kind, size] = /^(uint|bytes)(\d+)$/.exec(type)!;
  return kind === "uint" ? uint(Number(size)) : hex(Number(size));
}

const viemDigest = (domain: TypedDataDomain, types: Types, primaryType: string, message: unknown): Hex =>
  hashTypedData({ domain, types, primaryType, message } as Parameters<typeof hashTypedData>[0]);

describe("prepared typed data", () => {
  for (const [primaryType, domain, types] of SIGNED) {
    it(`hashes ${primaryType} of ${domain.name} as viem does`, () => {
      const [hash, byDomain] = [prepare(domain, types, primaryType), preparedByDomain(types, primaryType)];
      fc.assert(fc.property(valueOf(types, primaryType), (message) => {
        const expected = viemDigest(domain, types, primaryType, message);
        // Twice: the second time from whatever is remembered, and over the same buffers.
        for (const made of [hash, hash, byDomain(domain)]) expect(bytesToHex(made(message as Record<string, unknown>))).to.equal(expected);
      }));
    });
  }

  it("separates domains as viem does, whatever fields they have", () => {
    fc.assert(fc.property(
      fc.record({ name: fc.string(), version: fc.string(), chainId: fc.nat(), verifyingContract: hex(20).map((value) => getAddress(value)), salt: hex(32) }, { requiredKeys: [] }),
      (domain) => {
        const EIP712Domain = (["name", "version", "chainId", "verifyingContract", "salt"] as const)
          .filter((name) => domain[name] !== undefined)
          .map((name) => ({ name, type: { name: "string", version: "string", chainId: "uint256", verifyingContract: "address", salt: "bytes32" }[name] }));
        expect(bytesToHex(domainSeparator(domain))).to.equal(hashDomain({ domain, types: { EIP712Domain } } as unknown as Parameters<typeof hashDomain>[0]));
      },
    ));
  });

  it("keeps domains apart that differ in one field", () => {
    const byDomain = preparedByDomain(voucherTypes, "Voucher");
    const message = { channelId: `0x${"01".repeat(32)}`, maxClaimableAmount: 1n };
    const others = [{ ...channels, chainId: 8453 }, { ...channels, name: "x" }, { ...channels, version: "2" }, { ...channels, verifyingContract: token.verifyingContract }];
    const digests = [channels, ...others].map((domain) => bytesToHex(byDomain(domain)(message)));
    expect(new Set(digests).size).to.equal(5);
    expect([channels, ...others].map((domain) => bytesToHex(byDomain(domain)(message)))).to.deep.equal(digests);
  });

  const all = { a: "address", s: "string", y: "bytes", b: "bool", u: "uint64", w: "uint256", h: "bytes32", l: "uint8[]" };
  const types = { T: Object.entries(all).map(([name, type]) => ({ name, type })) };
  const good = { a: token.verifyingContract, s: "", y: "0x", b: true, u: 1, w: 0n, h: `0x${"00".repeat(32)}`, l: [1] };
  const refused: Record<string, unknown[]> = {
    a: [undefined, null, 5, "", "0x", `0x${"1".repeat(39)}`, `0x${"1".repeat(41)}`, `0x${"1".repeat(39)}g`, "1".repeat(42), `0x${"é".repeat(40)}`],
    s: [undefined, 5, Buffer.from("x")],
    y: [undefined, "", "0", "0x0", "0xzz", "zz", 7],
    b: [undefined, 0, "true"],
    u: [undefined, -1, -1n, 1n << 64n, 2 ** 60, 1.5, NaN, "1"],
    w: [-1n, 1n << 256n, Infinity],
    h: [`0x${"00".repeat(31)}`, `0x${"00".repeat(33)}`, `0x${"00".repeat(31)}0g`, new Uint8Array(32)],
    l: [undefined, {}, "11", [256], [undefined]],
  };
  for (const [field, values] of Object.entries(refused)) {
    it(`refuses what is no ${all[field as keyof typeof all]}, and goes on well after it`, () => {
      const hash = prepare(channels, types, "T");
      const expected = viemDigest(channels, types, "T", good);
      for (const value of values) {
        expect(() => hash({ ...good, [field]: value }), String(value)).to.throw(RangeError, `T.${field}`);
        expect(bytesToHex(hash(good))).to.equal(expected);
      }
    });
  }

  it("refuses types it cannot hash when it prepares, not when it hashes", () => {
    const one = (type: string) => ({ T: [{ name: "x", type }] });
    for (const type of ["int256", "uint256[2]", "bytes33", "bytes0", "Missing", "T", "T[]"]) expect(() => prepare({}, one(type), "T"), type).to.throw(RangeError);
  });
});

describe("the keyring's signatures", () => {
  const key = generatePrivateKey();
  const account = privateKeyToAccount(key);
  const ring = keyringFromPrivateKeys([key, generatePrivateKey()]);
  const signer = ring.signerFor(account.address);
  const SIGN = {
    signReceipt: { domain: receipts, types: receiptTypes, primaryType: "Receipt" },
    signRefund: { domain: channels, types: refundTypes, primaryType: "Refund" },
    signPackedClaim: { domain: channels, types: packedClaimTypes, primaryType: "PackedClaim" },
  } as const;

  for (const [name, { domain, types, primaryType }] of Object.entries(SIGN)) {
    it(`${name} signs as viem's account does, to the byte`, async () => {
      await fc.assert(fc.asyncProperty(valueOf(types, primaryType), async (message) => {
        const expected = await account.signTypedData({ domain, types, primaryType, message } as Parameters<typeof account.signTypedData>[0]);
        expect(await signer[name as keyof typeof SIGN](domain as never, message as never)).to.equal(expected);
      }), { numRuns: 25 });
    });
  }

  it("signClaimBatch signs as viem's account does, to the byte", async () => {
    await fc.assert(fc.asyncProperty(valueOf(claimBatchTypes, "ClaimEntry[]"), async (value) => {
      const claims = value as Parameters<typeof signer.signClaimBatch>[1];
      expect(await signer.signClaimBatch(channels, claims)).to.equal(await account.signTypedData({ domain: channels, types: claimBatchTypes, primaryType: "ClaimBatch", message: { claims } }));
    }), { numRuns: 25 });
  });

  it("x402's offers and receipts, which hold plain numbers, are signed as viem's account signs them", async () => {
    const offer = { version: 1, resourceUrl: "http://a/é", scheme: "batch-settlement", network: "eip155:84532", asset: "0x1", payTo: "0x2", amount: "10", validUntil: 1_800_000_000 };
    const receipt = { version: 1, network: "eip155:84532", resourceUrl: "http://a", payer: "0x3", issuedAt: 1_800_000_000, transaction: "" };
    const ofOffer = await account.signTypedData({ domain: x402OfferDomain, types: x402OfferTypes, primaryType: "Offer", message: { ...offer, version: 1n, validUntil: 1_800_000_000n } });
    const ofReceipt = await account.signTypedData({ domain: x402ReceiptDomain, types: x402ReceiptTypes, primaryType: "Receipt", message: { ...receipt, version: 1n, issuedAt: 1_800_000_000n } });
    expect(await signer.signX402Offer(offer)).to.equal(ofOffer);
    expect(await signer.signX402Receipt(receipt)).to.equal(ofReceipt);
  });

  it("finds a key whatever the case of its address, and says which it lacks", () => {
    const lower = account.address.toLowerCase() as Address;
    expect(ring.active).to.equal(account.address);
    expect(ring.has(lower)).to.equal(true);
    expect(ring.signerFor(lower)).to.equal(signer);
    expect(ring.has(SESSION_CHANNELS)).to.equal(false);
    expect(() => ring.signerFor(SESSION_CHANNELS)).to.throw().with.property("code", "authorizer_unknown");
  });

  it("a receipt of before agreements were in them is signed as it was then", async () => {
    await fc.assert(fc.asyncProperty(valueOf(firstReceiptTypes, "Receipt"), async (receipt) => {
      const value = receipt as Parameters<typeof receiptHash>[1];
      const expected = await account.signTypedData({ domain: receipts, types: firstReceiptTypes, primaryType: "Receipt", message: value });
      expect(await signer.signReceipt(receipts, value)).to.equal(expected);
      expect(await account.sign({ hash: receiptHash(receipts, value) })).to.equal(expected);
    }), { numRuns: 25 });
  });

  it("a receipt's hash is what was signed", async () => {
    await fc.assert(fc.asyncProperty(valueOf(receiptTypes, "Receipt"), async (receipt) => {
      const value = receipt as Parameters<typeof receiptHash>[1];
      expect(await signer.signReceipt(receipts, value)).to.equal(await account.sign({ hash: receiptHash(receipts, value) }));
      expect(hexToBytes(receiptHash(receipts, value))).to.deep.equal(prepare(receipts, receiptTypes, "Receipt")(value));
    }), { numRuns: 25 });
  });
});
