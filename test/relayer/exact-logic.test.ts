// exact without a chain: hashes and calldata against viem's, which transfers go together, and what the logs of a transaction say.
import { expect } from "chai";
import fc from "fast-check";
import { decodeFunctionData, encodeAbiParameters, getAddress, hashTypedData, pad, parseAbi, toEventSelector, type Hex, type Log } from "viem";
import { MOST_BATCH_GAS, mostWith, planBatch } from "../../relayer/src/capabilities/exact/batch-logic.ts";
import { aggregateCalldata, plainCall, transferCalldata } from "../../relayer/src/capabilities/exact/calldata.ts";
import { asHex, createDigest } from "../../relayer/src/capabilities/exact/digest.ts";
import type { Authorization } from "../../relayer/src/capabilities/exact/types.ts";
import { movedIn } from "../../relayer/src/capabilities/exact/use.ts";
import { BASE_SEPOLIA } from "../../sdk/src/constants.ts";
import { transferWithAuthorizationTypes } from "../../sdk/src/typed-data.ts";

const { address, name, version } = BASE_SEPOLIA.usdc;
const config = { token: { address, name, version }, chainId: BASE_SEPOLIA.chainId } as Parameters<typeof createDigest>[0] & Parameters<typeof movedIn>[0]["config"];
const transferAbi = parseAbi(["function transferWithAuthorization(address from, address to, uint256 value, uint256 validAfter, uint256 validBefore, bytes32 nonce, uint8 v, bytes32 r, bytes32 s)"]);
const aggregateAbi = parseAbi(["struct Call3 { address target; bool allowFailure; bytes callData; }", "function aggregate3(Call3[] calls)"]);

const bytes = (length: number) => fc.uint8Array({ minLength: length, maxLength: length }).map((value): Hex => `0x${Buffer.from(value).toString("hex")}`);
const uint = fc.bigInt({ min: 0n, max: 2n ** 256n - 1n });
const anAddress = bytes(20).map((value) => getAddress(value));
const anAuthorization: fc.Arbitrary<Authorization> = fc.record({
  from: anAddress, to: anAddress, value: uint, validAfter: uint, validBefore: uint, nonce: bytes(32),
  signature: fc.tuple(bytes(32), bytes(32), fc.constantFrom("1b", "1c")).map(([r, s, v]): Hex => `${r}${s.slice(2)}${v}`),
});

describe("exact, logic", () => {
  it("hashes as viem does", () => {
    const digest = createDigest(config);
    fc.assert(
      fc.property(anAuthorization, ({ signature: _signature, ...message }) => {
        const domain = { name, version, chainId: config.chainId, verifyingContract: address };
        expect(asHex(digest(message))).to.equal(hashTypedData({ domain, types: transferWithAuthorizationTypes, primaryType: "TransferWithAuthorization", message }));
      }),
    );
  });

  it("encodes calls as viem decodes them", () => {
    fc.assert(
      fc.property(fc.array(anAuthorization, { minLength: 1, maxLength: 5 }), (all) => {
        const calls = all.map((authorization) => plainCall(authorization)!);
        const { args } = decodeFunctionData({ abi: aggregateAbi, data: aggregateCalldata(address, calls) });
        expect(args[0].map(({ target, allowFailure }) => [target, allowFailure])).to.deep.equal(all.map(() => [address, true]));
        all.forEach(({ from, to, value, validAfter, validBefore, nonce, signature }, index) => {
          expect(args[0][index]!.callData).to.equal(transferCalldata(all[index]!));
          expect(decodeFunctionData({ abi: transferAbi, data: args[0][index]!.callData }).args).to.deep.equal([from, to, value, validAfter, validBefore, nonce, Number(`0x${signature.slice(-2)}`), `0x${signature.slice(2, 66)}`, `0x${signature.slice(66, 130)}`]);
        });
      }),
    );
  });

  it("plans every transfer exactly once, never more gas than a transaction may have, and nothing that fails or runs a wallet's code", () => {
    const outcome = fc.record({ hasCode: fc.boolean(), passes: fc.boolean(), gas: fc.bigInt({ min: 20_000n, max: 500_000n }) });
    fc.assert(
      fc.property(fc.array(outcome, { maxLength: 200 }), fc.nat(20), (rehearsed, unreached) => {
        const plan = planBatch(rehearsed.length + unreached, rehearsed);
        expect([...plan.together, ...plan.alone, ...plan.later].sort((a, b) => a - b)).to.deep.equal(Array.from({ length: rehearsed.length + unreached }, (_, index) => index));
        expect(plan.gas <= MOST_BATCH_GAS).to.equal(true);
        expect(plan.together.every((index) => rehearsed[index]!.passes && !rehearsed[index]!.hasCode)).to.equal(true);
        expect(plan.alone.every((index) => !rehearsed[index]!.passes || rehearsed[index]!.hasCode)).to.equal(true);
        // Each has at least what it was seen to need, with room.
        expect(plan.gas > plan.together.reduce((sum, index) => sum + rehearsed[index]!.gas, 0n)).to.equal(true);
      }),
    );
  });

  it("halves the company of what has failed before", () => {
    expect([0, 1, 2, 7, 100].map(mostWith)).to.deep.equal([150, 75, 37, 1, 1]);
  });

  describe("what the logs say", () => {
    const [payer, seller, other] = ["11", "22", "33"].map((byte) => getAddress(`0x${byte.repeat(20)}`)) as [Hex, Hex, Hex];
    const nonceOf = (byte: string): Hex => `0x${byte.repeat(32)}`;
    const log = (event: string, topics: Hex[], data: Hex, at = address): Log => ({ address: at, topics: [toEventSelector(event), ...topics], data }) as unknown as Log;
    const used = (nonce: Hex, at?: Hex) => log("AuthorizationUsed(address,bytes32)", [pad(payer), nonce], "0x", at as never);
    const transfer = (to: Hex, value: bigint, at?: Hex) => log("Transfer(address,address,uint256)", [pad(payer), pad(to)], encodeAbiParameters([{ type: "uint256" }], [value]), at as never);
    const wanted = (nonce: Hex): Authorization => ({ from: payer, to: seller, value: 5n, validAfter: 0n, validBefore: 1n, nonce, signature: "0x" });
    const moved = (logs: Log[], nonce: Hex, status: "success" | "reverted" = "success") => movedIn({ config }, wanted(nonce), { logs, status } as never);
    const [one, two] = [nonceOf("aa"), nonceOf("bb")];

    it("a transfer counts for the nonce that announces it, and for no other", () => {
      const both = [used(one), transfer(seller, 5n), used(two), transfer(other, 1n)];
      expect([moved(both, one), moved(both, two)]).to.deep.equal([true, false]);
      const each = [used(one), transfer(seller, 5n), used(two), transfer(seller, 5n)];
      expect([moved(each, one), moved(each, two)]).to.deep.equal([true, true]);
    });

    it("nothing else is a payment: a reverted transaction, another token, another amount, no announcement, no transfer", () => {
      expect(moved([used(one), transfer(seller, 5n)], one, "reverted")).to.equal(false);
      expect(moved([used(one, other), transfer(seller, 5n, other)], one)).to.equal(false);
      expect(moved([used(one), transfer(seller, 5n, other), transfer(other, 5n)], one)).to.equal(false);
      expect(moved([used(one), transfer(seller, 4n)], one)).to.equal(false);
      expect(moved([transfer(seller, 5n)], one)).to.equal(false);
      expect(moved([used(one), used(two), transfer(seller, 5n)], one)).to.equal(false);
    });
  });
});
