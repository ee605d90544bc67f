// The unmodified official client (@x402/fetch, @x402/evm batch-settlement) against our gateway and our contracts: open, pay,
// top up, lose state, recover, claim and settle, refund, pay again. Nothing of it is configured beyond a key.
import { InMemoryClientChannelStorage } from "@x402/evm/batch-settlement/client";
import { expect } from "chai";
import { pad, parseUnits, toHex, type Hex } from "viem";
import { sessionChannelsAbi } from "../../sdk/src/abi/session-channels.ts";
import { SESSION_CHANNELS } from "../../sdk/src/constants.ts";
import { loseChannel } from "../support/forget.ts";
import { settleOf, stockBuyer } from "../support/buyer.ts";
import { startTestWorld, type TestWorld } from "../support/relayer.ts";

const PRICE = 1000n;

for (const mode of ["tallystick", "canonical"]) {
  describe(`stock client, settlement mode ${mode}`, function () {
    this.timeout(120_000);
    let world: TestWorld;
    let salts = 0;

    before(async () => {
      world = await startTestWorld({ env: { RELAYER_SETTLEMENT_MODE: mode } });
      await Promise.all([1, 2, 3, 4, 5].map((index) => world.chain.mintUSDC(world.chain.account(index).address, parseUnits("10", 6))));
    });
    after(() => world.stop());

    const url = (path = "/") => `${world.url}/s/echo${path}`;
    const read = (channelId: string) => world.chain.client.readContract({ address: SESSION_CHANNELS, abi: sessionChannelsAbi, functionName: "channels", args: [channelId as Hex] });
    const buyerWith = (index: number, storage = new InMemoryClientChannelStorage(), salt = pad(toHex(++salts))) => ({
      ...stockBuyer(world.chain.account(index), world.chain.url, { storage, salt }),
      storage,
      salt,
    });
    const channelOf = (response: Response) => settleOf(response).extra.channelState;

    it("pays with no configuration at all: one deposit, then vouchers", async () => {
      const { fetch: pay } = stockBuyer(world.chain.account(5), world.chain.url);
      const first = await pay(url(), { method: "POST", body: "0" });
      expect([first.status, settleOf(first).transaction.length]).to.deep.equal([200, 66]);
      for (let call = 1; call <= 12; call++) {
        const response = await pay(url(), { method: "POST", body: `${call}` });
        expect(((await response.json()) as { body: string }).body).to.equal(`${call}`);
        expect(settleOf(response)).to.include({ success: true, transaction: "" });
        expect(channelOf(response)["chargedCumulativeAmount"]).to.equal(String(PRICE * BigInt(call + 1)));
      }
    });

    it("tops up when the deposit is used up", async () => {
      const buyer = buyerWith(1);
      const deposits = new Set<string>();
      let last = "";
      for (let call = 0; call < 105; call++) {
        const response = await buyer.fetch(url());
        expect(response.status).to.equal(200);
        deposits.add(settleOf(response).transaction);
        last = channelOf(response)["channelId"]!;
      }
      deposits.delete("");
      expect(deposits.size).to.equal(2);
      expect((await read(last))[0]).to.equal(200n * PRICE);
    });

    it("recovers from the corrective 402 after losing its state", async () => {
      const buyer = buyerWith(1);
      await buyer.fetch(url(), { method: "POST", body: "one" });
      await buyer.fetch(url(), { method: "POST", body: "two" });
      const forgetful = buyerWith(1, new InMemoryClientChannelStorage(), buyer.salt);
      const response = await forgetful.fetch(url(), { method: "POST", body: "three" });
      expect(response.status).to.equal(200);
      expect(channelOf(response)["chargedCumulativeAmount"]).to.equal(String(3n * PRICE));
    });

    it("two clients of one channel make way for each other", async () => {
      const one = buyerWith(2);
      await one.fetch(url());
      const two = buyerWith(2, new InMemoryClientChannelStorage(), one.salt);
      for (let call = 0; call < 4; call++) {
        expect((await one.fetch(url(), { method: "POST", body: `one ${call}` })).status).to.equal(200);
        expect((await two.fetch(url(), { method: "POST", body: `two ${call}` })).status).to.equal(200);
      }
      const rows = await world.relayer.deps.db.query("SELECT charged FROM channel ORDER BY created_at DESC LIMIT 1");
      expect(rows.rows[0].charged).to.equal(9n * PRICE);
    });

    it("is claimed and settled on chain for exactly what was charged, and pays on afterwards", async () => {
      const buyer = buyerWith(3);
      let state: Record<string, string> = {};
      for (let call = 0; call < 3; call++) state = channelOf(await buyer.fetch(url()));
      const id = state["channelId"]!;
      await world.relayer.settlement.flush();
      expect(await read(id)).to.deep.equal([100n * PRICE, 3n * PRICE]);
      const { token } = world.relayer.deps.config;
      const receiver = world.relayer.deps.config.services[0]!.receiver;
      const [claimed, settled] = await world.chain.client.readContract({ address: SESSION_CHANNELS, abi: sessionChannelsAbi, functionName: "receivers", args: [receiver, token.address] });
      expect(settled).to.equal(claimed);
      const onward = await buyer.fetch(url());
      expect(channelOf(onward)).to.include({ totalClaimed: String(3n * PRICE), chargedCumulativeAmount: String(4n * PRICE) });
    });

    it("refunds a part, then the rest, claiming what is charged first; and the channel can be used again", async () => {
      const buyer = buyerWith(4);
      const id = channelOf(await buyer.fetch(url()))["channelId"]!;
      await buyer.fetch(url());
      const part = await buyer.scheme.refund(url(), { amount: "5000" });
      expect(part).to.include({ success: true, amount: "5000" });
      expect(await read(id)).to.deep.equal([95n * PRICE, 2n * PRICE]);
      const between = await buyer.fetch(url());
      expect(between.status, await between.clone().text()).to.equal(200);
      expect(channelOf(between)).to.include({ chargedCumulativeAmount: String(3n * PRICE), balance: "95000" });
      const rest = await buyer.scheme.refund(url());
      expect(rest).to.include({ success: true, amount: String(92n * PRICE) });
      expect(await read(id)).to.deep.equal([3n * PRICE, 3n * PRICE]);
      const again = await buyer.fetch(url());
      expect(again.status).to.equal(200);
      expect(settleOf(again).transaction).to.match(/^0x/);
      expect(channelOf(again)["chargedCumulativeAmount"]).to.equal(String(4n * PRICE));
    });

    it("a relayer that lost its database starts from what is claimed, and no old voucher comes back", async () => {
      const buyer = buyerWith(3);
      await buyer.fetch(url());
      const state = channelOf(await buyer.fetch(url()));
      await world.relayer.settlement.flush();
      await loseChannel(world.relayer.deps.db, state["channelId"] as `0x${string}`);
      const response = await buyer.fetch(url());
      expect(response.status).to.equal(200);
      expect(channelOf(response)["chargedCumulativeAmount"]).to.equal(String(3n * PRICE));
    });
  });
}
