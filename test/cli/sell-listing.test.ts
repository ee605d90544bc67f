// tallystick sell in the bazaar, from one end to the other: an API with an OpenAPI document is listed on chain with one command, bought by a stock
// client, changed, paused, resumed and taken off; what cannot be listed is refused before anything is.
import { expect } from "chai";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Hex } from "viem";
import { syncDiscovery } from "../../relayer/src/capabilities/discovery/sync.ts";
import { bazaarRegistryAbi as abi } from "../../sdk/src/abi/bazaar-registry.ts";
import { SERVICE_STATUSES } from "../../sdk/src/bazaar.ts";
import { LOCAL_BAZAAR_REGISTRY } from "../../sdk/src/constants.ts";
import { settleOf, stockBuyer } from "../support/buyer.ts";
import { tallystick } from "../support/cli.ts";
import { addressOf, keyOf } from "../support/config.ts";
import { startTestWorld, type TestWorld } from "../support/relayer.ts";

const SELLER = 2;

const document = (servers: unknown = []) => ({
  openapi: "3.1.0", info: { title: "Weather <b>pro</b>", version: "2.3.0", description: "Forecasts" }, servers,
  paths: {
    "/today": { get: { summary: "Today", parameters: [{ name: "city", in: "query", required: true, schema: { type: "string" } }], responses: { 200: { content: { "application/json": { schema: { $ref: "#/components/schemas/Day" }, example: { celsius: 18 } } } } } } },
    "/days/{day}": { get: { responses: { 200: { description: "no schema" } } } },
  },
  components: { schemas: { Day: { type: "object", properties: { celsius: { type: "number" }, next: { $ref: "#/components/schemas/Day" } } } } },
});

describe("tallystick sell, in the bazaar", function () {
  this.timeout(180_000);
  let world: TestWorld;
  let api: Server;
  let origin: string;
  let folder: string;
  before(async () => {
    [world, folder] = await Promise.all([startTestWorld({ sweepsByHand: true }), mkdtemp(join(tmpdir(), "tallystick-listing-"))]);
    api = createServer((request, response) => {
      response.setHeader("content-type", "application/json");
      if (request.url === "/openapi.json") return response.end(JSON.stringify(document()));
      if (request.url === "/huge/openapi.json") return response.end(`{"openapi":"3.1.0","x":"${"a".repeat(3_000_000)}"}`);
      if (request.url === "/slow/openapi.json") return response.write("{"); // and nothing more
      return response.end(JSON.stringify({ celsius: 18, url: request.url }));
    });
    await new Promise<void>((done) => api.listen(0, "127.0.0.1", done));
    origin = `http://127.0.0.1:${(api.address() as AddressInfo).port}`;
  });
  after(async () => {
    await world.stop();
    api.closeAllConnections();
    await new Promise<void>((done) => void api.close(() => done()));
    await rm(folder, { recursive: true, force: true });
  });

  const run = (args: string[], index = SELLER) =>
    tallystick(["sell", ...args, "--json"], { env: { TALLYSTICK_PRIVATE_KEY: keyOf(index), TALLYSTICK_RELAYER_URL: world.relayer.deps.config.publicUrl, TALLYSTICK_RPC_URL: world.chain.url, TALLYSTICK_STATE: folder } });
  const statusOf = async (id: Hex) => SERVICE_STATUSES[(await world.chain.client.readContract({ address: LOCAL_BAZAAR_REGISTRY, abi, functionName: "services", args: [id] })).status];

  it("lists it with what its OpenAPI document says, sells it at once, and follows it through its life", async () => {
    const offered = await run([origin, "--name", "weather", "--price", "0.002", "--capability", "weather.forecast", "--category", "data", "--sla-latency", "800", "--sla-uptime", "99.95", "--credit-latency", "2500"]);
    expect(offered.code, offered.stderr).equal(0);
    expect(offered.json).include({ name: "weather", status: "listed", priceAtomic: "2000", payTo: addressOf(SELLER), capability: "weather.forecast", routes: 2 });
    const id = offered.json["id"] as Hex;
    expect(await statusOf(id)).equal("listed");

    const { metadata } = (await (await fetch(`${world.url}/api/v1/agents/weather`)).json()) as { metadata: Record<string, any> };
    expect(metadata).include({ name: "Weather b>pro/b>", version: "2.3.0", description: "Forecasts" });
    expect(metadata["sla"]).deep.equal({ maxLatencyMs: 800, minUptimePercent: 99.95 });
    expect(metadata["refundPolicy"]).deep.equal({ latencyCreditBps: 2500, failureCreditBps: 0 });
    const [today] = metadata["endpoints"] as Record<string, any>[];
    expect(today).deep.include({ method: "GET", path: "/today", description: "Today", sampleOutput: { celsius: 18 }, inputSchema: { type: "object", properties: { city: { type: "string" } }, required: ["city"] } });
    expect(today!["outputSchema"].properties.celsius).deep.equal({ type: "number" });

    const buyer = world.chain.account(5);
    await world.chain.mintUSDC(buyer.address, 1_000_000n);
    const stock = stockBuyer(buyer, world.chain.url);
    expect(settleOf(await stock.fetch(`${world.url}/s/weather/today?city=Rome`)).extra.chargedAmount).equal("2000");

    expect((await run(["list"])).json["agents"]).lengthOf(1);
    const cheaper = await run(["update", "weather", "--price", "0.001", "--changelog", "cheaper"]);
    expect(cheaper.code, cheaper.stderr).equal(0);
    expect(cheaper.json).include({ priceAtomic: "1000", version: 2 });
    expect(settleOf(await stock.fetch(`${world.url}/s/weather/today?city=Bari`)).extra.chargedAmount).equal("1000");
    expect((await run(["update", "weather", "--availability", "busy"])).json).include({ availability: "busy", version: 2 });

    expect((await run(["pause", "weather"])).json).include({ status: "suspended" });
    expect((await fetch(`${world.url}/s/weather/today`)).status).equal(503);
    expect((await run(["resume", "weather"])).json).include({ status: "listed" });
    expect((await run(["pause", "weather"], 3)).code, "a service is its owner's").equal(1);
    const removed = await run(["remove", "weather"]);
    expect(removed.code, removed.stderr).equal(0);
    expect([await statusOf(id), (await fetch(`${world.url}/s/weather/today`)).status]).deep.equal(["delisted", 404]);
  });

  it("sells it by the month: a stock client's first call pays it, search says so, and it becomes one of calls again", async () => {
    const offered = await run([origin, "--name", "monthly", "--price", "0.5", "--per", "month", "--capability", "weather.monthly"]);
    expect(offered.code, offered.stderr).equal(0);
    expect(offered.json).deep.include({ status: "listed", priceAtomic: "500000", schemes: ["batch-settlement"] });
    const { metadata } = (await (await fetch(`${world.url}/api/v1/agents/monthly`)).json()) as { metadata: Record<string, any> };
    expect(metadata["pricing"]).include({ model: "subscription", unit: "month", price: "0.5", periodS: 2_592_000 });

    const buyer = world.chain.account(6);
    await world.chain.mintUSDC(buyer.address, 10_000_000n);
    const stock = stockBuyer(buyer, world.chain.url);
    const paid = async (path: string) => settleOf(await stock.fetch(`${world.url}/s/monthly${path}`)).extra.chargedAmount;
    expect([await paid("/today?city=Rome"), await paid("/today?city=Bari")]).deep.equal(["500000", "0"]);

    await syncDiscovery(world.relayer.deps);
    const { agents } = (await (await fetch(`${world.url}/api/a2a/discover?service=weather.monthly`)).json()) as { agents: Record<string, unknown>[] };
    expect(agents[0]).include({ price: "0.5", unit: "month" });
    const { items } = (await (await fetch(`${world.url}/discovery/resources`)).json()) as { items: { resource: string; accepts: { extra: object }[] }[] };
    expect(items.find(({ resource }) => resource.includes("/s/monthly"))!.accepts[0]!.extra).deep.include({ subscription: { unit: "month", periodS: 2_592_000 } });

    const back = await run(["update", "monthly", "--per", "call", "--price", "0.001"]);
    expect(back.code, back.stderr).equal(0);
    expect(back.json).deep.include({ priceAtomic: "1000", schemes: ["exact", "batch-settlement"] });
    expect(await paid("/today?city=Pisa")).equal("1000");
  });

  it("takes a document from a file, with the server that it names or --origin; a server of one's own is listed too", async () => {
    const file = join(folder, "openapi.json");
    await writeFile(file, JSON.stringify(document([{ url: origin }])));
    expect((await run([file, "--name", "filed", "--price", "0.001", "--capability", "weather.forecast"])).json).include({ status: "listed", routes: 2 });
    await writeFile(file, JSON.stringify(document()));
    expect((await run([file, "--name", "filed2", "--price", "0.001", "--capability", "weather.forecast"])).code).equal(2);
    const own = await run(["--url", origin, "--name", "own", "--price", "0.001", "--capability", "weather.forecast"]);
    expect(own.json).include({ status: "listed", url: origin });
  });

  it("refuses what cannot be sold or trusted, with the reason, and lists nothing", async () => {
    const file = join(folder, "hostile.json");
    const write = (change: object) => writeFile(file, JSON.stringify({ ...document([{ url: origin }]), ...change }));
    const offer = (...args: string[]) => run([...args, "--name", "bad", "--price", "0.001", "--capability", "weather.forecast"]);
    const codeOf = async (asked: ReturnType<typeof run>) => ((await asked).json["error"] as { code: string }).code;
    expect(await codeOf(offer(origin, "--per", "year"))).equal("usage");
    expect(await codeOf(offer(origin, "--per", "month", "--scheme", "exact"))).equal("listing_malformed");
    expect(await codeOf(offer("--url", origin, "--per", "month"))).equal("listing_malformed");
    expect(await codeOf(offer(origin, "--title", "<script>alert(1)</script>"))).equal("metadata_malformed");
    expect(await codeOf(offer(origin, "--scheme", "gold"))).equal("metadata_malformed");
    expect(await codeOf(offer("http://127.0.0.1:9"))).equal("origin_unreachable");
    expect(await codeOf(offer(`${origin}/huge`))).equal("openapi_too_large");
    expect(await codeOf(offer(`${origin}/slow`))).equal("origin_unreachable");
    await write({ paths: { "/a": { get: { responses: { 200: { content: { "application/json": { schema: { $ref: "http://169.254.169.254/latest" } } } } } } } } });
    expect(await codeOf(offer(file))).equal("openapi_external_ref");
    await write({ openapi: "2.0" });
    expect(await codeOf(offer(file))).equal("openapi_malformed");
    expect(await codeOf(run([origin, "--name", "bad", "--price", "0.001", "--category", "data"]))).equal("usage");
    expect((await fetch(`${world.url}/s/bad/`)).status).equal(404);
    expect((await fetch(`${world.url}/api/v1/agents/bad`)).status).equal(404);
  });
});
