// A reorganisation takes back what was done: it is in flight again at once, and stands again exactly once, however much of it the
// new chain already has, whichever lane sent it, and also when nobody was watching.
import { expect } from "chai";
import type { Hex } from "viem";
import { generatePrivateKey } from "viem/accounts";
import { createFollower } from "../../relayer/src/capabilities/channels/follower.ts";
import * as channels from "../../relayer/src/capabilities/channels/service.ts";
import { findChannel } from "../../relayer/src/capabilities/channels/store.ts";
import { createSettlementWorker } from "../../relayer/src/capabilities/settlement/service.ts";
import { toBytes } from "../../relayer/src/db/codec.ts";
import { rpc } from "../../scripts/local/chain.ts";
import { sessionChannelsAbi } from "../../sdk/src/abi/session-channels.ts";
import { testUSDCAbi } from "../../sdk/src/abi/test-usdc.ts";
import { SESSION_CHANNELS } from "../../sdk/src/constants.ts";
import { charge, depositRequest, lanesOf, mineOther, newBuyer, sendToToken, startWorld, until, USDC, type Buyer, type TestDeps, type World } from "../support/settlement-world.ts";

describe("reorganisations", function () {
  this.timeout(90_000);
  const submitterKeys = Array.from({ length: 3 }, generatePrivateKey);
  const env = { RELAYER_SETTLE_MAX_AGE_S: "0" };
  let world: World;
  let deps: TestDeps;
  before(async () => {
    world = await startWorld();
    deps = await world.relayer({ submitterKeys, env });
  });
  after(() => world.stop());
  afterEach(async () => {
    world.proxy.heal();
    await rpc(world.nodeUrl, "evm_setAutomine", [true]);
  });

  const snapshot = () => rpc<Hex>(world.nodeUrl, "evm_snapshot");
  const read = <T extends "balance" | "claimed">(what: T) => async ({ channelId }: Buyer) =>
    (await deps.chain.client.readContract({ address: SESSION_CHANNELS, abi: sessionChannelsAbi, functionName: "channels", args: [channelId] }))[what === "balance" ? 0 : 1];
  const balanceOf = read("balance");
  const claimedOf = read("claimed");
  const paid = ({ config }: Buyer) => deps.chain.client.readContract({ address: USDC, abi: testUSDCAbi, functionName: "balanceOf", args: [config.receiver] });
  const known = async ({ channelId }: Buyer) => (await findChannel(world.db, channelId))!;
  async function funded(amount = 10_000n): Promise<Buyer> {
    const buyer = await newBuyer(world);
    await channels.carryDeposit(deps, await depositRequest(buyer, amount));
    return buyer;
  }
  const rowsOf = async ({ channelId }: Buyer) => {
    const { rows } = await world.db.query("SELECT state, claimed_atomic AS amount FROM settlement_row WHERE channel_id = $1 ORDER BY batch_id", [toBytes(channelId)]);
    return rows.map(({ state, amount }) => (amount === null ? state : `${state} ${amount}`));
  };
  const rawsOf = async (buyers: Buyer[]) => {
    const { rows } = await world.db.query(
      "SELECT DISTINCT t.signer, t.nonce, t.raw FROM chain_tx t JOIN settlement_batch b USING (tx_id) JOIN settlement_row r USING (batch_id) WHERE r.channel_id = ANY($1::bytea[]) ORDER BY t.signer, t.nonce",
      [buyers.map(({ channelId }) => toBytes(channelId))],
    );
    return rows.map(({ raw }) => `0x${raw.toString("hex")}` as Hex);
  };

  describe("that undo claims", () => {
    /** Three receivers, so three transactions in three lanes, all claimed and confirmed. */
    async function settled(): Promise<{ buyers: Buyer[]; before: Hex; raws: Hex[] }> {
      const buyers = await Promise.all([funded(), funded(), funded()]);
      for (const buyer of buyers) await charge(world.db, buyer, 1_000n);
      await createFollower(deps).tick();
      const before = await snapshot();
      expect(await createSettlementWorker(deps).flush()).to.equal(true);
      for (const buyer of buyers) expect(await claimedOf(buyer)).to.equal(1_000n);
      return { buyers, before, raws: await rawsOf(buyers) };
    }
    async function standAgain(by: TestDeps, buyers: Buyer[]): Promise<void> {
      expect(await createSettlementWorker(by).flush()).to.equal(true);
      for (const buyer of buyers) {
        expect([await claimedOf(buyer), await paid(buyer)]).to.deep.equal([1_000n, 1_000n]);
        expect(await rowsOf(buyer)).to.deep.equal(["claimed 1000"]);
      }
      // The lanes have no hole: the next charge is claimed as well.
      for (const buyer of buyers) await charge(world.db, buyer, 2_000n);
      expect(await createSettlementWorker(by).flush()).to.equal(true);
      for (const buyer of buyers) expect([await claimedOf(buyer), await paid(buyer)]).to.deep.equal([2_000n, 2_000n]);
      expect([...(await lanesOf(world, by)).values()].flat().every(([, state]) => state === "confirmed")).to.equal(true);
    }

    for (const kept of ["none", "some", "all"] as const) {
      it(`rows are in flight again, and are claimed once: the new chain has ${kept} of them`, async () => {
        const { buyers, before, raws } = await settled();
        await rpc(world.nodeUrl, "evm_revert", [before]);
        await mineOther(world, 3);
        for (const raw of kept === "all" ? raws : kept === "some" ? raws.slice(0, 1) : []) await rpc(world.nodeUrl, "eth_sendRawTransaction", [raw]);

        world.proxy.fail({ method: "eth_sendRawTransaction", kind: "drop" });
        await createFollower(deps).tick();
        await createSettlementWorker(deps).tick();
        const open = (await Promise.all(buyers.map(rowsOf))).flat();
        // What the new chain has is done again at once, the rest is under way, and nothing is chosen a second time.
        expect(open.length).to.equal(3);
        expect(open.filter((row) => row === "claimed 1000").length).to.be.at.least(kept === "all" ? 3 : kept === "some" ? 1 : 0);
        if (kept === "none") expect(open).to.deep.equal(["sent", "sent", "sent"]);
        world.proxy.heal();
        await standAgain(deps, buyers);
      });
    }

    it("nobody was running when it happened: the next process finds it", async () => {
      const { buyers, before } = await settled();
      await rpc(world.nodeUrl, "evm_revert", [before]);
      await mineOther(world, 5);
      const next = await world.relayer({ submitterKeys, env });
      await createFollower(next).tick();
      await standAgain(next, buyers);
    });

    it("and again, before the first is over", async () => {
      const { buyers, before } = await settled();
      await rpc(world.nodeUrl, "evm_revert", [before]);
      await mineOther(world, 2);
      const again = await snapshot();
      await deps.submitter.sweep();
      await rpc(world.nodeUrl, "evm_revert", [again]);
      await mineOther(world, 4);
      await createFollower(deps).tick();
      await standAgain(deps, buyers);
    });
  });

  describe("that undo a deposit", () => {
    it("the balance is gone from the ledger at once, and stands again once", async () => {
      const before = await snapshot();
      const buyer = await funded(5_000n);
      expect((await known(buyer)).balance).to.equal(5_000n);
      await rpc(world.nodeUrl, "evm_revert", [before]);
      await mineOther(world, 3);
      await mintAgain(buyer);
      world.proxy.fail({ method: "eth_sendRawTransaction", kind: "drop" });
      const follower = createFollower(deps);
      await until(async () => (await follower.tick(), (await known(buyer)).balance === 0n));
      await deps.submitter.sweep();
      world.proxy.heal();
      await until(async () => (await deps.submitter.sweep(), await follower.tick(), (await known(buyer)).balance === 5_000n));
      expect(await balanceOf(buyer)).to.equal(5_000n);
      await until(async () => (await deps.submitter.sweep(), (await states(buyer))[0] !== "broadcast"));
      expect(await states(buyer)).to.deep.equal(["confirmed"]);
    });

    it("one that the new chain refuses never counts again, and its payment can bring another", async () => {
      const before = await snapshot();
      const buyer = await funded(5_000n);
      await rpc(world.nodeUrl, "evm_revert", [before]);
      await mineOther(world, 3);
      // In the new chain the payer has nothing.
      const follower = createFollower(deps);
      await until(async () => (await deps.submitter.sweep(), await follower.tick(), (await states(buyer))[0] === "reverted"));
      expect([(await known(buyer)).balance, await balanceOf(buyer)]).to.deep.equal([0n, 0n]);
      await mintAgain(buyer);
      await channels.carryDeposit(deps, await depositRequest(buyer, 7_000n));
      expect([(await known(buyer)).balance, await balanceOf(buyer)]).to.deep.equal([7_000n, 7_000n]);
      expect(await states(buyer)).to.deep.equal(["reverted", "confirmed"]);
    });

    it("is not waited for when its receipt is in a block that is gone", async () => {
      const slow = await world.relayer({ submitterKeys: [generatePrivateKey()], env: { RELAYER_CONFIRMATIONS: "4" } });
      const buyer = await newBuyer(world);
      const before = await snapshot();
      const carried = channels.carryDeposit(slow, await depositRequest(buyer, 5_000n));
      await until(async () => (await balanceOf(buyer)) === 5_000n);
      await mineOther(world, 2); // not deep enough
      await rpc(world.nodeUrl, "evm_revert", [before]);
      await mineOther(world, 6);
      expect((await findChannel(world.db, buyer.channelId))?.balance ?? 0n, "unconfirmed deposits never count").to.equal(0n);
      await until(async () => (await slow.submitter.sweep(), (await balanceOf(buyer)) === 5_000n));
      await mineOther(world, 4);
      await carried;
      expect((await known(buyer)).balance).to.equal(5_000n);
    });

    const states = async (buyer: Buyer) => {
      const { rows } = await world.db.query("SELECT t.state FROM deposit d JOIN chain_tx t USING (tx_id) WHERE d.channel_id = $1 ORDER BY tx_id", [toBytes(buyer.channelId)]);
      return rows.map(({ state }) => state as string);
    };
    const mintAgain = (buyer: Buyer) => sendToToken(world, "mint", [buyer.config.payer, 1_000_000n]);
  });

  it("a chain that is shorter than what was seen is no reason to fail", async () => {
    const buyer = await funded();
    const before = await snapshot();
    await mineOther(world, 6);
    await charge(world.db, buyer, 1_000n);
    expect(await createSettlementWorker(deps).flush()).to.equal(true);
    await rpc(world.nodeUrl, "evm_revert", [before]);
    await createFollower(deps).tick();
    expect(await createSettlementWorker(deps).flush()).to.equal(true);
    expect([await claimedOf(buyer), await paid(buyer)]).to.deep.equal([1_000n, 1_000n]);
  });
});
