// Policies about mandates: a seller that wants one, a person whose policy is about what is paid under theirs, and one that was revoked.
import { expect } from "chai";
import { pad, toHex, type LocalAccount } from "viem";
import { generatePrivateKey, privateKeyToAccount } from "viem/accounts";
import { toWireMandate } from "../../sdk/src/lineage.ts";
import { channelIdOf } from "../../sdk/src/typed-data.ts";
import type { Mandate } from "../../sdk/src/mandate.ts";
import { DOMAIN, manualBuyer } from "../support/buyer.ts";
import { keyOf, ROLE } from "../support/config.ts";
import { ALLOW_ALL, asOwner, assertSpent, inForce, moneyOf, payerOf, policyOf, postTo, type Refused } from "../support/firewall.ts";
import { startTestWorld, type TestWorld } from "../support/relayer.ts";
import { idOfMandate, mandateOf, signBinding, signMandate } from "../support/signed-mandates.ts";

describe("firewall: mandates", function () {
  this.timeout(180_000);
  const seller = privateKeyToAccount(keyOf(ROLE.receiver));
  let world: TestWorld;
  let salts = 0n;
  before(async () => {
    world = await startTestWorld();
  });
  after(() => world.stop());

  const key = () => privateKeyToAccount(generatePrivateKey());
  const ruleOf = async (response: Response) => {
    const { code, rule } = (await response.json()) as Refused;
    return [response.status, code, rule];
  };

  /** A principal, a mandate for an agent, a guard's key bound to it, and the channel that this key signs for. */
  async function granted(change: Partial<Mandate> = {}) {
    const [principal, agent, guard] = [key(), key(), key()];
    await world.chain.mintUSDC(principal.address, 1_000_000n);
    const mandate = mandateOf(principal.address, agent.address, change);
    const mandateId = idOfMandate(mandate);
    const guards = [{ authorizer: guard.address, signature: await signBinding(guard, mandateId) }];
    const registered = await postTo(`${world.url}/api/v1/mandates`, { lineage: [{ mandate: toWireMandate(mandate), signature: await signMandate(principal, mandate) }], guards }, await asOwner(world.url, principal));
    expect(registered.status, await registered.clone().text()).equal(201);
    return { principal, mandate, mandateId, ...(await channelUnder(principal, guard)) };
  }

  async function channelUnder(principal: LocalAccount, guard: LocalAccount) {
    const [payer, signer] = [manualBuyer(principal, `${world.url}/s/echo/`, pad(toHex(++salts))), manualBuyer(guard, `${world.url}/s/echo/`)];
    const terms = await payer.terms();
    const config = { ...payer.configFor(terms), payerAuthorizer: guard.address };
    const channelId = channelIdOf(DOMAIN, config);
    const pay = async (ceiling: bigint, more: object = { type: "voucher" }) => payer.send(payer.envelope(await payer.terms(), { channelConfig: config, voucher: await signer.voucher(channelId, ceiling), ...more }));
    return { channelId, pay, open: async () => pay(1_000n, { type: "deposit", deposit: { amount: "100000", authorization: await payer.authorization(channelId, 100_000n) } }) };
  }

  it("a seller that wants mandates serves who has one, and refuses who has none or one that is revoked", async () => {
    const { principal, mandateId, channelId, open, pay } = await granted();
    const without = await payerOf(world);
    const subject = { kind: "service" as const, services: ["echo"] };
    await inForce(world.url, seller, policyOf(seller.address, { mandate: "required" }, { name: "mandates", subject }));
    expect((await open()).status).equal(200);
    expect((await pay(2_000n)).status).equal(200);
    expect(await ruleOf((await without.channel()).first)).deep.equal([403, "firewall_rejected", "mandate"]);
    expect(await ruleOf(await without.exact())).deep.equal([403, "firewall_rejected", "mandate"]);
    expect(await moneyOf(world, without.account.address)).equal(1_000_000n);
    const revoked = await fetch(`${world.url}/api/v1/mandates/${mandateId}/revoke`, { method: "POST", headers: await asOwner(world.url, principal) });
    expect(revoked.status, await revoked.clone().text()).below(300);
    expect((await pay(3_000n)).status).equal(403);
    await assertSpent(world, principal.address, { charged: 2_000n, held: 900_000n, channelId });
    await inForce(world.url, seller, policyOf(seller.address, {}, { name: "mandates", subject, version: 2 }));
  });

  it("a person's policy about one mandate stops what is paid under it, and nothing else of theirs", async () => {
    const { principal, mandateId, channelId, open, pay } = await granted();
    expect((await open()).status).equal(200);
    const own = manualBuyer(principal, `${world.url}/s/echo/`, pad(toHex(++salts)));
    const terms = await own.terms();
    expect((await own.send(await own.depositPayment(terms, 100_000n, 1_000n))).status).equal(200);
    await inForce(world.url, principal, policyOf(principal.address, { ...ALLOW_ALL, stop: true }, { name: "agent", subject: { kind: "mandate", mandates: [mandateId] } }));
    expect(await ruleOf(await pay(2_000n))).deep.equal([403, "firewall_rejected", "stop"]);
    expect((await own.send(await own.voucherPayment(terms, 2_000n))).status).equal(200);
    await assertSpent(world, principal.address, { charged: 3_000n, held: 800_000n, channelId });
  });
});
