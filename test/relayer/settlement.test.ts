import { expect } from "chai";
import { setTimeout as sleep } from "node:timers/promises";
import { zeroAddress, type Hex } from "viem";
import { generatePrivateKey, privateKeyToAccount } from "viem/accounts";
import { rpc } from "../../scripts/local/chain.ts";
import { sessionChannelsAbi } from "../../sdk/src/abi/session-channels.ts";
import { SESSION_CHANNELS } from "../../sdk/src/constants.ts";
import { createFollower } from "../../relayer/src/capabilities/channels/follower.ts";
import { carryDeposit, readView } from "../../relayer/src/capabilities/channels/service.ts";
import { findChannel } from "../../relayer/src/capabilities/channels/store.ts";
import { writeOff } from "../../relayer/src/capabilities/settlement/due-store.ts";
import { createSettlementWorker } from "../../relayer/src/capabilities/settlement/service.ts";
import { toBytes } from "../../relayer/src/db/codec.ts";
import { charge, depositRequest, mineOther, newBuyer, sendToChannels, sendToToken, signVoucher, startWorld, USDC, type Buyer, type TestDeps, type World } from "../support/settlement-world.ts";

for (const mode of ["tallystick", "canonical"] as const) {
  describe(`settlement, ${mode}`, function () {
    this.timeout(60_000);
    const submitterKey = generatePrivateKey();
    const env = { RELAYER_SETTLEMENT_MODE: mode, RELAYER_SETTLE_MAX_AGE_S: "3600", RELAYER_SETTLE_MIN_VALUE: "100000" };
    let world: World;
    let deps: TestDeps;
    let buyers: Buyer[] = [];
    /** What tests claimed without the worker. */
    const external = new Map<Hex, bigint>();
    before(async () => {
      world = await startWorld();
      deps = await world.relayer({ submitterKey, env });
    });
    after(() => world.stop());
    afterEach(async () => {
      world.proxy.heal();
      // What we wrote down is what happened: per channel, the claimed rows add up to the chain's total.
      const views = await readView(deps, buyers.map((buyer) => buyer.channelId));
      for (const { channelId } of buyers) {
        const { rows } = await world.db.query("SELECT COALESCE(sum(claimed_atomic), 0) AS claimed FROM settlement_row WHERE channel_id = $1 AND state = 'claimed'", [toBytes(channelId)]);
        expect(rows[0].claimed, channelId).to.equal(views.get(channelId)!.totalClaimed - (external.get(channelId) ?? 0n));
      }
      const open = await world.db.query("SELECT 1 FROM settlement_batch WHERE state = 'sent'");
      expect(open.rowCount).to.equal(0);
      buyers = [];
      await createSettlementWorker(deps).flush(5_000);
    });

    const newReceiver = () => privateKeyToAccount(generatePrivateKey()).address;
    const open = async (receiver = newReceiver(), amount = 10_000n, terms = {}) => {
      const buyer = await newBuyer(world, { receiver, ...terms });
      await carryDeposit(deps, await depositRequest(buyer, amount));
      buyers.push(buyer);
      return buyer;
    };
    const paid = (receiver: Hex) => deps.chain.client.readContract({ address: SESSION_CHANNELS, abi: sessionChannelsAbi, functionName: "receivers", args: [receiver, USDC] });
    const rowsOf = async ({ channelId }: Buyer) => (await world.db.query("SELECT state, reason, claimed_atomic, total_claimed FROM settlement_row WHERE channel_id = $1 ORDER BY batch_id", [toBytes(channelId)])).rows;
    const batches = async () => Number((await world.db.query("SELECT count(*) AS n FROM settlement_batch")).rows[0].n);
    const total = async ({ channelId }: Buyer) => (await readView(deps, [channelId])).get(channelId)!.totalClaimed;

    it("flush claims exactly what is charged and pays the receiver, in one transaction", async () => {
      const receiver = newReceiver();
      const list = [await open(receiver), await open(receiver), await open(receiver)];
      for (const [index, buyer] of list.entries()) await charge(world.db, buyer, BigInt(1000 + index), { ceiling: 5000n });
      const before = await batches();
      expect(await createSettlementWorker(deps).flush()).to.equal(true);
      expect((await batches()) - before).to.equal(1);
      expect(await paid(receiver)).to.deep.equal([3003n, 3003n]);
      for (const [index, buyer] of list.entries()) {
        expect(await total(buyer)).to.equal(BigInt(1000 + index));
        expect(await findChannel(world.db, buyer.channelId)).to.include({ totalClaimed: BigInt(1000 + index), broadcastCeiling: 5000n });
      }
      const batch = (await world.db.query("SELECT state, settled_atomic, reason FROM settlement_batch ORDER BY batch_id DESC LIMIT 1")).rows[0];
      expect(batch).to.deep.include({ state: "done", settled_atomic: 3003n, reason: "flush" });
    });

    it("waits for age, value or a withdrawal", async () => {
      const worker = createSettlementWorker(deps);
      const young = await open();
      const old = await open();
      const leaving = await open();
      await charge(world.db, young, 1000n);
      await charge(world.db, old, 1000n, { agoS: 4000 });
      await charge(world.db, leaving, 1000n);
      await sendToChannels(world, leaving.config.payer, "initiateWithdraw", [leaving.config, 10_000n]);
      await createFollower(deps).tick();
      await worker.tick();
      await worker.tick();
      expect([await total(young), await total(old), await total(leaving)]).to.deep.equal([0n, 1000n, 1000n]);
      const { rows } = await world.db.query("SELECT reason FROM settlement_batch ORDER BY batch_id DESC LIMIT 2");
      expect(rows.map((row) => row.reason).sort()).to.deep.equal(["age", "withdrawal"]);
    });

    it("a poisoned row is set aside with its reason and the rest settles", async () => {
      const receiver = newReceiver();
      const list = await Promise.all(Array.from({ length: 5 }, () => open(receiver)));
      for (const buyer of list) await charge(world.db, buyer, 1000n);
      const stranger = await privateKeyToAccount(generatePrivateKey()).signMessage({ message: "not a voucher" });
      await charge(world.db, list[2]!, 1000n, { signature: stranger, ceiling: 1001n });
      expect(await createSettlementWorker(deps).flush()).to.equal(true);
      expect(await paid(receiver)).to.deep.equal([4000n, 4000n]);
      expect(await total(list[2]!)).to.equal(0n);
      const { rows } = await world.db.query("SELECT reason FROM settlement_quarantine WHERE channel_id = $1", [toBytes(list[2]!.channelId)]);
      expect(rows).to.deep.equal([{ reason: "InvalidSignature" }]);
      // A good voucher lifts the quarantine.
      await charge(world.db, list[2]!, 1000n, { ceiling: 1002n });
      await createSettlementWorker(deps).flush();
      expect(await total(list[2]!)).to.equal(1000n);
    });

    it("a blacklisted receiver's claims stand, and it is paid once it can be", async () => {
      const receiver = newReceiver();
      const buyer = await open(receiver);
      await charge(world.db, buyer, 1000n);
      await sendToToken(world, "blacklist", [receiver]);
      expect(await createSettlementWorker(deps).flush()).to.equal(true);
      expect(await paid(receiver)).to.deep.equal([1000n, 0n]);
      await sendToToken(world, "unBlacklist", [receiver]);
      await world.db.query("UPDATE settlement_payout SET retry_at = now()");
      expect(await createSettlementWorker(deps).flush()).to.equal(true);
      expect(await paid(receiver)).to.deep.equal([1000n, 1000n]);
    });

    it("claims a payer without authorizer alone", async () => {
      const receiver = newReceiver();
      const list = [await open(receiver), await open(receiver, 10_000n, { payerAuthorizer: zeroAddress })];
      for (const buyer of list) await charge(world.db, buyer, 1000n);
      const before = await batches();
      await createSettlementWorker(deps).flush();
      expect((await batches()) - before).to.equal(2);
      expect(await paid(receiver)).to.deep.equal([2000n, 2000n]);
    });

    it("splits at the row limit", async () => {
      const small = await world.relayer({ submitterKey, env: { ...env, RELAYER_SETTLE_MAX_ROWS: "2" } });
      const receiver = newReceiver();
      const list = await Promise.all(Array.from({ length: 5 }, () => open(receiver)));
      for (const buyer of list) await charge(world.db, buyer, 1000n);
      const before = await batches();
      expect(await createSettlementWorker(small).flush()).to.equal(true);
      expect((await batches()) - before).to.equal(3);
      expect(await paid(receiver)).to.deep.equal([5000n, 5000n]);
    });

    it("what somebody else claimed meanwhile is success", async () => {
      const buyer = await open();
      await charge(world.db, buyer, 1000n);
      world.proxy.fail({ method: "eth_sendRawTransaction", kind: "drop" });
      expect(await createSettlementWorker(deps).flush(100)).to.equal(false);
      const voucher = { channel: buyer.config, maxClaimableAmount: 1000n };
      await sendToChannels(world, buyer.config.receiver, "claim", [[{ voucher, signature: await signVoucher(buyer, 1000n), totalClaimed: 1000n }]]);
      external.set(buyer.channelId, 1000n);
      world.proxy.heal();
      expect(await createSettlementWorker(deps).flush()).to.equal(true);
      expect((await rowsOf(buyer))[0]).to.deep.include({ state: "claimed", claimed_atomic: 0n });
      expect(await paid(buyer.config.receiver)).to.deep.equal([1000n, 1000n]);
      const before = await batches();
      await createSettlementWorker(deps).flush();
      expect(await batches()).to.equal(before);
    });

    it("a payer who leaves before a claim lands is isolated, and the others are claimed again", async () => {
      const receiver = newReceiver();
      const list = [await open(receiver), await open(receiver), await open(receiver)];
      for (const buyer of list) await charge(world.db, buyer, 1000n);
      const leaver = list[1]!;
      await sendToChannels(world, leaver.config.payer, "initiateWithdraw", [leaver.config, 10_000n]);
      world.proxy.fail({ method: "eth_sendRawTransaction", kind: "drop" });
      expect(await createSettlementWorker(deps).flush(100)).to.equal(false);
      await rpc(world.nodeUrl, "evm_increaseTime", [1000]);
      await mineOther(world);
      await sendToChannels(world, leaver.config.payer, "finalizeWithdraw", [leaver.config]);
      world.proxy.heal();
      expect(await createSettlementWorker(deps).flush()).to.equal(true);
      expect(await paid(receiver)).to.deep.equal([2000n, 2000n]);
      expect(await total(leaver)).to.equal(0n);
      expect((await rowsOf(leaver)).every((row) => row.state !== "claimed")).to.equal(true);
    });

    it("a crash between commit and broadcast is finished by the next process, and nothing is chosen twice", async () => {
      const buyer = await open();
      await charge(world.db, buyer, 1000n);
      world.proxy.fail({ method: "eth_sendRawTransaction", kind: "drop" });
      expect(await createSettlementWorker(deps).flush(100)).to.equal(false);
      expect((await rowsOf(buyer)).map((row) => row.state)).to.deep.equal(["sent"]);
      expect(await total(buyer)).to.equal(0n);
      world.proxy.heal();
      const next = await world.relayer({ submitterKey, env });
      expect(await createSettlementWorker(next).flush()).to.equal(true);
      expect((await rowsOf(buyer)).map((row) => row.state)).to.deep.equal(["claimed"]);
      expect(await total(buyer)).to.equal(1000n);
    });

    it("an answer lost at broadcast is resolved by the receipt", async () => {
      const buyer = await open();
      await charge(world.db, buyer, 1000n);
      world.proxy.fail({ method: "eth_sendRawTransaction", kind: "lose" });
      expect(await createSettlementWorker(deps).flush()).to.equal(true);
      expect((await rowsOf(buyer)).length).to.equal(1);
      expect(await total(buyer)).to.equal(1000n);
    });

    it("a reorganisation that drops a claim opens its batch again, and it is claimed once", async () => {
      const buyer = await open();
      await charge(world.db, buyer, 1000n);
      await createFollower(deps).tick();
      const snapshot = await rpc<Hex>(world.nodeUrl, "evm_snapshot");
      expect(await createSettlementWorker(deps).flush()).to.equal(true);
      expect(await total(buyer)).to.equal(1000n);
      await rpc(world.nodeUrl, "evm_revert", [snapshot]);
      await mineOther(world, 3);
      expect(await total(buyer)).to.equal(0n);
      await createFollower(deps).tick();
      expect(await createSettlementWorker(deps).flush()).to.equal(true);
      expect(await total(buyer)).to.equal(1000n);
      expect((await rowsOf(buyer)).map((row) => [row.state, row.claimed_atomic])).to.deep.equal([["claimed", 1000n]]);
    });

    it("claims no more than the balance that a reorganisation left", async () => {
      const buyer = await open(newReceiver(), 5000n);
      await charge(world.db, buyer, 8000n);
      await createSettlementWorker(deps).flush();
      expect(await total(buyer)).to.equal(5000n);
    });

    it("a channel that looked empty while the chain came back stays in the queue, and one that moved is not given up", async () => {
      const buyer = await open();
      await charge(world.db, buyer, 1000n);
      const id = toBytes(buyer.channelId);
      // As after a reorganisation that took the deposit back...
      await world.db.query("UPDATE channel SET balance = 0 WHERE channel_id = $1", [id]);
      const returning = await world.db.connect();
      await returning.query("BEGIN");
      // ...and it is there again, in a transaction that commits after the worker has looked.
      await returning.query("UPDATE channel SET balance = 10000 WHERE channel_id = $1", [id]);
      const looked = createSettlementWorker(deps).flush();
      const waits = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE '%settlement_due%'";
      while ((await world.db.query(waits)).rowCount === 0) await sleep(5);
      await returning.query("COMMIT");
      returning.release();
      await looked;
      expect(await writeOff(world.db, { channelId: buyer.channelId, charged: 1000n, totalClaimed: 0n, balance: 0n, value: 1000n, claimCost: 1n })).to.equal(false);
      expect(await createSettlementWorker(deps).flush()).to.equal(true);
      expect(await total(buyer)).to.equal(1000n);
    });

    it("two workers at once: one works, nothing is claimed twice", async () => {
      const other = await world.relayer({ env });
      const list = await Promise.all(Array.from({ length: 4 }, () => open()));
      for (const buyer of list) await charge(world.db, buyer, 1000n);
      await Promise.all([createSettlementWorker(deps).flush(), createSettlementWorker(other).flush()]);
      for (const buyer of list) expect((await rowsOf(buyer)).map((row) => row.state)).to.deep.equal(["claimed"]);
    });
  });
}
