// What others do on the chain: seen, written down once, taken back with a reorganisation, told to the parties; and what was missed heals.
import { expect } from "chai";
import type { Hex } from "viem";
import { rpc } from "../../scripts/local/chain.ts";
import { createFollower } from "../../relayer/src/capabilities/channels/follower.ts";
import { carryDeposit, openChannel } from "../../relayer/src/capabilities/channels/service.ts";
import { findChannel } from "../../relayer/src/capabilities/channels/store.ts";
import { compareNext } from "../../relayer/src/capabilities/channels/watch.ts";
import { historyFound, historyOf } from "../../relayer/src/capabilities/channels/watch-store.ts";
import { createSettlementWorker } from "../../relayer/src/capabilities/settlement/service.ts";
import { toBytes } from "../../relayer/src/db/codec.ts";
import { salesStopped } from "../../relayer/src/db/continuity.ts";
import { charge, depositRequest, mineOther, newBuyer, sendToChannels, signVoucher, startWorld, until, type Buyer, type TestDeps, type World } from "../support/settlement-world.ts";

describe("watchtower", function () {
  this.timeout(120_000);
  let world: World;
  let deps: TestDeps;
  before(async () => {
    world = await startWorld();
    deps = await world.relayer();
  });
  after(() => world.stop());
  afterEach(() => world.proxy.heal());

  const funded = async (amount = 1000n) => {
    const buyer = await newBuyer(world);
    await carryDeposit(deps, await depositRequest(buyer, amount));
    return buyer;
  };
  const history = async ({ channelId }: Buyer) => (await historyOf(world.db, channelId, 100)).map(({ kind, amount, ours }) => `${kind} ${amount} ${ours ? "ours" : "theirs"}`).reverse();
  const events = async ({ channelId }: Buyer) => {
    const { rows } = await world.db.query<{ kind: string; data: Record<string, unknown> }>("SELECT kind, data FROM event WHERE data->>'sessionId' = $1 ORDER BY xid, event_id", [channelId]);
    return rows;
  };
  const claimBy = async (buyer: Buyer, total: bigint, sender = buyer.config.receiver) =>
    sendToChannels(world, sender, "claim", [[{ voucher: { channel: buyer.config, maxClaimableAmount: total }, signature: await signVoucher(buyer, total), totalClaimed: total }]]);
  const row = async ({ channelId }: Buyer) => (await findChannel(world.db, channelId))!;

  it("writes down what anybody does to a channel, once, in order", async () => {
    const buyer = await funded(1000n);
    const follower = createFollower(deps);
    await follower.tick();
    await charge(world.db, buyer, 300n);
    await createSettlementWorker(deps as never).flush();
    await sendToChannels(world, buyer.config.payer, "initiateWithdraw", [buyer.config, 100n]);
    await sendToChannels(world, buyer.config.payer, "cancelWithdraw", [buyer.config]);
    await claimBy(buyer, 450n);
    await sendToChannels(world, buyer.config.receiver, "refund", [buyer.config, 50n]);
    for (let pass = 0; pass < 3; pass++) await follower.tick();
    await createFollower(await world.relayer()).tick();
    expect(await history(buyer)).to.deep.equal(["deposit 1000 ours", "claim 300 ours", "withdraw_started 100 theirs", "withdraw_cancelled 100 theirs", "claim 150 theirs", "refund 50 theirs"]);
    expect(await row(buyer)).to.include({ balance: 950n, totalClaimed: 450n, charged: 450n });
    const told = (await events(buyer)).filter(({ kind }) => kind === "session.on_chain").map(({ data }) => `${String(data["what"])} ${String(data["amountAtomic"])} ${String(data["ours"])}`);
    expect(told).to.deep.equal(["deposit 1000 true", "claim 300 true", "withdraw_started 100 false", "withdraw_cancelled 100 false", "claim 150 false", "refund 50 false"]);
  });

  it("several channels are written in the order in which payments lock them, however they lie in the table", async () => {
    const [later, sooner] = (await Promise.all([funded(), funded()])).map(({ channelId }) => channelId).sort().reverse() as [Hex, Hex];
    // Last written lies last.
    for (const id of [later, sooner]) await world.db.query("UPDATE channel SET history_wanted = true WHERE channel_id = $1", [toBytes(id)]);
    const paying = await world.db.connect();
    try {
      await paying.query("BEGIN");
      await paying.query("SELECT 1 FROM channel WHERE channel_id = $1 FOR UPDATE", [toBytes(sooner)]);
      const writing = historyFound(world.db, [later, sooner]);
      await until(async () => (await world.db.query("SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'")).rowCount! > 0);
      await paying.query("SELECT 1 FROM channel WHERE channel_id = $1 FOR UPDATE", [toBytes(later)]);
      await paying.query("COMMIT");
      await writing;
    } finally {
      paying.release();
    }
    const { rows } = await world.db.query("SELECT 1 FROM channel WHERE channel_id = ANY($1) AND history_wanted", [[later, sooner].map(toBytes)]);
    expect(rows).to.deep.equal([]);
  });

  it("a refund by others of what is charged and unclaimed raises the alarm, one of what is free does not", async () => {
    const [robbed, fine] = [await funded(1000n), await funded(1000n)];
    const follower = createFollower(deps);
    await follower.tick();
    await charge(world.db, robbed, 800n);
    await sendToChannels(world, robbed.config.receiver, "refund", [robbed.config, 900n]);
    await sendToChannels(world, fine.config.receiver, "refund", [fine.config, 900n]);
    const before = (await deps.metrics.chainAlerts.get()).values.reduce((sum, { value }) => sum + value, 0);
    await follower.tick();
    expect((await deps.metrics.chainAlerts.get()).values.reduce((sum, { value }) => sum + value, 0) - before).to.equal(1);
    const alerts = (await events(robbed)).filter(({ kind }) => kind === "session.alert");
    expect(alerts.map(({ data }) => [data["reason"], data["amountAtomic"], data["unclaimedAtomic"]])).to.deep.equal([["refund_by_others", "900", "800"]]);
    expect((await events(fine)).filter(({ kind }) => kind === "session.alert")).to.deep.equal([]);
    expect(await row(robbed)).to.include({ balance: 100n, charged: 800n });
  });

  it("what a reorganisation took is marked, and back when it is mined again", async () => {
    const buyer = await funded(1000n);
    const follower = createFollower(deps);
    await follower.tick();
    const snapshot = await rpc<Hex>(world.nodeUrl, "evm_snapshot");
    await claimBy(buyer, 70n);
    await follower.tick();
    expect(await history(buyer)).to.deep.equal(["deposit 1000 ours", "claim 70 theirs"]);
    await rpc(world.nodeUrl, "evm_revert", [snapshot]);
    await mineOther(world, 2);
    await follower.tick();
    expect(await history(buyer)).to.deep.equal(["deposit 1000 ours"]);
    expect((await events(buyer)).filter(({ kind }) => kind === "session.off_chain").map(({ data }) => data["what"])).to.deep.equal(["claim"]);
    // The very same transaction again, now in another block.
    await claimBy(buyer, 70n);
    await follower.tick();
    expect(await history(buyer)).to.deep.equal(["deposit 1000 ours", "claim 70 theirs"]);
    expect(await row(buyer)).to.include({ totalClaimed: 70n, charged: 70n });
  });

  it("a channel that is taken in later brings its last hour along", async () => {
    const buyer = await newBuyer(world);
    const request = await depositRequest(buyer, 600n);
    const follower = createFollower(deps);
    const elsewhere = await startForeignDeposit(buyer, request);
    await mineOther(world, 6);
    await follower.tick();
    expect(elsewhere).to.match(/^0x/);
    await openChannel(deps, buyer.config);
    await mineOther(world, 1);
    await follower.tick();
    expect(await history(buyer)).to.deep.equal(["deposit 600 theirs"]);
  });

  async function startForeignDeposit(buyer: Buyer, { amount, authorization }: Awaited<ReturnType<typeof depositRequest>>): Promise<Hex> {
    const { depositCalldata } = await import("../../relayer/src/capabilities/channels/deposit-check.ts");
    const data = depositCalldata(deps, { config: buyer.config, channelId: buyer.channelId, amount, authorization, paymentId: "x" }, authorization.signature);
    await rpc(world.nodeUrl, "hardhat_setBalance", [buyer.config.payer, "0x8ac7230489e80000"]);
    await rpc(world.nodeUrl, "hardhat_impersonateAccount", [buyer.config.payer]);
    return rpc<Hex>(world.nodeUrl, "eth_sendTransaction", [{ from: buyer.config.payer, to: deps.config.sessionChannels, data }]);
  }

  it("what a missed log left behind heals, and is counted", async () => {
    const buyer = await funded(1000n);
    const follower = createFollower(deps);
    await follower.tick();
    const { rows } = await world.db.query("SELECT block_number FROM chain_cursor WHERE name = 'channels'");
    await sendToChannels(world, buyer.config.payer, "initiateWithdraw", [buyer.config, 1n]);
    await mineOther(world, 1);
    const head = await deps.chain.client.getBlockNumber({ cacheTime: 0 });
    expect(head > rows[0].block_number).to.equal(true);
    // As if the node had not given the log: the cursor stands beyond it.
    const { hash } = await deps.chain.client.getBlock({ blockNumber: head });
    await world.db.query("UPDATE chain_cursor SET block_number = $1, block_hash = $2 WHERE name = 'channels'", [head, toBytes(hash)]);
    await world.db.query("DELETE FROM watch_cursor");
    expect((await row(buyer)).withdrawInitiatedAt).to.equal(0);
    expect(await compareNext(deps, head)).to.equal(1);
    expect((await row(buyer)).withdrawInitiatedAt).to.be.greaterThan(0);
    expect(await compareNext(deps, head), "nothing is left to heal").to.equal(0);
  });

  it("a claim of our own key that the ledger does not know stops sales: the ledger has forgotten", async () => {
    const buyer = await funded(1000n);
    const follower = createFollower(deps);
    await follower.tick();
    await charge(world.db, buyer, 500n);
    const worker = createSettlementWorker(deps as never);
    await worker.flush();
    const { rows } = await world.db.query<{ tx_id: bigint }>("SELECT b.tx_id FROM settlement_row r JOIN settlement_batch b USING (batch_id) WHERE r.channel_id = $1", [toBytes(buyer.channelId)]);
    expect(rows.length).to.equal(1);
    // As a restored backup has it: neither the batch nor its transaction.
    for (const sql of ["DELETE FROM channel_log WHERE tx_hash = (SELECT hash FROM chain_tx WHERE tx_id = $1)", "DELETE FROM settlement_row WHERE batch_id IN (SELECT batch_id FROM settlement_batch WHERE tx_id = $1)", "DELETE FROM settlement_batch WHERE tx_id = $1", "DELETE FROM chain_tx_version WHERE tx_id = $1", "DELETE FROM chain_tx WHERE tx_id = $1"]) {
      await world.db.query(sql, [rows[0]!.tx_id]);
    }
    expect(await salesStopped(world.db)).to.equal(undefined);
    await mineOther(world, 1);
    await follower.tick();
    expect(await salesStopped(world.db)).to.contain("is not in the ledger");
    const refused = await world.db.query("UPDATE channel SET reserved = reserved + 1 WHERE channel_id = $1", [toBytes(buyer.channelId)]).then(() => undefined, (error: { constraint?: string }) => error.constraint);
    expect(refused).to.equal("ledger_rewound");
    await world.db.query("SELECT ledger_resume_sales('test')");
    await world.db.query("UPDATE channel SET reserved = reserved + 1 WHERE channel_id = $1", [toBytes(buyer.channelId)]);
  });
});
