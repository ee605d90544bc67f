import { expect } from "chai";
import fc from "fast-check";
import { concatHex, getAddress, numberToHex, zeroAddress, type Hex } from "viem";
import { GROUP, gasCostAtomic, PAYOUT, rowSize, TRANSACTION } from "../../relayer/src/capabilities/settlement/costs.ts";
import { chooseBatches, nextTurnS, type Claimable, type Now, type Plan, type Policy } from "../../relayer/src/capabilities/settlement/logic.ts";
import { asPlain, halves, payeeKey, type Batch } from "../../relayer/src/capabilities/settlement/packing.ts";

const NOW: Now = { wallS: 1_000_000, chainS: 2_000_000 };
const address = (n: number) => getAddress(numberToHex(n, { size: 20 }));
const amount = fc.bigInt(0n, 10_000n);
const SIGNATURE = concatHex([numberToHex(1, { size: 32 }), numberToHex(1, { size: 32 }), "0x1b"]);

let ids = 0;
const claimable: fc.Arbitrary<Claimable> = fc
  .record({ receiver: fc.integer({ min: 1, max: 6 }), authorizer: fc.integer({ min: 50, max: 51 }), delay: fc.constantFrom(900, 3600), wallet: fc.nat(9), charged: amount, totalClaimed: amount, balance: amount, ceiling: amount, leavesInS: fc.option(fc.integer({ min: -100, max: 3600 })), age: fc.integer({ min: 0, max: 7200 }) })
  .map(({ receiver, authorizer, delay, wallet, leavesInS, age, ...amounts }) => ({
    ...amounts,
    channelId: numberToHex(++ids, { size: 32 }),
    config: { payer: address(1000 + ids), payerAuthorizer: wallet === 0 ? zeroAddress : address(1000 + ids), receiver: address(receiver), receiverAuthorizer: address(authorizer), token: address(60), withdrawDelay: delay, salt: numberToHex(ids, { size: 32 }) },
    signature: SIGNATURE,
    leavesAtS: leavesInS === null ? undefined : NOW.chainS + leavesInS,
    unclaimedSinceS: NOW.wallS - age,
  }));
/** Gas costs from nothing to more than anything here is worth: a row of 12,500 gas costs 0 to 12,500 units. */
const policy: fc.Arbitrary<Policy> = fc.record({
  mode: fc.constantFrom("tallystick" as const, "canonical" as const), maxAgeS: fc.integer({ min: 0, max: 7200 }), hardAgeS: fc.integer({ min: 3600, max: 9000 }), minValueAtomic: fc.bigInt(0n, 40_000n),
  maxRows: fc.integer({ min: 1, max: 12 }), maxGas: fc.bigInt(500_000n, 1_000_000n), maxCalldataBytes: fc.integer({ min: 4_096, max: 12_000 }), maxGasShareBps: fc.bigInt(0n, 10_000n),
  gasPriceWei: fc.constantFrom(0n, 1_000_000n, 10_000_000n, 1_000_000_000n), etherPriceAtomic: fc.constant(10n ** 9n), maxUnsettledPerChannelAtomic: fc.option(fc.bigInt(1n, 10_000n), { nil: undefined }), flush: fc.boolean(),
});
const rowsOf = (batches: readonly Batch[]) => batches.flatMap(({ groups }) => groups.flatMap(({ rows }) => rows));
const least = (row: Claimable) => [row.charged, row.balance, row.ceiling].reduce((a, b) => (b < a ? b : a));
const valueOf = (row: Claimable) => least(row) - row.totalClaimed;
const total = (amounts: readonly bigint[]) => amounts.reduce((sum, value) => sum + value, 0n);

function sizeOf({ form, groups }: Batch) {
  const parts = [TRANSACTION[form], ...groups.flatMap(({ rows }) => [GROUP[form], PAYOUT, ...rows.map((row) => rowSize(form, row))])];
  return { gas: total(parts.map(({ gas }) => gas)), bytes: parts.reduce((sum, { bytes }) => sum + bytes, 0) };
}
/** Without the payouts, on which another policy decides. */
const claimGas = (batch: Batch) => sizeOf(batch).gas - BigInt(batch.groups.length) * PAYOUT.gas;

const plans = (check: (rows: Claimable[], rule: Policy, plan: Plan) => void, size = 40) =>
  fc.assert(fc.property(fc.array(claimable, { maxLength: size }), policy, (rows, rule) => check(rows, rule, chooseBatches(rows, rule, NOW))), { numRuns: 400 });

describe("settlement: which batches now", () => {
  it("never claims above what is charged, signed or there; never a channel twice", () => {
    plans((rows, _rule, { batches, writtenOff, emptied }) => {
      const planned = rowsOf(batches);
      const touched = [...planned.map((row) => row.channelId), ...writtenOff.map((row) => row.channelId), ...emptied];
      expect(new Set(touched).size).to.equal(touched.length);
      for (const row of planned) {
        const source = rows.find((candidate) => candidate.channelId === row.channelId)!;
        expect(row.totalClaimed === least(source) && row.totalClaimed > source.totalClaimed).to.equal(true);
        expect(row.value).to.equal(valueOf(source));
      }
      expect([...emptied].sort()).to.deep.equal(rows.filter((row) => valueOf(row) <= 0n).map((row) => row.channelId).sort());
    });
  });

  it("keeps every transaction within rows, gas and calldata, also when it is halved or goes the published way", () => {
    plans((_rows, rule, { batches }) => {
      for (const batch of [...batches, ...batches.flatMap((whole) => asPlain(whole, rule)), ...batches.flatMap((whole) => halves(whole) ?? [])]) {
        expect(rowsOf([batch]).length).to.be.within(1, rule.maxRows);
        expect(sizeOf(batch).gas <= rule.maxGas).to.equal(true);
        expect(sizeOf(batch).bytes).to.be.at.most(rule.maxCalldataBytes);
      }
      expect(rowsOf(batches.flatMap((whole) => asPlain(whole, rule))).map((row) => row.channelId).sort()).to.deep.equal(rowsOf(batches).map((row) => row.channelId).sort());
      for (const whole of batches) expect(rowsOf(halves(whole) ?? [whole]).map((row) => row.channelId)).to.deep.equal(rowsOf([whole]).map((row) => row.channelId));
    });
  });

  it("keeps a group to its terms, a plain transaction to one authorizer, and contract wallets alone and plain", () => {
    plans((_rows, rule, { batches }) => {
      for (const batch of batches) {
        if (rule.mode === "canonical") expect(batch.form).to.equal("plain");
        if (batch.form === "plain") expect(new Set(batch.groups.map(({ receiverAuthorizer }) => receiverAuthorizer)).size).to.equal(1);
        for (const group of batch.groups) {
          for (const { config } of group.rows) {
            expect([config.receiver, config.receiverAuthorizer, config.token]).to.deep.equal([group.receiver, group.receiverAuthorizer, group.token]);
            if (batch.form === "packed") expect(config.withdrawDelay).to.equal(group.withdrawDelay);
            if (config.payerAuthorizer === zeroAddress) expect([rowsOf([batch]).length, batch.form]).to.deep.equal([1, "plain"]);
          }
        }
      }
    });
  });

  it("flush claims all that can be claimed", () => {
    plans((rows, rule) => {
      const planned = rowsOf(chooseBatches(rows, { ...rule, flush: true }, NOW).batches).map((row) => row.channelId);
      expect(planned.sort()).to.deep.equal(rows.filter((row) => valueOf(row) > 0n).map((row) => row.channelId).sort());
    });
  });

  it("claims at a loss only what is value at risk", () => {
    plans((_rows, rule, { batches }) => {
      for (const batch of batches.filter(({ groups }) => groups.every(({ reason }) => reason !== "flush" && reason !== "value"))) {
        expect(total(rowsOf([batch]).map(({ value }) => value)) > gasCostAtomic(claimGas(batch), rule)).to.equal(true);
      }
    });
  });

  it("age alone stays within the gas share, until the hard age", () => {
    plans((rows, rule, { batches }) => {
      const young = new Set(rows.filter((row) => NOW.wallS - row.unclaimedSinceS < rule.hardAgeS).map((row) => row.channelId));
      for (const batch of batches.filter(({ reason }) => reason === "age")) {
        if (!rowsOf([batch]).every(({ channelId }) => young.has(channelId))) continue;
        expect(gasCostAtomic(claimGas(batch), rule) * 10_000n <= total(rowsOf([batch]).map(({ value }) => value)) * rule.maxGasShareBps).to.equal(true);
      }
    });
  });

  it("dust never causes a transaction, whatever its payers do and however much there is of it", () => {
    const dusty = fc.array(claimable.map((row) => ({ ...row, charged: 50n, balance: 50n, ceiling: 50n, totalClaimed: 0n })), { maxLength: 60 });
    fc.assert(
      fc.property(dusty, policy, fc.constantFrom(1_000_000n, 10_000_000n), (rows, rule, etherPriceAtomic) => {
        // A packed row costs 125 units or more.
        const dear = { ...rule, gasPriceWei: 10n ** 10n, etherPriceAtomic, maxGasShareBps: 10_000n, flush: false };
        expect(gasCostAtomic(12_500n, dear) >= 125n).to.equal(true);
        const wallets = new Set(rows.filter(({ config }) => config.payerAuthorizer === zeroAddress).map(({ channelId }) => channelId));
        expect(rowsOf(chooseBatches(rows, dear, NOW).batches).filter(({ channelId }) => !wallets.has(channelId))).to.deep.equal([]);
      }),
    );
  });

  it("a withdrawal worth more than its claim is urgent at once; what is never worth it is written off when it ends, not before", () => {
    plans((rows, rule, { batches, writtenOff }) => {
      const sent = new Set(rowsOf(batches).map((row) => row.channelId));
      const gone = new Set(writtenOff.map((row) => row.channelId));
      for (const row of rows.filter((candidate) => candidate.leavesAtS !== undefined && valueOf(candidate) > 0n)) {
        const form = rule.mode === "canonical" || row.config.payerAuthorizer === zeroAddress ? "plain" : "packed";
        const worthIt = valueOf(row) > gasCostAtomic(TRANSACTION[form].gas + GROUP[form].gas + rowSize(form, row).gas, rule);
        if (worthIt) expect(sent.has(row.channelId), "urgent").to.equal(true);
        else if (row.leavesAtS! <= NOW.chainS) expect(sent.has(row.channelId) || gone.has(row.channelId), "settled or written off").to.equal(true);
        if (worthIt || row.leavesAtS! > NOW.chainS) expect(gone.has(row.channelId), "too early").to.equal(false);
      }
      for (const { channelId } of writtenOff) expect(rows.find((row) => row.channelId === channelId)!.leavesAtS).to.not.equal(undefined);
    });
  });

  it("claims for every receiver with enough unclaimed, counting only rows worth their gas", () => {
    plans((rows, rule, { batches }) => {
      const sent = new Set(rowsOf(batches).map((row) => row.channelId));
      const worth = rows.filter((row) => valueOf(row) > (row.config.payerAuthorizer === zeroAddress ? 0n : gasCostAtomic(rowSize(rule.mode === "canonical" ? "plain" : "packed", row).gas, rule)));
      for (const group of Map.groupBy(worth, ({ config }) => payeeKey(config)).values()) {
        if (total(group.map(valueOf)) >= rule.minValueAtomic) for (const row of group) expect(sent.has(row.channelId)).to.equal(true);
      }
    });
  });

  it("does not depend on the order of its rows", () => {
    plans((rows, rule, plan) => {
      const told = ({ batches, writtenOff }: Plan) => [batches.map(({ form, reason, groups }) => `${form} ${reason} ${groups.map((group) => group.rows.map((row) => row.channelId).join()).join("|")}`), writtenOff.map((row) => row.channelId).sort()];
      expect(told(chooseBatches([...rows].reverse(), rule, NOW))).to.deep.equal(told(plan));
    }, 20);
  });

  const base: Policy = { mode: "tallystick", maxAgeS: 100, hardAgeS: 1000, minValueAtomic: 100_000n, maxRows: 100, maxGas: 12_000_000n, maxCalldataBytes: 100_000, maxGasShareBps: 500n, gasPriceWei: 10n ** 7n, etherPriceAtomic: 10n ** 9n, flush: false };
  const row = (value: bigint, change: Partial<Claimable> & { receiver?: number } = {}): Claimable => {
    const id = ++ids;
    const { receiver = 1, ...rest } = change;
    return { channelId: numberToHex(id, { size: 32 }), config: { payer: address(1000 + id), payerAuthorizer: address(1000 + id), receiver: address(receiver), receiverAuthorizer: address(50), token: address(60), withdrawDelay: 900, salt: numberToHex(0, { size: 32 }) }, charged: value, balance: value, ceiling: value, totalClaimed: 0n, signature: SIGNATURE, leavesAtS: undefined, unclaimedSinceS: NOW.wallS, ...rest };
  };
  const reason = (change: Claimable, rule: Partial<Policy> = {}) => chooseBatches([change], { ...base, ...rule }, NOW).batches[0]?.reason;

  it("names the reason; at these prices a lone claim costs 845 units", () => {
    const old = { unclaimedSinceS: NOW.wallS - 100 };
    expect(reason(row(20_000n))).to.equal(undefined);
    expect(reason(row(20_000n, old))).to.equal("age");
    expect(reason(row(2_000n, old))).to.equal(undefined); // more than 5 % would be gas
    expect(reason(row(2_000n, { unclaimedSinceS: NOW.wallS - 1000 }))).to.equal("age");
    expect(reason(row(800n, { unclaimedSinceS: NOW.wallS - 1000 }))).to.equal(undefined);
    expect(reason(row(100_000n))).to.equal("value");
    expect(reason(row(200n), { minValueAtomic: 200n })).to.equal("value"); // at a loss: it is at risk
    expect(reason(row(100n), { minValueAtomic: 100n })).to.equal(undefined); // not worth its own row
    expect(reason(row(2_000n), { maxUnsettledPerChannelAtomic: 4_000n })).to.equal("exposure");
    expect(reason(row(1_999n), { maxUnsettledPerChannelAtomic: 4_000n })).to.equal(undefined);
    expect(reason(row(900n, { leavesAtS: NOW.chainS + 900 }))).to.equal("withdrawal");
    expect(reason(row(800n, { leavesAtS: NOW.chainS + 900 }))).to.equal(undefined);
  });

  it("withdrawals that are only together worth a claim are claimed when they end soon", () => {
    const pair = (leavesAtS: number) => chooseBatches([row(600n, { leavesAtS }), row(600n, { leavesAtS })], base, NOW).batches.length;
    expect([pair(NOW.chainS + 601), pair(NOW.chainS + 600)]).to.deep.equal([0, 1]);
  });

  it("dust rides along when its payer leaves, but never makes a batch cost more than it brings", () => {
    const urgent = row(1_000n, { leavesAtS: NOW.chainS + 900 });
    const dust = Array.from({ length: 50 }, () => row(1n, { leavesAtS: NOW.chainS + 900 }));
    expect(rowsOf(chooseBatches([urgent, ...dust], base, NOW).batches).length).to.equal(2); // 1,001 units pay for 970
    expect(rowsOf(chooseBatches([row(10_000n, { leavesAtS: NOW.chainS + 900 }), ...dust], base, NOW).batches).length).to.equal(51);
  });

  it("several receivers share a transaction, lone rows too, and all are packed: only there a root rides", () => {
    const forms = (rows: Claimable[]) => chooseBatches(rows, { ...base, flush: true }, NOW).batches.map(({ form, groups }) => `${form} ${groups.length}`).sort();
    const lone = (n: number, change: Partial<Claimable> = {}) => Array.from({ length: n }, (_, index) => row(500n, { receiver: 10 + index, ...change }));
    const pairs = [1, 2, 3].flatMap((receiver) => [row(500n, { receiver }), row(500n, { receiver })]);
    expect(forms(pairs)).to.deep.equal(["packed 3"]);
    expect(forms(lone(1))).to.deep.equal(["packed 1"]);
    expect(forms([...pairs, ...lone(3)])).to.deep.equal(["packed 6"]);
    expect(forms([...pairs, ...lone(4)])).to.deep.equal(["packed 7"]);
    expect(forms(lone(2, { leavesAtS: NOW.chainS + 900 }))).to.deep.equal(["packed 2"]);
  });

  it("looks again at what it left: later the older it is, but at its hard age", () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 10 ** 7 }), fc.integer({ min: 0, max: 10 ** 7 }), (age, hardAge) => {
        const next = nextTurnS(age, hardAge);
        expect(next > 0 && next <= 3600).to.equal(true);
        if (age < hardAge) expect(age + next <= hardAge).to.equal(true);
      }),
    );
  });

  it("a longer signature makes a plain row bigger", () => {
    expect(rowSize("plain", { signature: `0x${"00".repeat(97)}` as Hex }).bytes - rowSize("plain", { signature: SIGNATURE }).bytes).to.equal(32);
  });
});
