// agents.create: handlers served as a paid API and listed on chain, bought from by the unmodified stock client.
import { expect } from "chai";
import fastify from "fastify";
import { parseUnits } from "viem";
import { bazaarRegistryAbi as abi } from "../../sdk/src/abi/bazaar-registry.ts";
import { LOCAL_BAZAAR_REGISTRY } from "../../sdk/src/constants.ts";
import { TallystickError } from "../../sdk/src/errors.ts";
import { createAgents, type ServedAgent } from "../../sdk/src/provider/agents.ts";
import { requiredOf, settleOf, stockBuyer } from "../support/buyer.ts";
import { addressOf } from "../support/config.ts";
import { startTestWorld, type TestWorld } from "../support/relayer.ts";

const OWNER = 12;

describe("agents.create", function () {
  this.timeout(240_000);
  let world: TestWorld;
  let agent: ServedAgent;
  const agentsOf = (index = OWNER) => createAgents({ relayerUrl: world.url, account: world.chain.account(index), server: () => fastify() });
  const spec = {
    name: "meteo", description: "Weather for agents",
    capabilities: [
      {
        name: "weather.forecast", pricing: { price: "0.002" }, sla: { maxLatencyMs: 500, minUptimePercent: 99.5 }, inputSchema: { type: "object", required: ["city"], properties: { city: { type: "string" } } },
        handler: async ({ city }: { city: string }, { payment }: { payment: { payer: string } }) => ({ city, celsius: 18, payer: payment.payer }),
      },
      { name: "weather.alert", pricing: { price: "0.01" }, handler: async () => { throw new Error("no alerts today"); } },
    ],
  } as const;
  before(async () => {
    world = await startTestWorld();
    agent = await agentsOf().create(spec);
  });
  after(async () => {
    await agent?.close();
    await world?.stop();
  });
  const post = (url: string, body: unknown) => [url, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) }] as const;

  it("lists each capability under its own price and SLA", async () => {
    expect(agent.capabilities.map(({ name, service, agent: { status, priceAtomic, payTo, capability } }) => ({ name, service, status, priceAtomic, payTo, capability }))).deep.equal([
      { name: "weather.forecast", service: "meteo-weather-forecast", status: "listed", priceAtomic: "2000", payTo: addressOf(OWNER), capability: "weather.forecast" },
      { name: "weather.alert", service: "meteo-weather-alert", status: "listed", priceAtomic: "10000", payTo: addressOf(OWNER), capability: "weather.alert" },
    ]);
    for (const { agent: { id } } of agent.capabilities) expect((await world.chain.client.readContract({ address: LOCAL_BAZAAR_REGISTRY, abi, functionName: "services", args: [id] })).status).equal(3);
    const { metadata } = (await (await fetch(`${world.url}/api/v1/agents/meteo-weather-forecast`)).json()) as { metadata: Record<string, unknown> };
    expect(metadata["sla"]).deep.equal({ maxLatencyMs: 500, minUptimePercent: 99.5 });
  });

  it("the stock client buys; a handler that fails, and input that is none, cost nothing", async () => {
    const [forecast, alert] = agent.capabilities;
    const account = world.chain.account(20);
    await world.chain.mintUSDC(account.address, parseUnits("5", 6));
    const unpaid = requiredOf(await fetch(...post(forecast!.url, { city: "Rome" })));
    expect([unpaid.accepts[0].amount, unpaid.accepts[0].payTo]).deep.equal(["2000", addressOf(OWNER)]);
    const buyer = stockBuyer(account, world.chain.url);
    const bought = await buyer.fetch(...post(forecast!.url, { city: "Rome" }));
    expect(await bought.json()).deep.equal({ city: "Rome", celsius: 18, payer: account.address });
    expect(settleOf(bought).extra.chargedAmount).equal("2000");
    expect((await fetch(...post(forecast!.url, { town: "Rome" }))).status).equal(400);
    const failed = await buyer.fetch(...post(alert!.url, {}));
    expect(failed.status).equal(500);
    const { rows } = await world.relayer.deps.db.query<{ charged: bigint }>("SELECT sum(charged)::bigint AS charged FROM channel WHERE payer = $1", [Buffer.from(account.address.slice(2), "hex")]);
    expect(rows[0]!.charged).equal(2_000n);
  });

  it("the same again brings the listing up to date; what is refused is not served", async () => {
    const cheaper = { ...spec, capabilities: [{ ...spec.capabilities[0], pricing: { price: "0.001" } }] as const, name: "solo" };
    const first = await agentsOf().create({ ...cheaper, capabilities: [spec.capabilities[0]] });
    expect(first.capabilities[0]!.agent).include({ name: "solo", priceAtomic: "2000", version: 1 });
    await first.close();
    const second = await agentsOf().create(cheaper);
    expect(second.capabilities[0]!.agent).include({ name: "solo", priceAtomic: "1000", version: 2, status: "listed" });
    await second.close();
    const refused = await agentsOf(13).create(cheaper).catch((error: unknown) => error);
    expect((refused as TallystickError).code).equal("listing_name_taken");
    for (const bad of [{ ...cheaper, name: "Not A Name" }, { ...cheaper, description: "<script>x</script>" }]) expect(((await agentsOf().create(bad).catch((error: unknown) => error)) as TallystickError).status).equal(400);
  });
});
