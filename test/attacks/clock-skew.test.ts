// Attack: a relayer whose clock is wrong, by accident or by its operator's hand, so that a mandate that is over, or not valid yet, seems valid.
import { expect } from "chai";
import { startTestWorld, type TestWorld } from "../support/relayer.ts";
import { decided, granted, newKey, openChannels, overspent, paidCall, relayerProcess, wireGrant, type RelayerProcess } from "../support/mandated.ts";
import { mandateOf } from "../support/signed-mandates.ts";

const PRICE = 1_000n;
const DAY_MS = 86_400_000;
const DAY_S = 86_400;

describe("attack: clock skew", function () {
  this.timeout(180_000);
  let world: TestWorld;
  let ahead: RelayerProcess;
  let behind: RelayerProcess;
  before(async () => {
    world = await startTestWorld();
    [ahead, behind] = await Promise.all([relayerProcess(world, { clockMs: 3 * DAY_MS }), relayerProcess(world, { clockMs: -3 * DAY_MS })]);
  });
  after(async () => {
    await Promise.all([ahead.stop(), behind.stop()]);
    await world.stop();
  });

  it("the database's clock decides, in whichever process: not yet valid, over, and the period", async () => {
    const nowS = Math.floor(Date.now() / 1000);
    const tomorrow = await granted(world, { limit: PRICE * 2n, validAfter: nowS + DAY_S });
    const [early] = await openChannels(world, tomorrow, 1, PRICE * 10n);
    const today = await granted(world, { limit: PRICE * 2n, period: DAY_S, periodLimit: PRICE, validAfter: nowS - 600, validUntil: nowS + DAY_S });
    const [channel] = await openChannels(world, today, 1, PRICE * 10n);
    const soon = await granted(world, { limit: PRICE * 2n, validUntil: nowS + 20 });
    const [ending] = await openChannels(world, soon, 1, PRICE * 10n);

    for (const { url } of [world, ahead, behind]) {
      const call = await paidCall(world.chain, early!, PRICE);
      expect((await decided(() => call(url))).body).include({ code: "mandate_not_yet_valid", mandateId: tomorrow.mandateId, moved: "0" });
    }
    // Valid now, though one clock says that it is over and the other that it is to come; the period is one for all of them.
    const first = await paidCall(world.chain, channel!, PRICE);
    expect((await decided(() => first(behind.url))).status).equal(200);
    const second = await paidCall(world.chain, channel!, PRICE * 2n);
    for (const { url } of [ahead, behind, world]) expect((await decided(() => second(url))).body).include({ code: "mandate_period_limit", mandateId: today.mandateId });
    // Over, though one clock has three days left.
    const nowOver = async () => (await soon.ask("GET", `/${soon.mandateId}`)).body["status"] === "expired";
    while (!(await nowOver())) await new Promise((next) => setTimeout(next, 200));
    const last = await paidCall(world.chain, ending!, PRICE);
    for (const { url } of [behind, world]) expect((await decided(() => last(url))).body).include({ code: "mandate_expired", mandateId: soon.mandateId });

    for (const [under, paid] of [[tomorrow, early], [today, channel], [soon, ending]] as const) expect(await overspent(world, under.mandateId, [paid!])).deep.equal({ ledger: 0n, charged: 0n, chain: 0n });
  });

  it("what is over is not registered by a process whose clock says that it is not", async () => {
    const principal = newKey();
    const nowS = Math.floor(Date.now() / 1000);
    const over = mandateOf(principal.address, newKey().address, { validUntil: nowS - 60 });
    const { signIn } = await import("../../sdk/src/access.ts");
    const signed = await signIn({ relayerUrl: world.url, account: principal });
    const response = await fetch(`${behind.url}/api/v1/mandates`, { method: "POST", headers: { authorization: `Bearer ${signed.token}`, "content-type": "application/json" }, body: JSON.stringify({ lineage: [await wireGrant(principal, over)] }) });
    expect([response.status, ((await response.json()) as { code: string }).code]).deep.equal([403, "mandate_expired"]);
  });
});
