// A person decides about payments above an amount: pending, granted or refused by signature, expiring; the same payment then goes through once.
import { expect } from "chai";
import { privateKeyToAccount } from "viem/accounts";
import type { Hex, LocalAccount } from "viem";
import type { Rules } from "../../sdk/src/firewall/policy.ts";
import { callerAs } from "../support/provider-world.ts";
import { keyOf } from "../support/config.ts";
import { sendPayment } from "../support/exact-hand.ts";
import { asOwner, chargedTo, inForce, moneyOf, payerOf, policyOf, postTo, type Refused } from "../support/firewall.ts";
import { startTestWorld, type TestWorld } from "../support/relayer.ts";

describe("firewall approvals", function () {
  this.timeout(240_000);
  const person = privateKeyToAccount(keyOf(7));
  const other = privateKeyToAccount(keyOf(8));
  let world: TestWorld;
  let second: string;
  before(async () => {
    world = await startTestWorld();
    second = (await world.anotherRelayer()).url;
  });
  after(() => world.stop());

  const above = (amount: string, expiresS = 3_600): Rules => ({ approval: { above: amount, approvers: [person.address.toLowerCase() as Hex], expiresS } });
  const codeOf = async (response: Response) => [response.status, ((await response.json()) as Refused).code];
  const shown = async (id: string, as: LocalAccount = person) => (await fetch(`${world.url}/api/v1/firewall/approvals/${id}`, { headers: await asOwner(world.url, as) })).json() as Promise<Record<string, any>>;
  /** Signs what the relayer shows, as a wallet would. */
  async function decide(id: string, verb: "grant" | "refuse", by: LocalAccount = person, { url = world.url, signs = verb, approver = by.address }: { url?: string; signs?: "grant" | "refuse"; approver?: string } = {}) {
    const { sign } = await shown(id);
    const { domain, types, primaryType, message } = sign[signs];
    const signature = await by.signTypedData({ domain, types, primaryType, message: { ...message, amount: BigInt(message.amount), expiresAt: BigInt(message.expiresAt) } });
    return postTo(`${url}/api/v1/firewall/approvals/${id}/${verb}`, { approver, signature });
  }
  const pendingOf = async (response: Response) => {
    expect(response.status, await response.clone().text()).equal(403);
    const refused = (await response.json()) as Refused;
    expect(refused).include({ code: "approval_pending", decision: "PENDING", rule: "approval", retry: "safe" });
    expect(refused.proof).include({ type: "money_never_moved" });
    return refused.approval!.id;
  };

  it("by channel: waits, is granted in another process, goes through once, and no other payment does", async () => {
    const payer = await payerOf(world);
    const { buyer, required, pay } = await payer.channel();
    await inForce(world.url, payer.account, policyOf(payer.account.address, above("999")));
    const payment = await buyer.voucherPayment(required, 2_000n);
    const id = await pendingOf(await buyer.send(payment));
    expect(await pendingOf(await buyer.send(payment))).equal(id);
    expect(await shown(id)).include({ state: "pending", amountAtomic: "1000", payer: payer.account.address });
    expect((await decide(id, "grant", person, { url: second })).status).equal(200);
    const paid = await Promise.all([buyer.send(payment), buyer.send(payment, {}, `${second}/s/echo/`), buyer.send(payment)]);
    expect(paid.map(({ status }) => status)).deep.equal([200, 200, 200]);
    expect(new Set(await Promise.all(paid.map((response) => response.text()))).size).equal(1);
    expect(await chargedTo(world, payer.account.address)).deep.equal({ count: 2, amount: 2_000n });
    await pendingOf(await pay(3_000n));
    await pendingOf(await buyer.send(payment, {}, `${world.url}/s/echo/another`));
    expect((await chargedTo(world, payer.account.address)).count).equal(2);
  });

  it("by exact: the same authorisation passes once it is granted; another one waits", async () => {
    const payer = await payerOf(world);
    await inForce(world.url, payer.account, policyOf(payer.account.address, above("999")));
    const payment = await payer.exactPayment();
    const before = await moneyOf(world, payer.account.address);
    const id = await pendingOf(await sendPayment(payer.resource, payment));
    expect((await decide(id, "grant")).status).equal(200);
    expect((await sendPayment(payer.resource, payment)).status).equal(200);
    await pendingOf(await payer.exact());
    expect(await moneyOf(world, payer.account.address)).equal(before - 1_000n);
  });

  it("refused is refused, and the first decision stands", async () => {
    const payer = await payerOf(world);
    await inForce(world.url, payer.account, policyOf(payer.account.address, above("999")));
    const payment = await payer.exactPayment();
    const id = await pendingOf(await sendPayment(payer.resource, payment));
    expect((await decide(id, "refuse")).status).equal(200);
    expect((await decide(id, "refuse")).status).equal(200);
    expect(await codeOf(await decide(id, "grant"))).deep.equal([409, "approval_decided"]);
    const refused = (await (await sendPayment(payer.resource, payment)).json()) as Refused;
    expect(refused).include({ code: "firewall_rejected", rule: "approval" });
    expect((await chargedTo(world, payer.account.address)).count).equal(0);
  });

  it("only an approver's own signature of this very decision counts", async () => {
    const payer = await payerOf(world);
    await inForce(world.url, payer.account, policyOf(payer.account.address, above("999")));
    const id = await pendingOf(await payer.exact());
    expect(await codeOf(await decide(id, "grant", other))).deep.equal([403, "approver_unknown"]);
    expect(await codeOf(await decide(id, "grant", payer.account))).deep.equal([403, "approver_unknown"]);
    expect(await codeOf(await decide(id, "grant", other, { approver: person.address }))).deep.equal([401, "approval_signature_invalid"]);
    expect(await codeOf(await decide(id, "grant", person, { signs: "refuse" }))).deep.equal([401, "approval_signature_invalid"]);
    const second = await pendingOf(await payer.exact());
    const { sign } = await shown(second);
    const signature = await person.signTypedData({ ...sign.grant, message: { ...sign.grant.message, amount: BigInt(sign.grant.message.amount), expiresAt: BigInt(sign.grant.message.expiresAt) } });
    expect(await codeOf(await postTo(`${world.url}/api/v1/firewall/approvals/${id}/grant`, { approver: person.address, signature }))).deep.equal([401, "approval_signature_invalid"]);
    expect((await chargedTo(world, payer.account.address)).count).equal(0);
  });

  it("a grant is over when its time is, and when its policy was replaced", async () => {
    const payer = await payerOf(world);
    await inForce(world.url, payer.account, policyOf(payer.account.address, above("999", 1)));
    const payment = await payer.exactPayment();
    const id = await pendingOf(await sendPayment(payer.resource, payment));
    await world.relayer.deps.db.query("UPDATE firewall_approval SET expires_at = date_trunc('second', now() - interval '2 seconds') WHERE approval_id = $1", [id]);
    expect((await shown(id))["state"]).equal("expired");
    expect(await codeOf(await decide(id, "grant"))).deep.equal([409, "approval_expired"]);
    await inForce(world.url, payer.account, policyOf(payer.account.address, above("999"), { version: 2 }));
    const next = await pendingOf(await sendPayment(payer.resource, payment));
    expect(next).not.equal(id);
    expect((await decide(next, "grant")).status).equal(200);
    await inForce(world.url, payer.account, policyOf(payer.account.address, above("998"), { version: 3 }));
    await pendingOf(await sendPayment(payer.resource, payment));
    expect(await codeOf(await decide(next, "refuse"))).deep.equal([409, "approval_stale"]);
    expect((await chargedTo(world, payer.account.address)).count).equal(0);
  });

  it("those concerned see it in their list, nobody else does", async () => {
    const payer = await payerOf(world);
    await inForce(world.url, payer.account, policyOf(payer.account.address, above("999")));
    const id = await pendingOf(await payer.exact());
    const ids = async (as: LocalAccount) => {
      const { approvals } = (await (await fetch(`${world.url}/api/firewall/approvals?state=pending`, { headers: await asOwner(world.url, as) })).json()) as { approvals: { id: string }[] };
      return approvals.map((one) => one.id);
    };
    expect(await ids(payer.account)).deep.equal([id]);
    expect(await ids(person)).include(id);
    expect(await ids(other)).deep.equal([]);
    expect((await (await callerAs(world, 8))("GET", `/firewall/approvals/${id}`)).status).equal(404);
    expect((await fetch(`${world.url}/api/firewall/approvals`)).status).equal(401);
  });
});
