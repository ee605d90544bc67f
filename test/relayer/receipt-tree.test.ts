// The fast tree against the SDK's, and a receipt whose texts are hidden against the whole one.
import { expect } from "chai";
import fc from "fast-check";
import { bytesToHex, getAddress, hexToBytes, type Hex } from "viem";
import { proofIn, receiptTree } from "../../relayer/src/crypto/receipt-tree.ts";
import { SESSION_CHANNELS } from "../../sdk/src/constants.ts";
import { fromWireReceipt, receiptHash, toWireReceipt, type Receipt } from "../../sdk/src/receipt.ts";
import { publicReceipt, publicReceiptHash } from "../../sdk/src/receipt-public.ts";
import { isReceiptProven, receiptProof, receiptsRoot } from "../../sdk/src/receipt-tree.ts";
import { firstReceiptTypes, receiptDomain, receiptTypes } from "../../sdk/src/typed-data.ts";

const digest = fc.uint8Array({ minLength: 32, maxLength: 32 });
const hexOf = (bytes: Uint8Array): Hex => bytesToHex(bytes);

describe("trees of receipts", () => {
  it("has the roots and proofs of the SDK's, repeated digests too", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(digest, { minLength: 1, maxLength: 70 }), fc.nat(), async (digests, pick) => {
        const all = [...digests, ...digests.slice(0, pick % 3)];
        const tree = await receiptTree(Buffer.concat(all));
        expect(hexOf(tree.root)).to.equal(receiptsRoot(all.map(hexOf)));
        const one = all[pick % all.length]!;
        const proof = proofIn(tree, Buffer.from(one))!.map(hexOf);
        expect(proof).to.deep.equal(receiptProof(all.map(hexOf), hexOf(one)));
        expect(isReceiptProven(hexOf(tree.root), hexOf(one), proof)).to.equal(true);
      }),
      { numRuns: 100 },
    );
  });

  it("proves nothing that is not in it, not even its own nodes", async () => {
    const digests = Array.from({ length: 9 }, (_, i) => Buffer.alloc(32, i + 1));
    const tree = await receiptTree(Buffer.concat(digests));
    expect(proofIn(tree, Buffer.alloc(32, 77))).to.equal(undefined);
    for (let node = 0; node < tree.nodes.length / 32; node++) expect(proofIn(tree, tree.nodes.subarray(32 * node, 32 * node + 32))).to.equal(undefined);
  });

  it("a receipt with its texts hidden has the digest of the whole one, and does not show them", () => {
    const receiptOf = (types: readonly { name: string; type: string }[], texts: Record<string, string>, bytes: Uint8Array, number: bigint): Receipt => {
      const value = (type: string, name: string): unknown => (type === "string" ? texts[name] : type === "address" ? getAddress(hexOf(bytes.slice(0, 20))) : type === "bytes32" ? hexOf(bytes) : type === "uint8" ? 1 : number);
      return Object.fromEntries(types.map(({ name, type }) => [name, value(type, name)])) as unknown as Receipt;
    };
    const domain = receiptDomain(84532, SESSION_CHANNELS);
    fc.assert(
      fc.property(fc.record({ paymentId: fc.string(), scheme: fc.string(), resource: fc.string({ minLength: 12, unit: "binary" }) }), digest, fc.bigInt(0n, (1n << 64n) - 1n), fc.boolean(), (texts, bytes, number, agreed) => {
        const wire = toWireReceipt(receiptOf(agreed ? receiptTypes.Receipt : firstReceiptTypes.Receipt, texts, bytes, number));
        const hidden = publicReceipt(wire);
        expect(publicReceiptHash(domain, hidden)).to.equal(receiptHash(domain, fromWireReceipt(wire)));
        expect(Object.keys(hidden)).to.not.include.members(["resource", "paymentId"]);
        expect(Object.values(hidden)).to.not.include(texts.resource);
        const other = { ...hidden, texts: { ...hidden.texts, resource: hexOf(hexToBytes(hidden.texts.resource).reverse()) } };
        expect(publicReceiptHash(domain, other)).to.not.equal(publicReceiptHash(domain, hidden));
      }),
      { numRuns: 50 },
    );
  });
});
