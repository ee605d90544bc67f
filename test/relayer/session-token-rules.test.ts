// Calls by a session's token pass what every payment passes: the payer's policies, a person's approval, the kill switch, and the mandate that
// the channel is paid under. Whoever holds the token can do no more than whoever holds the key.
import { expect } from "chai";
import { setTimeout as sleep } from "node:timers/promises";
import { privateKeyToAccount } from "viem/accounts";
import type { Hex } from "viem";
import type { Rules } from "../../sdk/src/firewall/policy.ts";
import { keyOf } from "../support/config.ts";
import { asOwner, inForce, policyOf as spendingPolicy, postTo } from "../support/firewall.ts";
import { granted, openChannels } from "../support/mandated.ts";
import { agreed, EASY_SLA, policyOf, publishPolicy } from "../support/negotiation.ts";
import { startTestWorld, type TestWorld } from "../support/relayer.ts";
import { Sessions } from "../support/session.ts";
import { callByToken, leave, openSession, PRICE, usedOf, type Called, type OpenSession } from "../support/session-token.ts";

describe("calls by a session's token, under rules", function () {
  this.timeout(300_000);
  const person = privateKeyToAccount(keyOf(7));
  let world: TestWorld;
  let second: string;
  before(async () => {
    world = await startTestWorld();
    second = (await world.anotherRelayer()).url;
    await world.relayer.deps.db.query("UPDATE service SET upstream_timeout_ms = 120000");
    await publishPolicy(world.url, policyOf({ sla: EASY_SLA }));
  });
  after(() => world.stop());

  async function withVoucher(calls: bigint): Promise<OpenSession> {
    const opened = await openSession(world, calls);
    const { status, body } = await leave(world, opened, { channelConfig: opened.config, voucher: await opened.buyer.buyer.voucher(opened.channelId, calls * PRICE) });
    expect(status, JSON.stringify(body)).equal(200);
    return opened;
  }
  const key = (name: string) => ({ headers: { "idempotency-key": `call-${name.padEnd(20, "0")}` } });
  const told = ({ status, body }: Called) => [status, body.code, body.rule];
  const above = (amount: string): Rules => ({ approval: { above: amount, approvers: [person.address.toLowerCase() as Hex], expiresS: 3_600 } });

  /** In both processes: one that has not confirmed its policies for a second answers 503, and those calls are made again. */
  async function inForceEverywhere(...[agent, policy]: [Parameters<typeof inForce>[1], Parameters<typeof inForce>[2]]): Promise<void> {
    await inForce(world.url, agent, policy);
    await sleep(1_100);
  }

  async function decide(id: string, verb: "grant" | "refuse"): Promise<number> {
    const shown = (await (await fetch(`${world.url}/api/v1/firewall/approvals/${id}`, { headers: await asOwner(world.url, person) })).json()) as Record<string, any>;
    const { domain, types, primaryType, message } = shown["sign"][verb];
    const signature = await person.signTypedData({ domain, types, primaryType, message: { ...message, amount: BigInt(message.amount), expiresAt: BigInt(message.expiresAt) } });
    return (await postTo(`${world.url}/api/v1/firewall/approvals/${id}/${verb}`, { approver: person.address, signature })).status;
  }

  it("an approval is of one call: granted, that call goes through once; every other call on the same voucher waits for its own", async () => {
    const opened = await withVoucher(5n);
    await inForceEverywhere(opened.agent, spendingPolicy(opened.agent.address, above(String(PRICE - 1n))));
    const waiting = await callByToken(opened, world.url, key("first"));
    expect(told(waiting)).deep.equal([403, "approval_pending", "approval"]);
    expect((await callByToken(opened, second, key("first"))).body.approval.id).equal(waiting.body.approval.id);
    expect(await usedOf(world, opened)).include({ calls_taken: 1n, charged_atomic: PRICE });
    expect(await decide(waiting.body.approval.id, "grant")).equal(200);
    const paid = await Promise.all([world.url, second, world.url].map((url) => callByToken(opened, url, key("first"))));
    expect(paid.map(({ status }) => status)).deep.equal([200, 200, 200]);
    expect(new Set(paid.map(({ body }) => body.run)).size).equal(1);
    expect(await usedOf(world, opened)).include({ calls_charged: 2n, charged_atomic: 2n * PRICE });
    // The same request again under another name, and without one: other calls.
    const others = [await callByToken(opened, world.url, key("other")), await callByToken(opened, world.url), await callByToken(opened, world.url)];
    expect(others.map(told)).deep.equal(Array(3).fill([403, "approval_pending", "approval"]));
    expect(new Set([waiting, ...others].map(({ body }) => body.approval.id)).size).equal(4);
    expect(await usedOf(world, opened)).include({ calls_taken: 2n, charged_atomic: 2n * PRICE });
  });

  it("a call that a person refused stays refused, and takes nothing of the session", async () => {
    const opened = await withVoucher(3n);
    await inForceEverywhere(opened.agent, spendingPolicy(opened.agent.address, above(String(PRICE - 1n))));
    const waiting = await callByToken(opened, world.url, key("no"));
    expect(await decide(waiting.body.approval.id, "refuse")).equal(200);
    for (const url of [world.url, second]) expect(told(await callByToken(opened, url, key("no")))).deep.equal([403, "firewall_rejected", "approval"]);
    expect(await usedOf(world, opened)).deep.equal({ calls_taken: 1n, calls_charged: 1n, charged_atomic: PRICE });
  });

  it("the kill switch: what is running is not charged and its answer stays here, what comes is refused, what was bought is handed out", async () => {
    const opened = await withVoucher(6n);
    const bought = await callByToken(opened, world.url, key("bought"));
    expect(bought.status).equal(200);
    const arrived = world.provider.seen.length;
    const running = [callByToken(opened, world.url, { path: "/gate/3", ...key("run1") }), callByToken(opened, second, { path: "/gate/3", ...key("run2") })];
    while (world.provider.seen.length < arrived + running.length) await new Promise((next) => setTimeout(next, 10));
    await inForce(world.url, opened.agent, spendingPolicy(opened.agent.address, { stop: true }));
    for (const url of [world.url, second]) while ((await callByToken(opened, url)).status !== 403) await new Promise((next) => setTimeout(next, 20));
    const before = await usedOf(world, opened);
    await fetch(`${world.provider.origin}/gate/3`);
    for (const answer of await Promise.all(running)) {
      expect(told(answer)).deep.equal([403, "firewall_rejected", "stop"]);
      expect(answer.body).not.property("run");
    }
    for (const url of [world.url, second]) expect(told(await callByToken(opened, url, key("late")))).deep.equal([403, "firewall_rejected", "stop"]);
    const after = await usedOf(world, opened);
    expect(after.charged_atomic).equal(before.charged_atomic);
    expect(after.calls_taken).equal(after.calls_charged);
    const again = await callByToken(opened, second, key("bought"));
    expect([again.status, again.body]).deep.equal([200, bought.body]);
  });

  it("a mandate on the channel: calls by token come off its budget, end with it, and end when it is revoked", async () => {
    const owner = await granted(world, { limit: 3n * PRICE });
    const [channel] = await openChannels(world, owner, 1, 10n * PRICE);
    const { session } = await agreed(world.url, owner.agent, 8n * PRICE);
    const sessions = new Sessions(world.chain);
    const voucher = { channelId: channel!.channelId, maxClaimableAmount: String(8n * PRICE), signature: await sessions.voucher(channel!.config, owner.guard, 8n * PRICE) };
    const kept = await leave(world, { session }, { channelConfig: channel!.config, voucher });
    expect(kept.status, JSON.stringify(kept.body)).equal(200);
    const answers = await Promise.all([world.url, second, world.url, second, world.url].map((url, index) => callByToken({ session }, url, key(`mandated${index}`))));
    expect(answers.filter(({ status }) => status === 200).map(({ receipt }) => receipt?.amount)).deep.equal(Array(3).fill("8000"));
    for (const refused of answers.filter(({ status }) => status !== 200)) expect([refused.status, refused.body.code]).deep.equal([403, "mandate_exhausted"]);
    expect(await usedOf(world, { session })).include({ calls_charged: 3n, charged_atomic: 3n * PRICE });
    const paid = answers.find(({ status }) => status === 200)!;
    expect(paid.receipt).include({ mandate: owner.mandateId });

    const wide = await granted(world, { limit: 100n * PRICE });
    const [other] = await openChannels(world, wide, 1, 10n * PRICE);
    const { session: revoked } = await agreed(world.url, wide.agent, 8n * PRICE);
    const signature = await sessions.voucher(other!.config, wide.guard, 8n * PRICE);
    expect((await leave(world, { session: revoked }, { channelConfig: other!.config, voucher: { ...voucher, channelId: other!.channelId, signature } })).status).equal(200);
    expect((await callByToken({ session: revoked }, world.url, key("beforehand"))).status).equal(200);
    expect((await wide.ask("POST", `/${wide.mandateId}/revoke`)).status).below(300);
    for (const url of [world.url, second]) expect((await callByToken({ session: revoked }, url, key("afterwards"))).status).equal(403);
    expect(await usedOf(world, { session: revoked })).include({ calls_charged: 1n, charged_atomic: PRICE });
  });
});
