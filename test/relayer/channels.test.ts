import { expect } from "chai";
import { numberToHex, parseEther, type Hex } from "viem";
import { generatePrivateKey } from "viem/accounts";
import { rpc } from "../../scripts/local/chain.ts";
import { ERC3009_COLLECTOR, SESSION_CHANNELS } from "../../sdk/src/constants.ts";
import { checkContracts, contractProblems } from "../../relayer/src/chain/contracts.ts";
import { depositCalldata } from "../../relayer/src/capabilities/channels/deposit-check.ts";
import { createFollower } from "../../relayer/src/capabilities/channels/follower.ts";
import { signRefundWithinLimit } from "../../relayer/src/capabilities/channels/refund-limit.ts";
import { carryDeposit, openChannel, readView, refundChannel } from "../../relayer/src/capabilities/channels/service.ts";
import { findChannel } from "../../relayer/src/capabilities/channels/store.ts";
import { toBytes } from "../../relayer/src/db/codec.ts";
import { charge, depositRequest, mineOther, newBuyer, sendToChannels, signVoucher, startWorld, type Buyer, type TestDeps, type World } from "../support/settlement-world.ts";

describe("channels", function () {
  this.timeout(60_000);
  let world: World;
  let deps: TestDeps;
  before(async () => {
    world = await startWorld();
    deps = await world.relayer();
  });
  after(() => world.stop());
  afterEach(() => world.proxy.heal());

  const deposits = async ({ channelId }: Buyer) => (await world.db.query("SELECT 1 FROM deposit WHERE channel_id = $1", [toBytes(channelId)])).rowCount;
  const sent = async (purpose: string) => Number((await world.db.query("SELECT count(*) AS n FROM chain_tx WHERE purpose = $1", [purpose])).rows[0].n);
  const onChain = async ({ channelId }: Buyer) => (await readView(deps, [channelId])).get(channelId)!;
  const funded = async (amount = 1000n, terms = {}) => {
    const buyer = await newBuyer(world, terms);
    await carryDeposit(deps, await depositRequest(buyer, amount));
    return buyer;
  };

  describe("checkContracts", () => {
    it("accepts what stands there, in both modes", async () => {
      await checkContracts(deps);
      await checkContracts({ ...deps, config: { ...deps.config, settlementMode: "canonical" } });
    });
    it("says precisely what is wrong", async () => {
      const problems = (change: object) => contractProblems({ ...deps, config: { ...deps.config, ...change } });
      expect((await problems({ chainId: 8453 }))[0]).to.match(/chain 84532.*8453/);
      expect((await problems({ sessionChannels: deps.submitter.address }))[0]).to.match(/no code at SessionChannels/);
      expect((await problems({ sessionChannels: ERC3009_COLLECTOR })).length).to.equal(7);
      expect((await problems({ token: { ...deps.config.token, name: "USD Coin" } }))[0]).to.match(/another EIP-712 domain/);
    });
  });

  describe("carryDeposit", () => {
    it("sends one transaction for ten identical requests at once, and none for a later one", async () => {
      const buyer = await newBuyer(world);
      const request = await depositRequest(buyer, 1000n);
      const before = await sent("deposit");
      const results = await Promise.all(Array.from({ length: 10 }, () => carryDeposit(deps, request)));
      const other = await world.relayer();
      results.push(await carryDeposit(other, request));
      expect(new Set(results.map(({ txHash }) => txHash)).size).to.equal(1);
      expect(results.every(({ channel }) => channel.balance === 1000n)).to.equal(true);
      expect((await sent("deposit")) - before).to.equal(1);
      expect((await onChain(buyer)).balance).to.equal(1000n);
    });

    it("tops up an open channel", async () => {
      const buyer = await funded(1000n);
      const { channel } = await carryDeposit(deps, await depositRequest(buyer, 500n));
      expect(channel.balance).to.equal(1500n);
    });

    const nowS = () => BigInt(Math.floor(Date.now() / 1000));
    const at = "payload.deposit.authorization.erc3009Authorization";
    const bad: [string, (buyer: Buyer) => Promise<object>, string, string, string][] = [
      ["an ended window", (buyer) => depositRequest(buyer, 10n, { validBefore: nowS() + 4n }), "deposit_expired", `${at}.validBefore`, "payload_authorization_valid_before"],
      ["a window not begun", (buyer) => depositRequest(buyer, 10n, { validAfter: nowS() + 60n }), "deposit_not_yet_valid", `${at}.validAfter`, "payload_authorization_valid_after"],
      ["a signature over another amount", async (buyer) => ({ ...(await depositRequest(buyer, 10n)), amount: 11n }), "deposit_signature_invalid", `${at}.signature`, "receive_authorization_signature"],
      ["a signature that is none", (buyer) => depositRequest(buyer, 10n, { signature: "0x1234" }), "deposit_signature_invalid", `${at}.signature`, "receive_authorization_signature"],
      ["more than the payer holds", (buyer) => depositRequest(buyer, 2_000_000n), "deposit_insufficient_balance", "payload.deposit.amount", "insufficient_balance"],
      ["an amount of zero", (buyer) => depositRequest(buyer, 0n), "deposit_refused", "payload.deposit.amount", "deposit_simulation_failed"],
      ["another channel id", async (buyer) => ({ ...(await depositRequest(buyer, 10n)), channelId: numberToHex(1, { size: 32 }) }), "channel_id_mismatch", "payload.voucher.channelId", "channel_id_mismatch"],
    ];
    for (const [name, make, code, field, word] of bad) {
      it(`refuses ${name}`, async () => {
        const buyer = await newBuyer(world);
        const error = await failure(carryDeposit(deps, (await make(buyer)) as never));
        expect(error).to.include({ code, field, status: 402 });
        expect(error.extra.x402Error).to.equal(`invalid_batch_settlement_evm_${word}`);
        expect(await deposits(buyer)).to.equal(0);
      });
    }

    it("refuses terms that the contract refuses, naming the field", async () => {
      const buyer = await newBuyer(world, { withdrawDelay: 60 });
      expect(await failure(carryDeposit(deps, await depositRequest(buyer, 10n)))).to.include({ code: "withdraw_delay_out_of_range", field: "payload.channelConfig.withdrawDelay" });
    });

    it("takes a used authorisation for done when it funded this channel", async () => {
      const buyer = await newBuyer(world);
      const request = await depositRequest(buyer, 700n);
      await rpc(world.nodeUrl, "hardhat_setBalance", [buyer.config.payer, numberToHex(parseEther("1"))]);
      await rpc(world.nodeUrl, "hardhat_impersonateAccount", [buyer.config.payer]);
      const hash = await rpc<Hex>(world.nodeUrl, "eth_sendTransaction", [{ from: buyer.config.payer, to: SESSION_CHANNELS, data: depositCalldata(deps, request, request.authorization.signature) }]);
      const carried = await carryDeposit(deps, request);
      expect(carried.txHash).to.equal(hash);
      expect(carried.channel.balance).to.equal(700n);
      expect(await deposits(buyer)).to.equal(0);
    });

    it("an unreachable chain is our fault and leaves nothing behind", async () => {
      const buyer = await newBuyer(world);
      const request = await depositRequest(buyer, 10n);
      world.proxy.fail({ method: "*", kind: "drop" });
      expect(await failure(carryDeposit(deps, request))).to.include({ code: "chain_unavailable", status: 503, retry: "safe" });
      expect(await deposits(buyer)).to.equal(0);
      world.proxy.heal();
      expect((await carryDeposit(deps, request)).channel.balance).to.equal(10n);
    });

    it("an answer lost at broadcast is found again, not sent again", async () => {
      const buyer = await newBuyer(world);
      world.proxy.fail({ method: "eth_sendRawTransaction", kind: "lose" });
      const { channel } = await carryDeposit(deps, await depositRequest(buyer, 10n));
      expect(channel.balance).to.equal(10n);
      expect((await onChain(buyer)).balance).to.equal(10n);
    });
  });

  describe("openChannel", () => {
    it("refuses what the chain does not know, and takes in what it does", async () => {
      const buyer = await newBuyer(world);
      const error = await failure(openChannel(deps, buyer.config));
      expect(error).to.include({ code: "channel_not_found", status: 402, field: "payload.voucher.channelId" });
      expect(error.extra.x402Error).to.equal("invalid_batch_settlement_evm_channel_not_found");
      await externalDeposit(buyer, 300n);
      expect((await openChannel(deps, buyer.config)).balance).to.equal(300n);
    });
  });

  async function externalDeposit(buyer: Buyer, amount: bigint): Promise<void> {
    const request = await depositRequest(buyer, amount);
    const data = depositCalldata(deps, request, request.authorization.signature);
    const from = buyer.config.payer;
    await rpc(world.nodeUrl, "hardhat_setBalance", [from, numberToHex(parseEther("1"))]);
    await rpc(world.nodeUrl, "hardhat_impersonateAccount", [from]);
    await rpc(world.nodeUrl, "eth_sendTransaction", [{ from, to: SESSION_CHANNELS, data }]);
  }

  describe("refundChannel", () => {
    const refund = async (buyer: Buyer, ceiling: bigint, amount?: bigint) =>
      refundChannel(deps, { config: buyer.config, channelId: buyer.channelId, amount, voucher: { ceiling, signature: await signVoucher(buyer, ceiling) }, paymentId: "refund" });

    it("claims what is charged and returns the rest in one transaction", async () => {
      const buyer = await funded(1000n);
      await charge(world.db, buyer, 300n);
      const result = await refund(buyer, 300n);
      expect(result.amount).to.equal(700n);
      expect(await onChain(buyer)).to.include({ balance: 300n, totalClaimed: 300n });
      expect(result.channel).to.include({ balance: 300n, totalClaimed: 300n, charged: 300n, frozenBy: undefined });
      expect(await failure(refund(buyer, 300n))).to.include({ code: "refund_no_balance" });
    });

    it("keeps the request of a part, and refuses what would touch charges", async () => {
      const buyer = await funded(1000n);
      await charge(world.db, buyer, 300n);
      expect(await failure(refund(buyer, 300n, 701n))).to.include({ code: "refund_amount_invalid" });
      expect(await failure(refund(buyer, 300n, 0n))).to.include({ code: "refund_amount_invalid" });
      expect(await failure(refund(buyer, 299n))).to.include({ code: "cumulative_amount_mismatch" });
      expect((await refund(buyer, 300n, 200n)).amount).to.equal(200n);
      expect((await onChain(buyer)).balance).to.equal(800n);
    });

    it("never signs below what is charged, whoever asks", async () => {
      const buyer = await funded(1000n);
      await charge(world.db, buyer, 300n);
      const channel = (await findChannel(world.db, buyer.channelId))!;
      expect(await failure(signRefundWithinLimit(deps, channel, 701n))).to.include({ code: "refund_above_limit" });
      expect(await failure(signRefundWithinLimit(deps, { ...channel, reserved: 1n }, 1n))).to.include({ code: "refund_above_limit" });
    });

    it("waits for payments under way", async () => {
      const buyer = await funded(1000n);
      await world.db.query("UPDATE channel SET reserved = 1 WHERE channel_id = $1", [toBytes(buyer.channelId)]);
      expect(await failure(refund(buyer, 0n))).to.include({ code: "channel_busy", retry: "safe" });
    });

    it("two identical refunds at once send one", async () => {
      const buyer = await funded(1000n);
      const before = await sent("refund");
      const results = await Promise.allSettled([refund(buyer, 0n), refund(buyer, 0n)]);
      expect(results.some(({ status }) => status === "fulfilled")).to.equal(true);
      expect((await sent("refund")) - before).to.equal(1);
      expect((await onChain(buyer)).balance).to.equal(0n);
    });

    it("a crash after the commit leaves the channel frozen until the follower of another process resolves it", async () => {
      const submitterKey = generatePrivateKey();
      const crashed = await world.relayer({ submitterKey });
      const buyer = await funded(1000n);
      await charge(world.db, buyer, 400n);
      world.proxy.fail({ method: "eth_sendRawTransaction", kind: "drop" });
      const dying = { ...crashed, submitter: { ...crashed.submitter, wait: () => Promise.reject(new Error("crash")) } };
      await failure(refundChannel(dying, { config: buyer.config, channelId: buyer.channelId, amount: undefined, voucher: { ceiling: 400n, signature: "0x" }, paymentId: "r" }));
      expect((await findChannel(world.db, buyer.channelId))!.frozenBy).to.equal("refund");
      expect((await onChain(buyer)).balance).to.equal(1000n);
      world.proxy.heal();

      const next = await world.relayer({ submitterKey });
      await next.submitter.sweep();
      await next.submitter.sweep();
      await createFollower(next).tick();
      expect(await findChannel(world.db, buyer.channelId)).to.include({ frozenBy: undefined, balance: 400n, totalClaimed: 400n });
    });
  });

  describe("follower", () => {
    it("sees deposits, withdrawals and claims of others, and keeps its place over a restart", async () => {
      const buyer = await funded(1000n);
      await createFollower(deps).tick();
      await externalDeposit(buyer, 50n);
      await sendToChannels(world, buyer.config.payer, "initiateWithdraw", [buyer.config, 100n]);
      const follower = createFollower(deps);
      expect(follower.lastReadAt()).to.equal(undefined);
      await follower.tick();
      const seen = (await findChannel(world.db, buyer.channelId))!;
      expect(seen).to.include({ balance: 1050n, withdrawAmount: 100n });
      expect(seen.withdrawInitiatedAt).to.be.greaterThan(0);
      expect(follower.lastReadAt()).to.not.equal(undefined);

      const voucher = { channel: buyer.config, maxClaimableAmount: 70n };
      await sendToChannels(world, buyer.config.receiver, "claim", [[{ voucher, signature: await signVoucher(buyer, 70n), totalClaimed: 70n }]]);
      await follower.tick();
      // Claimed without us: it can never be charged again.
      expect(await findChannel(world.db, buyer.channelId)).to.include({ totalClaimed: 70n, charged: 70n });
    });

    it("takes back what a reorganisation took back, also on a shorter chain", async () => {
      const buyer = await funded(1000n);
      const follower = createFollower(deps);
      await follower.tick();
      const snapshot = await rpc<Hex>(world.nodeUrl, "evm_snapshot");
      await externalDeposit(buyer, 500n);
      await mineOther(world, 3);
      await follower.tick();
      expect((await findChannel(world.db, buyer.channelId))!.balance).to.equal(1500n);
      await rpc(world.nodeUrl, "evm_revert", [snapshot]);
      await mineOther(world, 1);
      for (let pass = 0; pass < 3; pass++) await follower.tick();
      expect((await findChannel(world.db, buyer.channelId))!.balance).to.equal(1000n);
    });

    it("corrects a view read above its cursor in a block that vanished", async () => {
      const buyer = await funded(1000n);
      const follower = createFollower(deps);
      await follower.tick();
      const snapshot = await rpc<Hex>(world.nodeUrl, "evm_snapshot");
      await carryDeposit(deps, await depositRequest(buyer, 500n)); // the cursor has not seen this block
      await rpc(world.nodeUrl, "evm_revert", [snapshot]);
      await mineOther(world, 2);
      for (let pass = 0; pass < 3; pass++) await follower.tick();
      expect((await findChannel(world.db, buyer.channelId))!.balance).to.equal(1000n);
      // The signed bytes are still good: the submitter brings the deposit back.
      await deps.submitter.sweep();
      await mineOther(world, 1);
      await follower.tick();
      expect((await findChannel(world.db, buyer.channelId))!.balance).to.equal((await onChain(buyer)).balance);
    });

    it("fails aloud when the chain is away and does not move its place", async () => {
      const follower = createFollower(deps);
      world.proxy.fail({ method: "*", kind: "error" });
      expect(await failure(follower.tick())).to.include({ code: "chain_unavailable" });
      expect(follower.lastReadAt()).to.equal(undefined);
    });
  });

  it("reads at confirmed depth only", async () => {
    const deep = await world.relayer({ env: { RELAYER_CONFIRMATIONS: "4" } });
    const buyer = await newBuyer(world);
    await externalDeposit(buyer, 300n);
    expect(await failure(openChannel(deep, buyer.config))).to.include({ code: "deposit_pending", status: 503, retry: "safe" });
    await mineOther(world, 3);
    expect((await openChannel(deep, buyer.config)).balance).to.equal(300n);
  });
});

async function failure(promise: Promise<unknown>): Promise<Error & { code?: string; extra: Record<string, unknown> }> {
  return promise.then(
    () => { throw new Error("it did not fail"); },
    (error: Error & { extra: Record<string, unknown> }) => error,
  );
}
