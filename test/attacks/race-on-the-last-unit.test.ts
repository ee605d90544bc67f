// Attack: a thousand calls at the same moment, over many channels and several relayer processes, for the last unit of a mandate's budget.
import { expect } from "chai";
import { startTestWorld, type TestWorld } from "../support/relayer.ts";
import { decided, granted, openChannels, overspent, paidCall, relayerProcess, type RelayerProcess } from "../support/mandated.ts";

const PRICE = 1_000n;
const CALLS = 1_000;
const CHANNELS = 20;

describe("attack: race on the last unit", function () {
  this.timeout(300_000);
  let world: TestWorld;
  let others: RelayerProcess[];
  before(async () => {
    world = await startTestWorld();
    others = await Promise.all([relayerProcess(world), relayerProcess(world)]);
  });
  after(async () => {
    await Promise.all(others.map((one) => one.stop()));
    await world.stop();
  });

  it(`${CALLS} calls over ${CHANNELS} channels and three processes: one is served, the rest are refused, nothing is overspent`, async () => {
    const under = await granted(world, { limit: PRICE });
    const inEach = BigInt(CALLS / CHANNELS);
    const channels = await openChannels(world, under, CHANNELS, PRICE * inEach * 3n);
    // Headroom for all of a channel's calls at once: what refuses them is the mandate, not the channel.
    const calls = await Promise.all(channels.flatMap((channel) => Array.from({ length: Number(inEach) }, (_, nth) => paidCall(world.chain, channel, PRICE * inEach * 2n + BigInt(nth)))));
    const urls = [world.url, ...others.map(({ url }) => url)];
    const answers = await Promise.all(calls.map((call, nth) => decided(() => call(urls[nth % urls.length]!))));
    const codes = Map.groupBy(answers, ({ status, body }) => (status === 200 ? "served" : `${status} ${body.code}`));
    expect(Object.fromEntries([...codes].map(([code, all]) => [code, all.length]))).deep.equal({ served: 1, "403 mandate_exhausted": CALLS - 1 });
    expect(answers.every(({ status, body }) => status === 200 || (body.mandateId === under.mandateId && body.moved === "0"))).equal(true);
    const shown = (await under.ask("GET", `/${under.mandateId}`)).body;
    expect(shown).include({ status: "exhausted", spentAtomic: "1000", reservedAtomic: "0", remainingAtomic: "0" });
    expect(((await under.ask("GET", `/${under.mandateId}/history?limit=200`)).body["payments"] as unknown[]).length).equal(1);
    const { rows } = await world.relayer.deps.db.query("SELECT count(*) AS refused, sum(moved_atomic) AS moved FROM audit WHERE code = 'mandate_exhausted'");
    expect(rows).deep.equal([{ refused: BigInt(CALLS - 1), moved: 0n }]);
    expect(await overspent(world, under.mandateId, channels)).deep.equal({ ledger: 0n, charged: 0n, chain: 0n });
  });
});
