// Attack: a mandate is revoked while calls under it run; the agent goes on with what it has, and with more.
import { expect } from "chai";
import { startTestWorld, type TestWorld } from "../support/relayer.ts";
import { decided, granted, openChannels, overspent, paidCall, relayerProcess, type RelayerProcess } from "../support/mandated.ts";

const PRICE = 1_000n;

describe("attack: revoked while in flight", function () {
  this.timeout(180_000);
  let world: TestWorld;
  let other: RelayerProcess;
  before(async () => {
    world = await startTestWorld();
    other = await relayerProcess(world);
  });
  after(async () => {
    await other.stop();
    await world.stop();
  });

  it("calls under way end as they began, at no more than was set aside; no other begins, in any process", async () => {
    const under = await granted(world, { limit: PRICE * 10n });
    const [channel] = await openChannels(world, under, 1, PRICE * 100n);
    const calls = await Promise.all(Array.from({ length: 12 }, (_, nth) => paidCall(world.chain, channel!, PRICE * 50n + BigInt(nth), "/gate/4")));
    // Four are held open upstream until all four are there; the mandate is revoked when three are.
    const urls = [world.url, other.url];
    const running = calls.slice(0, 3).map((call, nth) => call(urls[nth % 2]!));
    while (world.provider.seen.filter(({ url }) => url === "/gate/4").length < 3) await new Promise((next) => setTimeout(next, 10));
    expect((await under.ask("GET", `/${under.mandateId}`)).body).include({ reservedAtomic: String(PRICE * 3n), spentAtomic: "0" });
    expect((await under.ask("POST", `/${under.mandateId}/revoke`)).status).equal(200);
    const late = await Promise.all(calls.slice(3).map((call, nth) => decided(() => call(urls[nth % 2]!))));
    expect(late.map(({ status, body }) => [status, body.code, body.mandateId])).deep.equal(late.map(() => [403, "mandate_revoked", under.mandateId]));
    await fetch(`${world.provider.origin}/gate/4`);
    const ended = await Promise.all(running);
    expect(ended.map(({ status }) => status)).deep.equal([200, 200, 200]);
    expect((await under.ask("GET", `/${under.mandateId}`)).body).include({ status: "revoked", reservedAtomic: "0", spentAtomic: String(PRICE * 3n) });
    // The same payments again are answered, and charge nothing.
    expect((await calls[0]!(other.url)).status).equal(200);
    expect((await under.ask("GET", `/${under.mandateId}`)).body).include({ spentAtomic: String(PRICE * 3n) });
    expect(await overspent(world, under.mandateId, [channel!])).deep.equal({ ledger: 0n, charged: 0n, chain: 0n });
  });

  it("a revoked parent takes its sub-mandates along, also those that are registered afterwards", async () => {
    const { asking, newKey, wireGrant } = await import("../support/mandated.ts");
    const { idOfMandate, mandateOf } = await import("../support/signed-mandates.ts");
    const under = await granted(world);
    const { mandate, mandateId, agent, principal } = under;
    const sub = mandateOf(principal.address, newKey().address, { parent: mandateId, validAfter: mandate.validAfter, validUntil: mandate.validUntil });
    expect((await under.ask("DELETE", `/${mandateId}`)).status).equal(200);
    const answer = await (await asking(world.url, agent))("POST", "", { lineage: [await wireGrant(agent, sub)] });
    expect([answer.status, answer.body.code]).deep.equal([403, "mandate_revoked"]);
    expect((await under.ask("GET", `/${idOfMandate(sub)}`)).status).equal(404);
  });
});
