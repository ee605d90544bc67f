// The firewall as buyers and sellers meet it: every rule on both rails, and that what it refuses moved nothing.
import { expect } from "chai";
import { privateKeyToAccount } from "viem/accounts";
import { keyOf, ROLE, addressOf } from "../support/config.ts";
import { exactTermsOf } from "../support/exact-hand.ts";
import { settleOf } from "../support/buyer.ts";
import { callerAs, chargeBody, SHOP_URL, takeAs, requiredIn } from "../support/provider-world.ts";
import { applyPolicy, asOwner, chargedTo, inChannels, inForce, moneyOf, payerOf, policyOf, postTo, type Refused } from "../support/firewall.ts";
import { startTestWorld, type TestWorld } from "../support/relayer.ts";
import type { Rules } from "../../sdk/src/firewall/policy.ts";

const RECEIVER = addressOf(ROLE.receiver);
const STRANGER = addressOf(11);
const OPERATOR = 14;

describe("firewall", function () {
  this.timeout(240_000);
  let world: TestWorld;
  before(async () => {
    world = await startTestWorld({ env: { RELAYER_FIREWALL_OPERATORS: addressOf(OPERATOR) } });
  });
  after(() => world.stop());

  const refusedOf = async (response: Response): Promise<Refused> => {
    expect(response.status, await response.clone().text()).equal(403);
    expect(response.headers.get("payment-response")).equal(null);
    return (await response.json()) as Refused;
  };

  const rules: [string, Rules][] = [
    ["stop", { stop: true }],
    ["mandate", { mandate: "required" }],
    ["payees.allow", { payees: { allow: [STRANGER] } }],
    ["payees.deny", { payees: { allow: "any", deny: [RECEIVER] } }],
    ["capabilities.allow", { capabilities: { allow: ["weather"] } }],
    ["capabilities.deny", { capabilities: { allow: "any", deny: ["service:echo"] } }],
    ["price.max", { price: { max: "999" } }],
    ["hours", { hours: { zone: "Europe/Berlin", windows: [] } }],
  ];
  for (const [rule, change] of rules) {
    it(`${rule}: refused on both rails, named, written down, and no money moves`, async () => {
      const payer = await payerOf(world);
      const channel = await payer.channel();
      expect(channel.first.status).equal(200);
      await inForce(world.url, payer.account, policyOf(payer.account.address, change));
      const before = { own: await moneyOf(world, payer.account.address), channels: await inChannels(world), seen: world.provider.seen.length };
      for (const response of [await channel.pay(2_000n), await payer.exact()]) {
        const refused = await refusedOf(response);
        expect(refused).include({ code: "firewall_rejected", decision: "REJECTED", rule, retry: "never" });
        expect(refused.proof).include({ type: "money_never_moved", status: "NEVER", paymentId: refused.paymentId });
        expect(refused.policy).include({ name: "spending", version: 1 });
        const { rows } = await world.relayer.deps.db.query("SELECT code, detail FROM audit WHERE payment_id = $1", [refused.paymentId]);
        expect(rows).length(1);
        const asked = await postTo(`${world.url}/api/firewall/check`, { paymentId: refused.paymentId }, await asOwner(world.url, payer.account));
        expect(await asked.json()).include({ decision: "REJECTED", rule });
        const told = await fetch(`${world.url}/api/v1/payments/${refused.paymentId}`, { headers: await asOwner(world.url, payer.account) });
        expect(await told.json()).include({ status: "NEVER", reason: `firewall ${rule}`, transaction: null, chargedAtomic: null, priceAtomic: "1000" });
        const trace = (await (await fetch(`${world.url}/api/v1/payments/${refused.paymentId}/trace`, { headers: await asOwner(world.url, payer.account) })).json()) as { steps: Record<string, unknown>[] };
        expect(trace.steps.map(({ name }) => name)).deep.equal(["offer (402)", "refused", "status"]);
      }
      expect(await chargedTo(world, payer.account.address)).deep.equal({ count: 1, amount: 1_000n });
      expect({ own: await moneyOf(world, payer.account.address), channels: await inChannels(world), seen: world.provider.seen.length }).deep.equal(before);
    });
  }

  it("a payment that the policy allows is sold as without one, and a higher version lifts what a lower one forbade", async () => {
    const payer = await payerOf(world);
    const channel = await payer.channel();
    const at = (version: number, change: Rules) => inForce(world.url, payer.account, policyOf(payer.account.address, change, { version }));
    await at(1, { payees: { allow: [RECEIVER] }, capabilities: { allow: ["echo"] }, price: { max: "1000", overListedBps: 0, overNegotiatedBps: 0 }, recipient: "registered", hours: { zone: "UTC", windows: [{ days: ["mon", "tue", "wed", "thu", "fri", "sat", "sun"], from: "00:00", to: "24:00" }] } });
    expect([(await channel.pay(2_000n)).status, (await payer.exact()).status]).deep.equal([200, 200]);
    await at(2, { stop: true });
    expect([(await channel.pay(3_000n)).status, (await payer.exact()).status]).deep.equal([403, 403]);
    await at(3, {});
    expect([(await channel.pay(3_000n)).status, (await payer.exact()).status]).deep.equal([200, 200]);
  });

  it("a deposit is refused before it is carried", async () => {
    const payer = await payerOf(world);
    await inForce(world.url, payer.account, policyOf(payer.account.address, { payees: { allow: [] } }));
    const before = await moneyOf(world, payer.account.address);
    const { first } = await payer.channel();
    expect(await refusedOf(first)).include({ rule: "payees.allow" });
    expect(await moneyOf(world, payer.account.address)).equal(before);
  });

  it("what was paid for before is still handed out when the kill switch is on", async () => {
    const payer = await payerOf(world);
    const { buyer, required } = await payer.channel();
    const payment = await buyer.voucherPayment(required, 2_000n);
    const first = await buyer.send(payment);
    await inForce(world.url, payer.account, policyOf(payer.account.address, { stop: true }));
    const again = await buyer.send(payment);
    expect([again.status, await again.text()]).deep.equal([200, await first.text()]);
    expect(settleOf(again).extra.chargedAmount).equal("1000");
    expect((await chargedTo(world, payer.account.address)).count).equal(2);
  });

  it("a flood of forged payments in a payer's name writes no row", async () => {
    const victim = await payerOf(world);
    await inForce(world.url, victim.account, policyOf(victim.account.address, { stop: true }));
    const forger = await payerOf(world);
    const exact = await forger.exactPayment();
    exact.payload.authorization.from = victim.account.address;
    const { buyer, required } = await forger.channel();
    const forged = await buyer.voucherPayment(required, 2_000n);
    const config = { ...(forged.payload as { channelConfig: object }).channelConfig, payer: victim.account.address, payerAuthorizer: forger.account.address };
    const { deps } = world.relayer;
    const channelId = deps.hasher.channelId(config as Parameters<typeof deps.hasher.channelId>[0]);
    const voucher = { ...forged, payload: { type: "voucher", channelConfig: config, voucher: await buyer.voucher(channelId, 2_000n) } };
    const deposit = { ...voucher, payload: { ...voucher.payload, type: "deposit", deposit: { amount: "100000", authorization: await buyer.authorization(channelId, 100_000n) } } };
    const send = async (payment: unknown) => (await buyer.send(payment)).status;
    expect([await send(exact), await send(voucher), await send(deposit)]).deep.equal([402, 402, 402]);
    const { rows } = await deps.db.query("SELECT 1 FROM firewall_event WHERE payer = $1", [Buffer.from(victim.account.address.slice(2), "hex")]);
    expect(rows).deep.equal([]);
  });

  it("a provider's own server is refused a sale like anybody's, and may not ask more than is listed", async () => {
    const seller = await callerAs(world, 12);
    expect((await seller("POST", "/services", { name: "shop", url: SHOP_URL, price: "$0.001", description: "d" })).status).equal(201);
    const payer = await payerOf(world);
    await inForce(world.url, payer.account, policyOf(payer.account.address, { price: { overListedBps: 100 } }));
    const { authorize, paymentOf } = await import("../support/exact-hand.ts");
    const pay = async (priceAtomic: string) => {
      const accepted = exactTermsOf(requiredIn(await takeAs(seller, { service: "shop", priceAtomic })));
      return takeAs(seller, { service: "shop", priceAtomic, payment: paymentOf(accepted, await authorize(payer.account, accepted)) });
    };
    const refused = await pay("1011");
    expect(refused.body).include({ outcome: "refused", code: "firewall_rejected" });
    expect(refused.body["answer"].status).equal(403);
    const sold = await pay("1010");
    expect(sold.body).include({ outcome: "reserved" });
    expect((await seller("POST", `/sales/${sold.body["paymentId"]}/charge`, chargeBody("quote"))).status).equal(200);
    expect(await chargedTo(world, payer.account.address)).deep.equal({ count: 1, amount: 1_010n });
  });

  it("a seller's policy is about its own services: who has no mandate, or is not wanted, is not served there", async () => {
    const seller = privateKeyToAccount(keyOf(ROLE.receiver));
    const payer = await payerOf(world);
    const subject = { kind: "service" as const, services: ["echo"] };
    expect((await payer.exact()).status).equal(200);
    await inForce(world.url, seller, policyOf(seller.address, { mandate: "required" }, { name: "shop", subject }));
    const refused = await refusedOf(await payer.exact());
    expect(refused).include({ rule: "mandate" });
    await inForce(world.url, seller, policyOf(seller.address, {}, { name: "shop", subject, version: 2 }));
    expect((await payer.exact()).status).equal(200);
    const foreign = privateKeyToAccount(keyOf(13));
    await inForce(world.url, foreign, policyOf(foreign.address, { stop: true }, { name: "hostile", subject }));
    expect((await payer.exact()).status).equal(200);
  });

  it("the operator's kill switch stops everything, and only an operator has one", async () => {
    const [operator, other] = [privateKeyToAccount(keyOf(OPERATOR)), privateKeyToAccount(keyOf(13))];
    const at = (account: typeof operator, stop: boolean, version: number) => applyPolicy(world.url, account, policyOf(account.address, { stop }, { version, name: "all", subject: { kind: "operator" } }));
    const foreign = await at(other, true, 1);
    expect([foreign.status, ((await foreign.json()) as Refused).code]).deep.equal([403, "policy_operator_unknown"]);
    const payer = await payerOf(world);
    const channel = await payer.channel();
    expect((await at(operator, true, 1)).status).equal(201);
    expect([(await channel.pay(2_000n)).status, (await payer.exact()).status]).deep.equal([403, 403]);
    expect((await at(operator, false, 2)).status).equal(201);
    expect([(await channel.pay(2_000n)).status, (await payer.exact()).status]).deep.equal([200, 200]);
  });

  it("the facilitator refuses what a policy refuses, before it verifies and before it settles", async () => {
    const payer = await payerOf(world);
    const payment = await payer.exactPayment();
    const body = { x402Version: 2, paymentPayload: payment, paymentRequirements: payment.accepted };
    expect(await (await postTo(`${world.url}/verify`, body)).json()).include({ isValid: true });
    await inForce(world.url, payer.account, policyOf(payer.account.address, { price: { max: "1" } }));
    const before = await moneyOf(world, payer.account.address);
    expect(await (await postTo(`${world.url}/verify`, body)).json()).include({ isValid: false, invalidReason: "firewall_rejected" });
    expect(await (await postTo(`${world.url}/settle`, body)).json()).include({ success: false, errorReason: "firewall_rejected", transaction: "" });
    expect(await moneyOf(world, payer.account.address)).equal(before);
  });
});
