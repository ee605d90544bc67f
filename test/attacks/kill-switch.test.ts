// Attack: the kill switch goes on while an agent's payments are in flight, on both rails, over two processes. What was not charged yet never is.
import { expect } from "chai";
import { setTimeout as sleep } from "node:timers/promises";
import { assertSpent, chargedTo, inForce, moneyOf, payerOf, policyOf, type Refused } from "../support/firewall.ts";
import { sendPayment } from "../support/exact-hand.ts";
import { startTestWorld, type TestWorld } from "../support/relayer.ts";

describe("attack: kill switch in flight", function () {
  this.timeout(300_000);
  let world: TestWorld;
  let second: string;
  before(async () => {
    world = await startTestWorld();
    second = (await world.anotherRelayer()).url;
    // Upstreams are held longer than a busy machine takes.
    await world.relayer.deps.db.query("UPDATE service SET upstream_timeout_ms = 120000");
  });
  after(() => world.stop());

  const urls = () => [world.url, second];

  it("payments whose upstream is running are not charged, and their answers stay here", async () => {
    const payer = await payerOf(world);
    const { buyer, required, channelId } = await payer.channel();
    const held = await moneyOf(world, payer.account.address);
    const inFlight: Promise<Response>[] = [];
    const arrived = world.provider.seen.length;
    for (const [index, url] of urls().entries()) {
      inFlight.push(buyer.send(await buyer.voucherPayment(required, 1_000n * BigInt(index + 3)), {}, `${url}/s/echo/gate/5`));
      inFlight.push(sendPayment(`${url}/s/echo/gate/5`, await payer.exactPayment()));
    }
    while (world.provider.seen.length < arrived + inFlight.length) await sleep(10);
    await inForce(world.url, payer.account, policyOf(payer.account.address, { stop: true }));
    // Known in the other process too.
    for (const url of urls()) while ((await payer.exact(`${url}/s/echo/`)).status !== 403) await sleep(20);
    const charged = await chargedTo(world, payer.account.address);
    const before = await moneyOf(world, payer.account.address);
    await fetch(`${world.provider.origin}/gate/5`);
    for (const response of await Promise.all(inFlight)) {
      expect(response.status, await response.clone().text()).equal(403);
      expect((await response.json()) as Refused).include({ code: "firewall_rejected", rule: "stop" });
    }
    expect(charged).deep.equal(await chargedTo(world, payer.account.address));
    expect(before).equal(await moneyOf(world, payer.account.address));
    await assertSpent(world, payer.account.address, { charged: charged.amount, held: before, channelId });
    // What the other process let pass before it heard is bounded by what it was asked; nothing of what was in flight is in it.
    expect(held - before).equal(charged.amount - 1_000n);
  });

  it("a storm of payments over two processes: each process refuses once the switch counts there, and the sums agree to the unit", async () => {
    const payers = await Promise.all([1, 2, 3].map(async () => {
      const payer = await payerOf(world);
      return { ...payer, ...(await payer.channel(900_000n)) };
    }));
    let killed = false;
    const storm = payers.flatMap((payer) => urls().map(async (url, side) => {
      const statuses: number[] = [];
      for (let n = 0; n < 400 && !(killed && statuses.at(-1) === 403); n++) {
        const payment = await payer.buyer.voucherPayment(payer.required, 1_000n * BigInt(2 * n + 2 + side));
        statuses.push((await payer.buyer.send(payment, {}, `${url}/s/echo/`)).status);
      }
      return statuses;
    }));
    await sleep(300);
    for (const payer of payers) await inForce(world.url, payer.account, policyOf(payer.account.address, { stop: true }));
    killed = true;
    for (const statuses of await Promise.all(storm)) expect(statuses.at(-1)).equal(403);
    for (const payer of payers) {
      const charged = await chargedTo(world, payer.account.address);
      const held = await moneyOf(world, payer.account.address);
      for (const url of urls()) for (let n = 0; n < 5; n++) expect([(await payer.pay(1_000_000n, `${url}/s/echo/`)).status, (await payer.exact(`${url}/s/echo/`)).status]).deep.equal([403, 403]);
      expect(charged.amount).equal(1_000n * BigInt(charged.count));
      await assertSpent(world, payer.account.address, { charged: charged.amount, held, channelId: payer.channelId });
    }
  });
});
