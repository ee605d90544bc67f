// Which claim a channel's acknowledged receipts speak for, whoever shows them and how often.
import { expect } from "chai";
import fc from "fast-check";
import { receiptsOfClaims, type ClaimedRow, type CountedSum, type LaterRoot } from "../../indexer/reputation/receipts.ts";

const claim = (id: string, blockNumber: bigint, totalClaimed: bigint, receiptsRoot: string | null, channelId = "0xc1"): ClaimedRow => ({ id, channelId, receiptsRoot, totalClaimed, blockNumber, logIndex: 0, rowIndex: 0 });
const later = (root: string, blockNumber: bigint, channelId = "0xc1"): LaterRoot => ({ root, channelId, blockNumber, logIndex: 0, rowIndex: 0 });
const sum = (root: string, amount: bigint, acknowledged = 1, channelId = "0xc1"): CountedSum => ({ root, channelId, acknowledged, late: 0, latencyMs: 10n, amount });
const acknowledged = (claims: ClaimedRow[], roots: LaterRoot[], sums: CountedSum[]) => Object.fromEntries([...receiptsOfClaims(claims, roots, sums)].map(([id, receipts]) => [id, receipts.acknowledged]));

describe("receipts of claims", () => {
  it("those under a claim's own root, and those that a later root brought, go to that claim", () => {
    const claims = [claim("a", 1n, 100n, "0xr1"), claim("b", 3n, 300n, null), claim("c", 9n, 400n, "0xr3")];
    expect(acknowledged(claims, [later("0xr2", 5n)], [sum("0xr1", 100n, 1), sum("0xr2", 200n, 2), sum("0xr3", 100n, 4)])).to.deep.equal({ a: 1, b: 2, c: 4 });
  });

  it("several roots of one claim add up; late and latency as well", () => {
    const found = receiptsOfClaims([claim("a", 1n, 100n, "0xr1")], [later("0xr2", 2n)], [{ ...sum("0xr1", 40n, 2), late: 1 }, { ...sum("0xr2", 60n, 3), late: 2 }]);
    expect(found.get("a")).to.deep.equal({ count: 5, acknowledged: 5, failed: 0, late: 3, creditedAtomic: 0n, latencyMs: 20 });
  });

  it("nothing for another channel, for a root that no claim stands before, and none for one that is shown twice", () => {
    const claims = [claim("a", 5n, 100n, null), claim("b", 5n, 100n, null, "0xC2")];
    expect(acknowledged(claims, [later("0xr1", 4n)], [sum("0xr1", 1n)])).to.deep.equal({});
    expect(acknowledged(claims, [later("0xr1", 6n), later("0xR1", 7n)], [sum("0xr1", 1n)])).to.deep.equal({ a: 1 });
    expect(acknowledged(claims, [later("0xr1", 6n, "0xc2")], [sum("0xr1", 1n), sum("0xr1", 1n, 7, "0xc2")])).to.deep.equal({ b: 7 });
  });

  it("receipts of more than was claimed are not believed, whatever the roots they come under", () => {
    const amounts = fc.array(fc.record({ block: fc.bigInt(1n, 30n), amount: fc.bigInt(0n, 100n), own: fc.boolean() }), { maxLength: 12 });
    fc.assert(fc.property(fc.uniqueArray(fc.bigInt(1n, 30n), { minLength: 1, maxLength: 6 }), fc.array(fc.bigInt(1n, 100n), { minLength: 6, maxLength: 6 }), amounts, (blocks, steps, shown) => {
      let total = 0n;
      const claims = blocks.toSorted((a, b) => Number(a - b)).map((block, index) => claim(`claim${index}`, block, (total += steps[index]!), `0xown${index}`));
      const roots = shown.map(({ block }, index) => later(`0xlater${index}`, block));
      const sums = [...shown.map(({ amount }, index) => sum(`0xlater${index}`, amount, Number(amount))), ...shown.flatMap(({ amount, own }, index) => (own && index < claims.length ? [sum(`0xown${index}`, amount, Number(amount))] : []))];
      const found = receiptsOfClaims(claims, roots, sums);
      let believed = 0n;
      for (const { id, totalClaimed } of claims) {
        believed += BigInt(found.get(id)?.acknowledged ?? 0);
        expect(believed <= totalClaimed).to.equal(true);
      }
    }));
  });
});
