// Attack: on the way to the buyer the payee of the terms is swapped for the thief's. The buyer signs what it was shown.
import { expect } from "chai";
import { pad } from "viem";
import { privateKeyToAccount } from "viem/accounts";
import { manualBuyer } from "../support/buyer.ts";
import { addressOf, keyOf } from "../support/config.ts";
import { authorize, exactTermsOf, paymentOf, sendPayment } from "../support/exact-hand.ts";
import { assertSpent, inForce, moneyOf, payerOf, policyOf, postTo, type Refused } from "../support/firewall.ts";
import { callerAs, SHOP_URL } from "../support/provider-world.ts";
import { startTestWorld, type TestWorld } from "../support/relayer.ts";

describe("attack: swapped payee", function () {
  this.timeout(240_000);
  const THIEF = addressOf(9);
  let world: TestWorld;
  before(async () => {
    world = await startTestWorld({ env: { RELAYER_FACILITATOR: "open" } });
    const shop = await callerAs(world, 12);
    expect((await shop("POST", "/services", { name: "shop", url: SHOP_URL, price: "$0.001", description: "d" })).status).equal(201);
  });
  after(() => world.stop());

  it("the gateway knows whom it sells for, on both rails", async () => {
    const payer = await payerOf(world);
    const required = await payer.terms();
    const held = await moneyOf(world, payer.account.address);
    const accepted = { ...exactTermsOf(required), payTo: THIEF };
    expect((await sendPayment(payer.resource, paymentOf(accepted, await authorize(payer.account, accepted)))).status).equal(402);
    const buyer = manualBuyer(payer.account, payer.resource, pad("0x77"));
    const swapped = { ...required, accepts: [{ ...required.accepts[0], payTo: THIEF }] as typeof required.accepts };
    expect((await buyer.send(await buyer.depositPayment(swapped, 100_000n, 1_000n))).status).equal(402);
    // The terms put right again, the channel still for the thief.
    expect((await buyer.send({ ...(await buyer.depositPayment(swapped, 100_000n, 1_000n)), accepted: required.accepts[0] })).status).equal(402);
    await assertSpent(world, payer.account.address, { charged: 0n, held });
    expect(await moneyOf(world, THIEF)).equal(0n);
  });

  it("a facilitator's policy `recipient: registered` stops a payment to anybody but the payee that the shop is registered with", async () => {
    const payer = await payerOf(world);
    const held = await moneyOf(world, payer.account.address);
    await inForce(world.url, payer.account, policyOf(payer.account.address, { recipient: "registered" }));
    const real = { ...exactTermsOf(await payer.terms()), payTo: addressOf(12) };
    const ask = async (path: string, terms: typeof real, url: string | undefined) => {
      const payment = { ...paymentOf(terms, await authorize(payer.account, terms)), ...(url === undefined ? {} : { resource: { url, description: "", mimeType: "" } }) };
      return (await postTo(`${world.url}${path}`, { x402Version: 2, paymentPayload: payment, paymentRequirements: terms })).json() as Promise<Record<string, unknown>>;
    };
    const swapped = { ...real, payTo: THIEF };
    for (const url of [`${SHOP_URL}/quote`, undefined, "https://shop.example/apiary", "https://thief.example/"]) {
      expect(await ask("/verify", swapped, url), url).include({ isValid: false, invalidReason: "firewall_rejected" });
      expect(await ask("/settle", swapped, url), url).include({ success: false, errorReason: "firewall_rejected" });
    }
    await assertSpent(world, payer.account.address, { charged: 0n, held });
    expect(await moneyOf(world, THIEF)).equal(0n);
    expect(await ask("/settle", real, `${SHOP_URL}/quote`)).include({ success: true });
    await assertSpent(world, payer.account.address, { charged: 0n, held: held - 1_000n });
  });

  it("a service that changes hands is judged by whom it is registered with now", async () => {
    const payer = await payerOf(world);
    const thief = privateKeyToAccount(keyOf(9));
    await inForce(world.url, payer.account, policyOf(payer.account.address, { payees: { allow: [addressOf(12)] }, recipient: "registered" }));
    const asThief = await callerAs(world, 9);
    expect((await asThief("POST", "/services", { name: "shop2", origin: world.provider.origin, price: "$0.001", description: "d" })).status).equal(201);
    const bought = await payerOf(world, "/s/shop2/");
    await inForce(world.url, bought.account, policyOf(bought.account.address, { payees: { allow: [addressOf(12)] }, recipient: "registered" }));
    const held = await moneyOf(world, bought.account.address);
    const refused = (await (await bought.exact()).json()) as Refused;
    expect(refused).include({ code: "firewall_rejected", rule: "payees.allow" });
    await assertSpent(world, bought.account.address, { charged: 0n, held });
    expect(await moneyOf(world, thief.address)).equal(0n);
  });
});
