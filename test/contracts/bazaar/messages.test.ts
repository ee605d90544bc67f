// What is signed for the bazaar has one home, sdk/src/bazaar.ts and bazaar-messages.ts; trees of receipts have receipt-tree.ts.
// Here each is compared with the contract, for random values.
import { expect } from "chai";
import { TypedDataEncoder } from "ethers";
import fc from "fast-check";
import { getAddress, keccak256, toHex } from "viem";
import {
  listServiceDigest, listServiceTypes, rateServiceDigest, rateServiceTypes, setServiceStatusDigest, setServiceStatusTypes, unbondServiceDigest, unbondServiceTypes, updateServiceDigest, updateServiceTypes,
} from "../../../sdk/src/bazaar-messages.ts";
import {
  bitmapOf, capabilityTag, jobSourceOf, namesOf, offerHashOf, readCapabilityTag, SERVICE_SCHEMES, SERVICE_STATUSES, serviceIdOf, serviceOfferTypes, serviceTermsTypes, serviceTypes, termsHashOf, type ServiceTerms,
} from "../../../sdk/src/bazaar.ts";
import { isReceiptProven, receiptProof, receiptsRoot } from "../../../sdk/src/receipt-tree.ts";
import { BY_SENDER, bazaarAs, createBazaarWorld, PROVIDER, providerKey, termsOf, type BazaarWorld } from "../../support/bazaar-world.ts";
import { CHAIN_ID, send } from "../../support/session-world.ts";

const address = fc.uint8Array({ minLength: 20, maxLength: 20 }).map((bytes) => getAddress(toHex(bytes)));
const bytes32 = fc.uint8Array({ minLength: 32, maxLength: 32 }).map((bytes) => toHex(bytes));
const uint = (bits: number) => fc.bigInt({ min: 0n, max: (1n << BigInt(bits)) - 1n });
const terms: fc.Arbitrary<ServiceTerms> = fc.record({
  payTo: address, token: address,
  offer: fc.record({
    capability: bytes32, categories: uint(64), price: uint(128), schemes: uint(16).map(Number), visibility: fc.integer({ min: 0, max: 1 }), contentHash: bytes32, uri: fc.string({ unit: "grapheme", maxLength: 200 }),
  }),
});
const key = fc.record({ agent: uint(256), owner: address, salt: bytes32 });
const revision = uint(24).map(Number);
const RUNS = { numRuns: 40 };

describe("bazaar messages", () => {
  let world: BazaarWorld;
  before(async () => void (world = await createBazaarWorld()));
  after(() => world.connection.close());
  const ask = (name: string, ...args: unknown[]): Promise<unknown> => world.bazaar.getFunction(name)(...args);

  const typehashes: [string, string, Record<string, readonly { name: string; type: string }[]>][] = [
    ["SERVICE_TYPEHASH", "Service", serviceTypes], ["OFFER_TYPEHASH", "ServiceOffer", serviceOfferTypes], ["TERMS_TYPEHASH", "ServiceTerms", serviceTermsTypes],
    ["LIST_TYPEHASH", "ListService", listServiceTypes], ["UPDATE_TYPEHASH", "UpdateService", updateServiceTypes], ["STATUS_TYPEHASH", "SetServiceStatus", setServiceStatusTypes],
    ["UNBOND_TYPEHASH", "UnbondService", unbondServiceTypes], ["RATING_TYPEHASH", "RateService", rateServiceTypes],
  ];
  for (const [getter, primaryType, types] of typehashes) {
    it(getter, async () => {
      expect(await ask(getter)).to.equal(keccak256(toHex(TypedDataEncoder.from(types as Record<string, { name: string; type: string }[]>).encodeType(primaryType))));
    });
  }

  it("the domain", async () => {
    const [, name, version, chainId, verifyingContract] = (await ask("eip712Domain")) as [string, string, string, bigint, string];
    expect({ name, version, chainId: Number(chainId), verifyingContract }).to.deep.equal(world.bazaarDomain);
  });

  it("ids, offers and job sources", async () => {
    await fc.assert(
      fc.asyncProperty(key, terms, uint(256), async (random, { offer }, jobId) => {
        expect(await ask("getServiceId", random)).to.equal(serviceIdOf(world.bazaarDomain, random));
        expect(await ask("getOfferHash", offer)).to.equal(offerHashOf(offer));
        expect(await ask("jobSource", jobId)).to.equal(jobSourceOf(CHAIN_ID, (await ask("jobs")) as `0x${string}`, jobId));
      }),
      RUNS,
    );
  });

  it("digests of listings and updates", async () => {
    await fc.assert(
      fc.asyncProperty(bytes32, terms, fc.boolean(), revision, uint(256), async (serviceId, random, publish, at, deadline) => {
        expect(await ask("getListDigest", serviceId, random, publish, deadline)).to.equal(listServiceDigest(world.bazaarDomain, { serviceId, terms: random, publish, deadline }));
        expect(await ask("getUpdateDigest", serviceId, at, random, deadline)).to.equal(updateServiceDigest(world.bazaarDomain, { serviceId, revision: at, terms: random, deadline }));
      }),
      RUNS,
    );
  });

  it("digests of statuses, bonds and ratings", async () => {
    const rating = fc.record({ serviceId: bytes32, source: bytes32, claimed: uint(128), score: uint(8).map(Number), details: bytes32, forward: fc.boolean(), deadline: uint(256) });
    await fc.assert(
      fc.asyncProperty(rating, revision, fc.constantFrom(...SERVICE_STATUSES), async (random, at, status) => {
        const { serviceId, source, claimed: amount, deadline } = random;
        expect(await ask("getStatusDigest", serviceId, at, SERVICE_STATUSES.indexOf(status), deadline)).to.equal(setServiceStatusDigest(world.bazaarDomain, { serviceId, revision: at, status, deadline }));
        expect(await ask("getUnbondDigest", serviceId, at, amount, deadline)).to.equal(unbondServiceDigest(world.bazaarDomain, { serviceId, revision: at, amount, deadline }));
        expect(await ask("getRatingDigest", serviceId, source, amount, { ...random, signature: "0x" })).to.equal(rateServiceDigest(world.bazaarDomain, random));
      }),
      RUNS,
    );
  });

  it("the terms tag that the registry keeps", async () => {
    await send(await bazaarAs(world, PROVIDER), "list", providerKey(1n), termsOf(world), true, BY_SENDER);
    const state = (await ask("services", serviceIdOf(world.bazaarDomain, providerKey(1n)))) as { termsTag: string };
    expect(state.termsTag).to.equal(termsHashOf(termsOf(world)).slice(0, 52));
  });

  it("receipts: every one of a tree is proven on chain, and no other", async () => {
    for (const count of [1, 2, 3, 5, 8, 13]) {
      const receipts = Array.from({ length: count }, (_, n) => keccak256(toHex(`receipt ${n} of ${count}`)));
      const root = receiptsRoot(receipts);
      const stranger = keccak256(toHex("stranger"));
      for (const receipt of receipts) {
        const proof = receiptProof(receipts, receipt);
        expect([await ask("isReceiptProven", receipt, root, proof), isReceiptProven(root, receipt, proof)]).to.deep.equal([true, true]);
        expect([await ask("isReceiptProven", stranger, root, proof), isReceiptProven(root, stranger, proof)]).to.deep.equal([false, false]);
      }
      expect(() => receiptProof(receipts, stranger)).to.throw().with.property("code", "receipt_not_found");
    }
    expect(() => receiptsRoot([])).to.throw().with.property("code", "invalid_receipts");
  });
});

describe("names of services", () => {
  it("capability tags come back as they went, and nothing else reads as one", () => {
    expect(readCapabilityTag(capabilityTag("web.search"))).to.equal("web.search");
    for (const wrong of ["", "Web", "a b", "<script>", "x".repeat(33), ".a"]) expect(() => capabilityTag(wrong)).to.throw(RangeError);
    fc.assert(fc.property(bytes32, (word) => {
      const tag = readCapabilityTag(word);
      if (tag !== undefined) expect(capabilityTag(tag)).to.equal(word);
    }));
  });

  it("bitmaps name what they were made of", () => {
    expect(namesOf(SERVICE_SCHEMES, bitmapOf(SERVICE_SCHEMES, ["upto", "exact"]))).to.deep.equal(["exact", "upto"]);
    expect(() => bitmapOf(SERVICE_SCHEMES, ["cash"])).to.throw(RangeError);
  });
});
