// What is signed under a mandate has one home, sdk/src/mandate.ts and mandate-messages.ts; payees' trees have payees.ts. Here
// each is compared with the contract, for random values.
import { expect } from "chai";
import type { Contract } from "ethers";
import fc from "fast-check";
import { getAddress, keccak256, toHex, zeroHash, type Hex } from "viem";
import { mandateDepositDigest, mandateDepositTypes, mandateRevocationDigest, mandateRevocationTypes, mandateSpendDigest, mandateSpendTypes, spendOrder } from "../../../sdk/src/mandate-messages.ts";
import { mandateIdOf, mandateTypes, type Mandate } from "../../../sdk/src/mandate.ts";
import { isPayeeProven, payeeLeaf, payeeProof, payeesRoot } from "../../../sdk/src/payees.ts";
import { AGENT, createMandateWorld, mandateOf, PRINCIPAL, registryAs, unsigned, type MandateWorld } from "../../support/mandate-world.ts";
import { actor, send } from "../../support/session-world.ts";

const address = fc.uint8Array({ minLength: 20, maxLength: 20 }).map((bytes) => getAddress(toHex(bytes)));
const bytes32 = fc.uint8Array({ minLength: 32, maxLength: 32 }).map((bytes) => toHex(bytes));
const uint = (bits: number) => fc.bigInt({ min: 0n, max: (1n << BigInt(bits)) - 1n });
const seconds = uint(40).map(Number);
const mandate: fc.Arbitrary<Mandate> = fc.record({
  principal: address, delegate: address, token: address, limit: uint(128), periodLimit: uint(128), paymentLimit: uint(128),
  period: seconds, validAfter: seconds, validUntil: seconds, epoch: uint(32).map(Number),
  payeesRoot: bytes32, capability: bytes32, parent: bytes32, terms: bytes32, salt: bytes32,
});
const RUNS = { numRuns: 40 };

describe("mandate messages", () => {
  let world: MandateWorld;
  before(async () => void (world = await createMandateWorld()));
  after(() => world.connection.close());
  const ask = (name: string, ...args: unknown[]): Promise<unknown> => world.registry.getFunction(name)(...args);

  const typehashes: [string, Record<string, readonly { name: string; type: string }[]>][] = [
    ["MANDATE_TYPEHASH", mandateTypes], ["SPEND_TYPEHASH", mandateSpendTypes], ["DEPOSIT_TYPEHASH", mandateDepositTypes], ["REVOCATION_TYPEHASH", mandateRevocationTypes],
  ];
  for (const [getter, types] of typehashes) {
    it(getter, async () => {
      const [[name, fields]] = Object.entries(types) as [[string, { name: string; type: string }[]]];
      expect(await ask(getter)).to.equal(keccak256(toHex(`${name}(${fields.map((field) => `${field.type} ${field.name}`).join(",")})`)));
    });
  }

  it("the domain", async () => {
    const [, name, version, chainId, verifyingContract] = (await ask("eip712Domain")) as [string, string, string, bigint, string];
    expect({ name, version, chainId: Number(chainId), verifyingContract }).to.deep.equal(world.registryDomain);
  });

  it("ids of random mandates", async () => {
    await fc.assert(fc.asyncProperty(mandate, async (random) => void expect(await ask("getMandateId", random)).to.equal(mandateIdOf(world.registryDomain, random))), RUNS);
  });

  it("digests of random spends and deposits", async () => {
    await fc.assert(
      fc.asyncProperty(mandate, address, bytes32, uint(128), uint(256), uint(256), async (random, payee, channelId, amount, nonce, deadline) => {
        const row = { order: spendOrder({ lineage: [random], payee, amount }), nonce, deadline };
        const id = mandateIdOf(world.registryDomain, random);
        expect(await ask("getSpendDigest", id, payee, amount, nonce, deadline)).to.equal(mandateSpendDigest(world.registryDomain, row));
        expect(await ask("getDepositDigest", id, channelId, amount, nonce, deadline)).to.equal(mandateDepositDigest(world.registryDomain, channelId, row));
      }),
      RUNS,
    );
  });

  it("digests of random revocations", async () => {
    await fc.assert(fc.asyncProperty(bytes32, async (id) => void expect(await ask("getRevocationDigest", id)).to.equal(mandateRevocationDigest(world.registryDomain, id))), RUNS);
  });
});

describe("payees", () => {
  it("is OpenZeppelin's standard tree: leaves hashed twice, pairs sorted, order and repetition of no matter", () => {
    // StandardMerkleTree.of([[a], [b]], ["address"]) of @openzeppelin/merkle-tree, by its definition.
    const [a, b] = [getAddress(`0x${"11".repeat(20)}`), getAddress(`0x${"22".repeat(20)}`)];
    expect(payeeLeaf(a)).to.equal(keccak256(keccak256(`0x${"00".repeat(12)}${"11".repeat(20)}`)));
    expect(payeesRoot([a])).to.equal(payeeLeaf(a));
    const [low, high] = [payeeLeaf(a), payeeLeaf(b)].sort() as [Hex, Hex];
    expect(payeesRoot([a, b])).to.equal(keccak256(`${low}${high.slice(2)}`));
    expect(payeesRoot([b, a, a])).to.equal(payeesRoot([a, b]));
  });

  it("proves every payee and nobody else, whatever the number", () => {
    fc.assert(
      fc.property(fc.uniqueArray(address, { minLength: 1, maxLength: 40 }), address, (payees, stranger) => {
        const root = payeesRoot(payees);
        for (const payee of payees) expect(isPayeeProven(root, payee, payeeProof(payees, payee))).to.equal(true);
        if (payees.includes(stranger)) return;
        expect(() => payeeProof(payees, stranger)).to.throw().with.property("code", "payee_not_allowed");
        expect(isPayeeProven(root, stranger, payeeProof(payees, payees[0]!))).to.equal(false);
      }),
    );
  });

  it("refuses the empty list, whose root would allow everybody, and what is no address", () => {
    expect(() => payeesRoot([])).to.throw().with.property("code", "invalid_payees");
    expect(() => payeesRoot(["0x12"])).to.throw().with.property("code", "invalid_payees");
    expect(isPayeeProven(zeroHash, AGENT.address, [])).to.equal(true);
  });

  it("agrees with the contract, payee by payee", async () => {
    const world = await createMandateWorld();
    const asPrincipal = await registryAs(world, PRINCIPAL);
    const preview = async (m: Mandate, payee: Hex, proof: Hex[]) => {
      const row = unsigned(spendOrder({ lineage: [m], payee, amount: 1n, proofs: [proof] }));
      return (await (world.registry as Contract).getFunction("preview").staticCall(row, AGENT.address)) as [boolean, Hex];
    };
    for (const count of [1, 2, 3, 5, 8, 13]) {
      const payees = Array.from({ length: count }, (_, n) => actor(`payee ${n}`).address);
      const m = mandateOf(world, { payeesRoot: payeesRoot(payees) });
      await send(asPrincipal, "approve", [m]);
      for (const payee of payees) expect((await preview(m, payee, payeeProof(payees, payee)))[0]).to.equal(true);
      const [ok, reason] = await preview(m, actor("stranger").address, payeeProof(payees, payees[0]!));
      expect([ok, world.registry.interface.parseError(reason)?.name]).to.deep.equal([false, "PayeeNotAllowed"]);
    }
    await world.connection.close();
  });
});
