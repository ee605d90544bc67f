import { expect } from "chai";
import fc from "fast-check";
import { getAddress, numberToHex, zeroAddress, type Hex } from "viem";
import { chooseBatches, type Claimable, type Policy } from "../../relayer/src/capabilities/settlement/logic.ts";

const NOW_S = 1_000_000;
const address = (n: number) => getAddress(numberToHex(n, { size: 20 }));
const amount = fc.bigInt(0n, 10_000n);

let ids = 0;
const claimable: fc.Arbitrary<Claimable> = fc
  .record({ receiver: fc.integer({ min: 1, max: 3 }), delay: fc.constantFrom(900, 3600), wallet: fc.boolean(), charged: amount, totalClaimed: amount, balance: amount, ceiling: amount, withdrawPending: fc.boolean(), age: fc.integer({ min: 0, max: 7200 }) })
  .map(({ receiver, delay, wallet, age, ...amounts }) => ({
    ...amounts,
    channelId: numberToHex(++ids, { size: 32 }),
    config: { payer: address(1000 + ids), payerAuthorizer: wallet ? zeroAddress : address(1000 + ids), receiver: address(receiver), receiverAuthorizer: address(50), token: address(60), withdrawDelay: delay, salt: numberToHex(ids, { size: 32 }) },
    signature: "0x00" as Hex,
    unclaimedSinceS: NOW_S - age,
  }));
const policy: fc.Arbitrary<Policy> = fc.record({ mode: fc.constantFrom("tallystick" as const, "canonical" as const), maxAgeS: fc.integer({ min: 0, max: 7200 }), minValueAtomic: amount, maxRows: fc.integer({ min: 1, max: 5 }), dustAtomic: fc.bigInt(0n, 500n), flush: fc.boolean() });
const least = (row: Claimable) => [row.charged, row.balance, row.ceiling].reduce((a, b) => (b < a ? b : a));

describe("settlement: which batches now", () => {
  it("never claims above what is charged, signed or there; never a channel twice; never an empty or too long batch", () => {
    fc.assert(
      fc.property(fc.array(claimable, { maxLength: 30 }), policy, (rows, rule) => {
        const batches = chooseBatches(rows, rule, NOW_S);
        const planned = batches.flatMap((batch) => batch.rows);
        expect(new Set(planned.map((row) => row.channelId)).size).to.equal(planned.length);
        for (const batch of batches) expect(batch.rows.length).to.be.within(1, rule.maxRows);
        for (const row of planned) {
          const source = rows.find((candidate) => candidate.channelId === row.channelId)!;
          expect(row.totalClaimed === least(source) && row.totalClaimed > source.totalClaimed).to.equal(true);
          expect(row.value).to.equal(row.totalClaimed - source.totalClaimed);
        }
      }),
    );
  });

  it("keeps a batch to one receiver, authorizer, token (and delay when packed), and contract wallets alone and plain", () => {
    fc.assert(
      fc.property(fc.array(claimable, { maxLength: 30 }), policy, (rows, rule) => {
        for (const batch of chooseBatches(rows, rule, NOW_S)) {
          for (const { config } of batch.rows) {
            expect([config.receiver, config.receiverAuthorizer, config.token]).to.deep.equal([batch.receiver, batch.receiverAuthorizer, batch.token]);
            if (batch.form === "packed") expect(config.withdrawDelay).to.equal(batch.withdrawDelay);
            if (config.payerAuthorizer === zeroAddress) expect([batch.rows.length, batch.form]).to.deep.equal([1, "plain"]);
          }
          if (rule.mode === "canonical") expect(batch.form).to.equal("plain");
        }
      }),
    );
  });

  it("flush claims all that can be claimed; without it whatever is due is chosen, and dust alone never is", () => {
    fc.assert(
      fc.property(fc.array(claimable, { maxLength: 30 }), policy, (rows, rule) => {
        const chosen = new Set(chooseBatches(rows, rule, NOW_S).flatMap((batch) => batch.rows.map((row) => row.channelId)));
        for (const row of rows) {
          const value = least(row) - row.totalClaimed;
          if (value <= 0n) expect(chosen.has(row.channelId)).to.equal(false);
          else if (rule.flush) expect(chosen.has(row.channelId)).to.equal(true);
          else if (value >= rule.dustAtomic && (row.withdrawPending || NOW_S - row.unclaimedSinceS >= rule.maxAgeS)) expect(chosen.has(row.channelId)).to.equal(true);
        }
        if (!rule.flush) for (const batch of chooseBatches(rows.filter((row) => least(row) - row.totalClaimed < rule.dustAtomic), rule, NOW_S)) expect(batch).to.equal(undefined);
      }),
    );
  });

  it("does not depend on the order of its rows", () => {
    fc.assert(
      fc.property(fc.array(claimable, { maxLength: 20 }), policy, (rows, rule) => {
        const key = (list: Claimable[]) => chooseBatches(list, rule, NOW_S).map((batch) => `${batch.reason}:${batch.rows.map((row) => row.channelId).join()}`).sort();
        expect(key([...rows].reverse())).to.deep.equal(key(rows));
      }),
    );
  });

  it("names the reason: withdrawal before value before age", () => {
    const base = { mode: "tallystick" as const, maxAgeS: 100, minValueAtomic: 1000n, maxRows: 10, dustAtomic: 10n, flush: false };
    const row = (change: Partial<Claimable>): Claimable => ({ ...fc.sample(claimable, 1)[0]!, charged: 500n, ceiling: 500n, balance: 500n, totalClaimed: 0n, withdrawPending: false, unclaimedSinceS: NOW_S, ...change });
    const reason = (change: Partial<Claimable>) => chooseBatches([row(change)], base, NOW_S)[0]?.reason;
    expect(reason({})).to.equal(undefined);
    expect(reason({ unclaimedSinceS: NOW_S - 100 })).to.equal("age");
    expect(reason({ charged: 1000n, ceiling: 1000n, balance: 1000n, unclaimedSinceS: NOW_S - 100 })).to.equal("value");
    expect(reason({ withdrawPending: true, charged: 1000n, ceiling: 1000n, balance: 1000n })).to.equal("withdrawal");
    expect(reason({ withdrawPending: true, charged: 9n })).to.equal(undefined); // dust is no lever
  });
});
