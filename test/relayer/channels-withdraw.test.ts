// A payer that starts a withdrawal and buys at the same moment, with dust and with everything: what was sold is claimed before it can leave.
import { expect } from "chai";
import { pad, parseUnits, toHex, type Hex } from "viem";
import { findChannel } from "../../relayer/src/capabilities/channels/store.ts";
import { manualBuyer } from "../support/buyer.ts";
import { startTestWorld, type TestWorld } from "../support/relayer.ts";
import { Sessions } from "../support/session.ts";

const PRICE = 1000n;

describe("withdrawals and payments at the same moment", function () {
  this.timeout(180_000);
  let world: TestWorld;
  let sessions: Sessions;
  let salts = 0;
  before(async () => {
    world = await startTestWorld({ env: { RELAYER_CHAIN_POLL_MS: "400" } });
    sessions = new Sessions(world.chain);
    await Promise.all([1, 2, 3].map((index) => world.chain.mintUSDC(world.chain.account(index).address, parseUnits("10", 6))));
  });
  after(() => world.stop());

  async function opened(index: number) {
    const account = world.chain.account(index);
    const buyer = manualBuyer(account, `${world.url}/s/echo/`, pad(toHex(0xd0 + ++salts)));
    const terms = await buyer.terms();
    const first = await buyer.send(await buyer.depositPayment(terms, 50n * PRICE, PRICE));
    expect(first.status, await first.clone().text()).to.equal(200);
    const pay = async (calls: bigint) => buyer.send(await buyer.voucherPayment(terms, calls * PRICE));
    return { account, config: buyer.configFor(terms), channelId: buyer.channelId(terms) as Hex, pay };
  }
  const row = async (channelId: Hex) => (await findChannel(world.relayer.deps.db, channelId))!;
  async function until(done: () => Promise<boolean>): Promise<void> {
    for (let attempt = 0; !(await done()); attempt++) {
      if (attempt > 300) throw new Error("it did not happen");
      await new Promise((next) => setTimeout(next, 100));
    }
  }

  it("whatever is sold before the withdrawal is seen can be claimed through its delay; then nothing is sold, until it is cancelled", async () => {
    // All of them first: the chain's clock is moved later, and authorisations are dated.
    const payers = [await opened(1), await opened(2), await opened(3)];
    for (const [nth, amount] of [1n, 49n * PRICE, 20n * PRICE].entries()) {
      const { account, config, channelId, pay } = payers[nth]!;
      let sold = 1n;
      const withdrawing = sessions.send(account as never, "initiateWithdraw", [config, amount]);
      // As fast as a payer can, from before its withdrawal is mined until it is seen.
      for (let refused = false; !refused && sold < 40n; ) {
        const response = await pay(sold + 1n);
        if (response.status === 200) sold += 1n;
        else {
          expect((await response.json()) as object, `withdrawal of ${amount}`).to.include({ code: "withdrawal_pending", status: 402 });
          refused = true;
        }
      }
      await withdrawing;
      await until(async () => (await row(channelId)).withdrawInitiatedAt > 0);
      expect(((await (await pay(sold + 1n)).json()) as { code: string }).code).to.equal("withdrawal_pending");
      expect((await row(channelId)).charged).to.equal(sold * PRICE);

      await world.relayer.settlement.flush();
      await until(async () => (await row(channelId)).totalClaimed === sold * PRICE);
      if (amount === 1n) {
        await sessions.send(account as never, "cancelWithdraw", [config]);
        await until(async () => (await row(channelId)).withdrawInitiatedAt === 0);
        expect((await pay(sold + 1n)).status, "served again").to.equal(200);
        continue;
      }
      const { timestamp } = await world.chain.client.getBlock();
      await world.chain.warpTo(timestamp + BigInt(config.withdrawDelay) + 1n);
      await sessions.send(account as never, "finalizeWithdraw", [config]);
      await until(async () => (await row(channelId)).withdrawInitiatedAt === 0);
      // The payer took what was free, and not one unit of what was sold.
      const after = await row(channelId);
      expect(after.totalClaimed).to.equal(sold * PRICE);
      expect(after.balance >= sold * PRICE).to.equal(true);
    }
  });
});
