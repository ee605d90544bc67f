// How deep a deposit has to be: the rule by itself, over any history; and with a real chain and ledger.
import { expect } from "chai";
import fc from "fast-check";
import type { Address, Hex } from "viem";
import { rpc } from "../../scripts/local/chain.ts";
import { createFollower } from "../../relayer/src/capabilities/channels/follower.ts";
import { countable, demandsOn, depositSteps, depthsOf, keptSince, type DepthStep, type Rung, type Snapshot } from "../../relayer/src/capabilities/channels/logic.ts";
import { carryDeposit, openChannel, refundChannel } from "../../relayer/src/capabilities/channels/service.ts";
import { findChannel } from "../../relayer/src/capabilities/channels/store.ts";
import { readConfig } from "../../relayer/src/config.ts";
import { depositRequest, mineOther, newBuyer, signVoucher, startWorld, type Buyer, type TestDeps, type World } from "../support/settlement-world.ts";

const PAYER = "0x00000000000000000000000000000000000000aA" as Address;
const STEPS: DepthStep[] = [{ fromAtomic: 0n, depth: 1 }, { fromAtomic: 100n, depth: 3 }, { fromAtomic: 1000n, depth: 6 }];
const DEPTHS = depthsOf(STEPS);
const alone = (rungs: Rung[], steps = STEPS, bridged: ReadonlyMap<string, bigint> = new Map(), others: bigint[] = [], already = 0n) => countable(rungs, demandsOn({ steps, bridged }, PAYER, others), already);

describe("deposit depth", () => {
  const deposited = (amount: bigint, depth: number): Rung[] => DEPTHS.map((at) => ({ depth: at, balance: at <= depth ? amount : 0n }));
  it("a deposit counts at the depth of its amount, whole or not at all", () => {
    for (const [amount, needed] of [[99n, 1], [100n, 3], [999n, 3], [1000n, 6], [1n << 100n, 6]] as const) {
      for (const depth of DEPTHS) {
        const counted = alone(deposited(amount, depth));
        expect(counted.balance, `${amount} at ${depth}`).to.equal(depth >= needed ? amount : 0n);
        expect(counted.pending).to.equal(depth >= needed ? 0n : amount);
        if (depth < needed) expect(counted.needed).to.equal(needed);
      }
    }
  });
  it("the payer's other channels use up what may be young", () => {
    expect(alone(deposited(60n, 1), STEPS, new Map(), [0n, 39n, 39n]).balance).to.equal(60n);
    expect(alone(deposited(60n, 1), STEPS, new Map(), [0n, 40n, 40n]).balance).to.equal(0n);
    expect(alone(deposited(60n, 3), STEPS, new Map(), [0n, 40n, 40n]).balance).to.equal(60n);
  });
  it("an operator's bridge lifts every limit by its amount, for that payer", () => {
    const bridged = new Map([[PAYER.toLowerCase(), 500n]]);
    const deep = [{ fromAtomic: 0n, depth: 3 }];
    expect(alone(deposited(500n, 1), deep, bridged).balance).to.equal(500n);
    expect(alone(deposited(501n, 1), deep, bridged).balance).to.equal(0n);
    expect(alone(deposited(500n, 1), deep).balance).to.equal(0n);
    expect(alone(deposited(599n, 1), STEPS, bridged).balance).to.equal(599n);
  });
  it("nothing is deep after money left meanwhile", () => {
    const deep: Snapshot = { balance: 500n, withdrawAmount: 0n, withdrawInitiatedAt: 0, refundNonce: 1n };
    expect(keptSince(deep, { ...deep, balance: 700n })).to.equal(500n);
    expect(keptSince(deep, { ...deep, balance: 400n, refundNonce: 2n })).to.equal(0n);
    const leaving = { ...deep, withdrawAmount: 200n, withdrawInitiatedAt: 9 };
    expect(keptSince(leaving, { ...leaving, balance: 700n })).to.equal(500n);
    expect(keptSince(leaving, { ...deep, balance: 900n })).to.equal(0n);
    expect(keptSince(deep, { ...leaving, balance: 500n })).to.equal(500n);
  });
  it("never counts below the depth of our own transactions", () => {
    expect(depositSteps(STEPS, 4).map(({ depth }) => depth)).to.deep.equal([4, 4, 6]);
    expect(depthsOf([{ fromAtomic: 0n, depth: 3 }, { fromAtomic: 9n, depth: 200 }])).to.deep.equal([1, 3, 200]);
  });

  // One payer, several channels, deposits in any blocks, each channel looked at whenever: as the ledger does it, with what the others
  // had when they were looked at last.
  const history = fc.array(fc.oneof({ weight: 3, arbitrary: fc.record({ channel: fc.nat(3), amount: fc.bigInt(1n, 1500n) }) }, { weight: 2, arbitrary: fc.constant("block" as const) }, { weight: 4, arbitrary: fc.record({ look: fc.nat(3) }) }), { maxLength: 60 });
  it("never counts more young value than a step allows, however it is split; and what counts goes on counting", () => {
    fc.assert(
      fc.property(history, (acts) => {
        let block = 10;
        const deposits: { channel: number; amount: bigint; block: number }[] = [];
        const rows = new Map<number, { balance: bigint; depths: bigint[] }>();
        const at = (channel: number, depth: number) => deposits.filter((one) => one.channel === channel && block - one.block + 1 >= depth).reduce((sum, { amount }) => sum + amount, 0n);
        for (const act of acts) {
          if (act === "block") block += 1;
          else if ("amount" in act) deposits.push({ ...act, block });
          else {
            const others = STEPS.map((_, step) => [...rows].filter(([channel]) => channel !== act.look).reduce((sum, [, row]) => sum + (row.balance > row.depths[step]! ? row.balance - row.depths[step]! : 0n), 0n));
            const { balance, pending } = alone(DEPTHS.map((depth) => ({ depth, balance: at(act.look, depth) })), STEPS, new Map(), others, rows.get(act.look)?.balance);
            expect(balance + pending).to.equal(at(act.look, 1));
            expect(balance >= (rows.get(act.look)?.balance ?? 0n), "what counts goes on counting").to.equal(true);
            expect(balance >= at(act.look, 6), "what is deepest counts in full").to.equal(true);
            rows.set(act.look, { balance, depths: STEPS.map(({ depth }) => at(act.look, depth)) });
          }
          for (const { fromAtomic, depth } of STEPS) {
            const young = [...rows].reduce((sum, [channel, row]) => sum + (row.balance > at(channel, depth) ? row.balance - at(channel, depth) : 0n), 0n);
            expect(young < (fromAtomic === 0n ? 1n : fromAtomic), `${young} counts below depth ${depth}`).to.equal(true);
          }
        }
      }),
      { numRuns: 500 },
    );
  });

  it("is configured in steps and by payer, and refuses what makes no sense", () => {
    const env = { DATABASE_URL: "postgres://x", RPC_URL: "http://x", CHAIN_ID: "84532", RELAYER_SUBMITTER_KEYS: `0x${"1".repeat(64)}`, RELAYER_AUTHORIZER_KEYS: `0x${"2".repeat(64)}`, RELAYER_ANSWER_KEYS: `0x${"3".repeat(64)}` };
    const config = readConfig({ ...env, RELAYER_BRIDGE_PAYERS: `${PAYER}:5000000`, RELAYER_DEPOSIT_CONFIRMATIONS: "0:2,100:5" });
    expect([...config.bridgedPayers]).to.deep.equal([[PAYER.toLowerCase(), 5_000_000n]]);
    expect(config.depositConfirmations).to.deep.equal([{ fromAtomic: 0n, depth: 2 }, { fromAtomic: 100n, depth: 5 }]);
    for (const [name, value] of [["RELAYER_BRIDGE_PAYERS", "0x12:5"], ["RELAYER_BRIDGE_PAYERS", `${PAYER}:5:6`], ["RELAYER_BRIDGE_PAYERS", `${PAYER}`], ["RELAYER_DEPOSIT_CONFIRMATIONS", "5:1"], ["RELAYER_DEPOSIT_CONFIRMATIONS", "0:401"], ["RELAYER_CONFIRMATIONS", "401"]] as const) {
      expect(() => readConfig({ ...env, [name]: value }), value).to.throw(name);
    }
  });

  describe("on a chain", function () {
    this.timeout(120_000);
    let world: World;
    let deps: TestDeps;
    const env = { RELAYER_DEPOSIT_CONFIRMATIONS: "0:1,1000:4" };
    before(async () => {
      world = await startWorld();
      deps = await world.relayer({ env });
    });
    after(() => world.stop());

    const sameChannels = async (count: number): Promise<Buyer[]> => {
      const first = await newBuyer(world);
      const others = await Promise.all(Array.from({ length: count - 1 }, () => newBuyer(world, { payer: first.config.payer, payerAuthorizer: first.config.payer }, 0n)));
      return [first, ...others.map((other) => ({ ...other, account: first.account }))];
    };
    const row = async (buyer: Buyer) => (await findChannel(world.db, buyer.channelId))!;
    /** Carries the deposit and mines while that waits; how many blocks it took. */
    const carryMining = async (buyer: Buyer, amount: bigint): Promise<number> => {
      let done = false;
      const carried = carryDeposit(deps, await depositRequest(buyer, amount)).finally(() => (done = true));
      const blockOf = async () => Number(await deps.chain.client.getBlockNumber({ cacheTime: 0 }));
      while ((await world.db.query("SELECT 1 FROM deposit d JOIN chain_tx t USING (tx_id) WHERE d.channel_id = $1 AND t.state = 'confirmed'", [Buffer.from(buyer.channelId.slice(2), "hex")])).rowCount === 0) await new Promise((next) => setTimeout(next, 10));
      const from = await blockOf();
      while (!done) {
        await mineOther(world);
        await new Promise((next) => setTimeout(next, 100));
      }
      expect((await carried).channel.pending).to.equal(0n);
      return (await blockOf()) - from;
    };

    it("takes cents at once, and waits for what is large", async () => {
      const [small, large] = [await newBuyer(world), await newBuyer(world)];
      expect((await carryDeposit(deps, await depositRequest(small, 999n))).channel).to.include({ balance: 999n, pending: 0n });
      expect(await carryMining(large, 1000n)).to.be.greaterThanOrEqual(3);
      expect(await row(large)).to.include({ balance: 1000n, pending: 0n });
    });

    it("counts the deposits of one payer together, also when they are taken in at the same moment", async () => {
      const buyers = await sameChannels(6);
      const carried = await Promise.all(buyers.map(async (buyer) => depositRequest(buyer, 400n))).then((requests) => Promise.race([Promise.allSettled(requests.map((request) => carryDeposit(deps, request))), new Promise((next) => setTimeout(next, 4_000))]));
      expect(carried, "all six cannot count while they are young").to.equal(undefined);
      const rows = await Promise.all(buyers.map(row));
      const young = rows.reduce((sum, { balance }) => sum + balance, 0n);
      expect(young, "the last of them are less than four deep, the first may be deeper").to.be.lessThan(2400n);
      await mineOther(world, 4);
      await createFollower(deps).tick();
      expect((await Promise.all(buyers.map(row))).map(({ balance, pending }) => [balance, pending])).to.deep.equal(buyers.map(() => [400n, 0n]));
    });

    it("a top-up that waits does not stop what counts already", async () => {
      const buyer = await newBuyer(world);
      await carryDeposit(deps, await depositRequest(buyer, 900n));
      await mineOther(world, 1);
      const topUp = carryDeposit(deps, await depositRequest(buyer, 5000n));
      while ((await row(buyer)).pending === 0n) await new Promise((next) => setTimeout(next, 10));
      expect(await row(buyer)).to.include({ balance: 900n, pending: 5000n });
      await mineOther(world, 4);
      expect((await topUp).channel).to.include({ balance: 5900n, pending: 0n });
    });

    it("a channel opened without us says that its deposit is young, and the follower lets it count", async () => {
      const buyer = await newBuyer(world);
      const snapshot = await rpc<Hex>(world.nodeUrl, "evm_snapshot");
      const other = await world.relayer({ env: { RELAYER_DEPOSIT_CONFIRMATIONS: "0:1" } });
      await carryDeposit({ ...other, db: deps.db }, await depositRequest(buyer, 2000n));
      await world.db.query("DELETE FROM deposit WHERE channel_id = $1", [Buffer.from(buyer.channelId.slice(2), "hex")]);
      await world.db.query("DELETE FROM channel WHERE channel_id = $1", [Buffer.from(buyer.channelId.slice(2), "hex")]);
      const refused = await openChannel(deps, buyer.config).then(() => undefined, (error: { code: string; status: number; retry: string; extra: object }) => error);
      expect(refused).to.include({ code: "deposit_pending", status: 503, retry: "safe" });
      expect(refused!.extra).to.include({ pendingAtomic: "2000", needed: 4 });
      await mineOther(world, 3);
      expect((await openChannel(deps, buyer.config)).balance).to.equal(2000n);
      await rpc(world.nodeUrl, "evm_revert", [snapshot]);
    });

    it("a refund counts at once, and what it leaves beside a young deposit waits", async () => {
      const buyer = await newBuyer(world);
      await carryMining(buyer, 5000n);
      const voucher = { ceiling: 0n, signature: await signVoucher(buyer, 0n) };
      const { channel } = await refundChannel(deps, { config: buyer.config, channelId: buyer.channelId, amount: 4500n, voucher, paymentId: "r" });
      expect(channel.balance + channel.pending).to.equal(500n);
      expect(channel.balance, "small enough to count as if it were new").to.equal(500n);
    });
  });
});
