// Services listed on a real chain, indexed, and found: by the official bazaar client, unchanged, and by ours.
import { HTTPFacilitatorClient } from "@x402/core/http";
import { validateDiscoveryExtension, validateDiscoveryExtensionSpec, withBazaar, type DiscoveryExtension } from "@x402/extensions/bazaar";
import { expect } from "chai";
import fc from "fast-check";
import type { Hex } from "viem";
import type { Relayer } from "../../relayer/src/relayer.ts";
import { fetchDocuments } from "../../relayer/src/capabilities/discovery/documents.ts";
import { filterOf, searchServices } from "../../relayer/src/capabilities/discovery/search.ts";
import { syncDiscovery } from "../../relayer/src/capabilities/discovery/sync.ts";
import { startIndexer, type LocalIndexer } from "../../scripts/local/indexer.ts";
import { BASE_SEPOLIA } from "../../sdk/src/constants.ts";
import { bazaarOf, metadataOf, type OnChain } from "../support/bazaar-chain.ts";
import { startForeignRelayer } from "../support/foreign-relayer.ts";
import { startTestWorld, type TestWorld } from "../support/relayer.ts";

const NETWORK = `eip155:${BASE_SEPOLIA.chainId}`;

type Agent = { serviceId: string; name: string; capability: string; url: string; priceAtomic: string; price: string; schemes: string[]; rank: { score: number; factors: { factor: string; weight: number; value: number; contribution: number; why: string }[] }; sla: unknown; reputation: unknown };
type Discovered = { agents: Agent[]; method: string; next: string | null; partialResults: boolean };

describe("discovery", function () {
  this.timeout(180_000);
  let world: TestWorld;
  let indexer: LocalIndexer;
  let elsewhere: Awaited<ReturnType<typeof startForeignRelayer>>;
  let relayer: Relayer;
  let url: string;
  let bazaar: ReturnType<typeof bazaarOf>;
  let search: OnChain;
  let weather: OnChain;
  let translate: OnChain;

  /** Reads what the chain has by now. */
  async function synced(): Promise<void> {
    await indexer.waitForBlock(await world.chain.client.getBlockNumber());
    await syncDiscovery(relayer.deps);
    while ((await fetchDocuments(relayer.deps)) > 0);
    await syncDiscovery(relayer.deps);
  }
  async function discover(body: Record<string, unknown>, at = url): Promise<Discovered> {
    const response = await fetch(`${at}/api/v1/a2a/discover`, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) });
    expect(response.status, JSON.stringify(body)).to.equal(200);
    return (await response.json()) as Discovered;
  }
  const namesOf = ({ agents }: Discovered) => agents.map(({ name }) => name);
  const official = () => withBazaar(new HTTPFacilitatorClient({ url })).extensions.bazaar;
  const listHere = async (n: number, change: Parameters<typeof metadataOf>[0], more: Parameters<ReturnType<typeof bazaarOf>["list"]>[2] = {}): Promise<OnChain> => {
    const metadata = metadataOf(change);
    const service = await bazaar.list(world.chain.account(n), metadata, { uri: elsewhere.serve(metadata), ...more });
    elsewhere.sells(service.serviceId, `/s/${n}`);
    return service;
  };

  before(async () => {
    // Nothing is probed: promises count until something is measured.
    [world, elsewhere] = await Promise.all([startTestWorld({ sweepsByHand: true, env: { RELAYER_PROBE_PERIOD_S: "0" } }), startForeignRelayer()]);
    bazaar = bazaarOf(world.chain);
    search = await listHere(1, {});
    weather = await listHere(2, { name: "Weather", description: "Forecasts of rain for any place on earth.", capability: "data.weather", categories: ["data"], sla: { maxLatencyMs: 100, minUptimePercent: 90 }, schemes: ["exact"] }, { price: 5_000n });
    translate = await listHere(3, { name: "Translator", description: "Turns texts from German to English; no search.", capability: "text.translate", categories: ["translation"] }, { price: 300n });
    indexer = await startIndexer({ rpcUrl: world.chain.url, databaseUrl: await world.postgres.freshDatabase(), logLevel: "error" });
    await indexer.waitUntilReady();
    ({ relayer, url } = await world.anotherRelayer({ RELAYER_INDEXER_URL: indexer.url, RELAYER_ROLE: "server" }));
    await synced();
  });
  after(async () => {
    await indexer.stop();
    await Promise.all([world.stop(), elsewhere.stop()]);
  });

  describe("the official client", () => {
    it("lists resources with the registry's terms, and how each is called", async () => {
      const { x402Version, items, pagination, ...rest } = await official().listResources({ type: "http", limit: 2 });
      expect({ x402Version, pagination, rest }).to.deep.equal({ x402Version: 2, pagination: { limit: 2, offset: 0, total: 3 }, rest: {} });
      const all = [...items, ...(await official().listResources({ limit: 2, offset: 2 })).items];
      expect(all.map(({ resource }) => resource)).to.have.members([1, 2, 3].map((n) => `${elsewhere.origin}/s/${n}/search`));
      const found = all.find(({ serviceName }) => serviceName === "Web search")!;
      expect(found.accepts[0]).to.deep.include({ scheme: "exact", network: NETWORK, amount: "1000", asset: BASE_SEPOLIA.usdc.address, payTo: search.terms.payTo });
      expect(found.tags).to.deep.equal(["web.search", "search"]);
      expect(new Date(found.lastUpdated).toISOString()).to.equal(found.lastUpdated);
      for (const { extensions } of all) {
        const card = extensions!["bazaar"] as DiscoveryExtension;
        expect(validateDiscoveryExtension(card)).to.deep.equal({ valid: true });
        expect(validateDiscoveryExtensionSpec(card as unknown as Record<string, unknown>)).to.deep.equal({ valid: true });
        expect(card.info.input).to.deep.equal({ type: "http", method: "GET", queryParams: { q: "tally" } });
      }
    });

    it("searches, page by page", async () => {
      const found = await official().search({ query: "rain forecast" });
      expect(found.resources.map(({ serviceName }) => serviceName)).to.deep.equal(["Weather"]);
      expect(found.pagination).to.deep.equal({ limit: 20, cursor: null });
      const first = await official().search({ query: "search", limit: 1 });
      expect(first.resources[0]!.serviceName).to.equal("Web search");
      const second = await official().search({ query: "search", limit: 1, cursor: first.pagination!.cursor! });
      expect(second.resources.map(({ serviceName }) => serviceName)).to.deep.equal(["Translator"]);
      expect(second.pagination!.cursor).to.equal(null);
    });

    it("its filters are honoured, and what is not is said", async () => {
      const names = async (params: Parameters<ReturnType<typeof official>["listResources"]>[0]) => (await official().listResources(params)).items.map(({ serviceName }) => serviceName);
      expect(await names({ payTo: weather.terms.payTo })).to.deep.equal(["Weather"]);
      expect(await names({ scheme: "batch-settlement" })).to.have.members(["Web search", "Translator"]);
      for (const none of [{ network: "eip155:1" }, { type: "mcp" }, { scheme: "barter" }, { extensions: "unheard-of" }, { payTo: "0x" }]) expect(await names(none), JSON.stringify(none)).to.deep.equal([]);
      expect(await names({ extensions: "bazaar", network: NETWORK })).to.have.lengthOf(3);
      const answer = (await (await fetch(`${url}/discovery/search?query=rain&maxUsdPrice=1&sort=new`)).json()) as Record<string, unknown>;
      expect(answer["unappliedFilters"]).to.deep.equal(["maxUsdPrice", "sort"]);
    });
  });

  describe("ours", () => {
    it("filters by capability, price, promise, scheme, token, category and words", async () => {
      const expected: [Record<string, unknown>, string[]][] = [
        [{ capability: "data.weather" }, ["Weather"]],
        [{ maxPrice: "$0.001" }, ["Web search", "Translator"]],
        [{ maxPriceAtomic: "999" }, ["Translator"]],
        [{ maxResponseTime: 500 }, ["Weather"]],
        [{ uptime: 99.5 }, ["Web search", "Translator"]],
        [{ uptime: 99.51 }, []],
        [{ minRating: 1 }, []],
        [{ scheme: "batch-settlement", category: "translation" }, ["Translator"]],
        [{ token: BASE_SEPOLIA.usdc.address }, ["Web search", "Weather", "Translator"]],
        [{ token: `0x${"11".repeat(20)}` }, []],
        [{ owner: weather.owner.address }, ["Weather"]],
        [{ text: "german -search" }, []],
        [{ text: '"any place"' }, ["Weather"]],
      ];
      for (const [body, names] of expected) expect(namesOf(await discover(body)), JSON.stringify(body)).to.have.members(names);
    });

    it("each result says why it stands where it stands, and the sum is the score", async () => {
      const { agents, partialResults, method } = await discover({ text: "search" });
      expect([partialResults, method]).to.deep.equal([false, "lexical"]);
      expect(agents.map(({ name }) => name)).to.deep.equal(["Web search", "Translator"]);
      for (const { rank } of agents) {
        expect(rank.factors.map(({ factor }) => factor)).to.deep.equal(["text", "reputation", "uptime", "latency", "honesty", "price", "bond"]);
        expect(rank.factors.reduce((sum, { weight }) => sum + weight, 0)).to.be.closeTo(1, 1e-9);
        for (const { weight, value, contribution } of rank.factors) expect(contribution).to.be.closeTo(weight * value, 1e-6);
        expect(rank.factors.reduce((sum, { contribution }) => sum + contribution, 0)).to.be.closeTo(rank.score, 1e-6);
      }
      expect(agents[0]!.rank.score).to.be.above(agents[1]!.rank.score);
    });

    it("GET /api/a2a/discover takes a tag or words, with the same filters", async () => {
      const ask = async (query: string) => namesOf((await (await fetch(`${url}/api/a2a/discover?${query}`)).json()) as Discovered);
      expect(await ask("service=data.weather")).to.deep.equal(["Weather"]);
      expect(await ask("service=forecasts%20of%20rain")).to.deep.equal(["Weather"]);
      expect(await ask("service=search&maxPrice=0.0005")).to.deep.equal(["Translator"]);
    });

    it("recommends for a task by its words, and says so", async () => {
      const response = await fetch(`${url}/api/v1/a2a/recommend`, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ task: "Will it rain in Cologne tomorrow? I need a forecast" }) });
      const recommended = (await response.json()) as Discovered;
      expect([recommended.method, recommended.agents[0]!.name]).to.deep.equal(["lexical", "Weather"]);
    });

    it("a relayer without an indexer says that it does not know everything", async () => {
      expect((await discover({}, world.url)).partialResults).to.equal(true);
    });
  });

  describe("hostile questions", () => {
    const QUERY = ["a & b | !c <-> (d", "'; DROP TABLE discovery_service; --", "\\", "%00", "' OR 1=1 --", ":*", "!!!", "<script>alert(1)</script>", "\u202E\uD800", "👩‍👩‍👧", "a".repeat(4_000), "-".repeat(3_000), "\"".repeat(999), "$1", "{}"];

    it("are only words", async () => {
      for (const query of QUERY) {
        await discover({ text: query });
        const recommended = await fetch(`${url}/api/v1/a2a/recommend`, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ task: query }) });
        expect(recommended.status, query.slice(0, 40)).to.equal(200);
        const response = await fetch(`${url}/discovery/search?query=${encodeURIComponent(query.toWellFormed())}`);
        expect(response.status, query.slice(0, 40)).to.equal(200);
      }
      for (const raw of ["query=%00", "query=%FF%FE", "query=", "query=a&query=b"]) expect((await fetch(`${url}/discovery/search?${raw}`)).status, raw).to.be.oneOf([200, 400]);
      expect(namesOf(await discover({}))).to.have.lengthOf(3);
    });

    it("whatever signs they are made of", async () => {
      const signs = fc.array(fc.constantFrom(..."-\"-\"-!&|<>()':*\\ \t.@/%_aé".split("")), { maxLength: 1_000 }).map((all) => all.join(""));
      await fc.assert(fc.asyncProperty(signs, async (text) => void (await searchServices(relayer.deps, filterOf({ text }), { limit: 1, offset: 0 }))), { numRuns: 300, seed: 1 });
      const unit = fc.constantFrom("-", "- ", '-"', '"-', '-"a" ', "!", "(", " -a", "''", "<->");
      await fc.assert(fc.asyncProperty(unit, async (part) => void (await searchServices(relayer.deps, filterOf({ text: part.repeat(1_000) }), { limit: 1, offset: 0 }))), { numRuns: 30, seed: 1 });
    });

    it("are refused with the field where they are malformed", async () => {
      const bodies: [Record<string, unknown>, string][] = [
        [{ limit: -1 }, "limit"], [{ limit: 101 }, "limit"], [{ cursor: "!!" }, "cursor"], [{ cursor: Buffer.from("o10001").toString("base64url") }, "cursor"], [{ cursor: Buffer.from("o-1").toString("base64url") }, "cursor"], [{ maxPrice: "1e9" }, "maxPrice"],
        [{ maxPrice: "0.0000001" }, "maxPrice"], [{ maxPriceAtomic: "-1" }, "maxPriceAtomic"], [{ capability: "A'B" }, "capability"], [{ capability: "a\0b" }, "capability"], [{ scheme: "barter" }, "scheme"], [{ category: "x" }, "category"],
        [{ token: "0x12" }, "token"], [{ minRating: 101 }, "minRating"], [{ maxResponseTime: 0.5 }, "maxResponseTime"], [{ uptime: "NaN" }, "uptime"], [{ text: "a".repeat(4_001) }, "text"],
      ];
      for (const [body, field] of bodies) {
        const response = await fetch(`${url}/api/v1/a2a/discover`, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) });
        const problem = (await response.json()) as { status: number; field?: string };
        expect([response.status, problem.field], JSON.stringify(body)).to.deep.equal([400, field]);
      }
      for (const raw of ["offset=-1", "limit=0", "offset=99999999", "limit=x"]) expect((await fetch(`${url}/discovery/resources?${raw}`)).status, raw).to.equal(400);
      const unknown = await fetch(`${url}/api/v1/a2a/discover`, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ sort: "me first" }) });
      expect(unknown.status).to.equal(400);
    });
  });

  describe("what a stranger lists", () => {
    it("is found only with a document of that hash, read within bounds", async () => {
      const bad: Record<string, string> = {};
      const listBad = async (name: string, uri: string, change: Parameters<typeof metadataOf>[0] = {}): Promise<void> => {
        const service = await bazaar.list(world.chain.account(4), metadataOf({ name: `Bad ${name}`, ...change }), { uri });
        elsewhere.sells(service.serviceId, "/s/bad");
        bad[name] = service.serviceId;
      };
      elsewhere.route("/wrong", (_request, response) => void response.end(JSON.stringify(metadataOf({ name: "Bad swapped" }))));
      elsewhere.route("/huge", (_request, response) => void response.end(Buffer.alloc(70_000, 0x20)));
      elsewhere.route("/moved", (_request, response) => void response.writeHead(302, { location: `${elsewhere.origin}/api/v1/metadata/0x` }).end());
      elsewhere.route("/slow", () => {});
      await listBad("wrong", `${elsewhere.origin}/wrong`);
      await listBad("huge", `${elsewhere.origin}/huge`);
      await listBad("moved", `${elsewhere.origin}/moved`);
      await listBad("slow", `${elsewhere.origin}/slow`);
      await listBad("scheme", "file:///etc/passwd");
      await listBad("credentials", `http://user:secret@${new URL(elsewhere.origin).host}/wrong`);
      await listBad("nonsense", "\0 not an address");
      await synced();
      expect(namesOf(await discover({ text: "bad" }))).to.deep.equal([]);
      const { rows } = await relayer.deps.db.query<{ service_id: Buffer; read_fault: string }>("SELECT service_id, read_fault FROM discovery_service WHERE read_fault IS NOT NULL");
      const faults = Object.fromEntries(rows.map((row) => [`0x${row.service_id.toString("hex")}`, row.read_fault]));
      expect(Object.fromEntries(Object.entries(bad).map(([name, id]) => [name, faults[id]]))).to.deep.equal({
        wrong: "metadata_hash_mismatch", huge: "upstream_too_large", moved: "metadata_not_there", slow: "upstream_timeout", scheme: "metadata_uri_refused", credentials: "metadata_uri_refused", nonsense: "metadata_uri_refused",
      });
    });

    it("a private address is not asked where that is not allowed", async () => {
      const metadata = metadataOf({ name: "Inside" });
      await bazaar.list(world.chain.account(4), metadata, { uri: elsewhere.serve(metadata) });
      const strict = await world.anotherRelayer({ RELAYER_INDEXER_URL: indexer.url, RELAYER_ROLE: "server", RELAYER_OUTBOUND_ALLOW_PRIVATE: "false" });
      const asked = elsewhere.seen.length;
      await indexer.waitForBlock(await world.chain.client.getBlockNumber());
      await syncDiscovery(strict.relayer.deps);
      await fetchDocuments(strict.relayer.deps);
      expect(elsewhere.seen.length).to.equal(asked);
      const { rows } = await relayer.deps.db.query("SELECT 1 FROM discovery_service WHERE read_fault = 'outbound_address_refused'");
      expect(rows).to.have.lengthOf(1);
    });

    it("schemas that take long to check never reach a validator", async () => {
      const evil = { type: "object", properties: { q: { type: "string", pattern: "^(a+)+$" }, pattern: { type: "string" } }, required: ["q"], $defs: { x: { $ref: "#/$defs/x" } } };
      await listHere(5, { name: "Evil schema", capability: "evil.schema", endpoints: [{ method: "POST", path: "/run", sampleInput: { q: `${"a".repeat(40)}!`, pattern: "p" }, inputSchema: evil }] });
      await synced();
      const { resources } = await official().search({ query: "evil schema" });
      const card = resources[0]!.extensions!["bazaar"] as DiscoveryExtension;
      expect(JSON.stringify(card)).to.not.include("(a+)+");
      expect((card.info.input as unknown as { body: unknown }).body).to.deep.equal({ q: `${"a".repeat(40)}!`, pattern: "p" });
      expect(validateDiscoveryExtension(card)).to.deep.equal({ valid: true });
    });
  });

  describe("follows the chain", () => {
    const known = async (id: Hex) => (await discover({})).agents.find(({ serviceId }) => serviceId === id);

    it("a new price, a pause, an unlisted service", async () => {
      translate = await bazaar.update(translate, { price: 250n });
      await synced();
      expect((await known(translate.serviceId))!.priceAtomic).to.equal("250");
      await bazaar.setStatus(translate, "suspended");
      await synced();
      expect(await known(translate.serviceId)).to.equal(undefined);
      await bazaar.setStatus(translate, "listed");
      weather = await bazaar.update(weather, { visibility: 1 });
      await synced();
      expect(await known(weather.serviceId)).to.equal(undefined);
      expect((await known(translate.serviceId))!.priceAtomic).to.equal("250");
    });

    it("and back, when it reorganises: what was undone is gone, what was changed is as before", async () => {
      const { chain } = world;
      const id = await chain.client.snapshot();
      const before = await known(search.serviceId);
      await bazaar.update(search, { price: 9n });
      const gone = await listHere(6, { name: "Short life" });
      await synced();
      expect((await known(search.serviceId))!.priceAtomic).to.equal("9");
      expect(await known(gone.serviceId)).to.not.equal(undefined);
      const [old, { timestamp }] = await Promise.all([chain.client.getBlockNumber(), chain.client.getBlock()]);
      await chain.client.revert({ id });
      await chain.warpTo(timestamp + 5n);
      while ((await chain.client.getBlockNumber()) <= old) await chain.mineBlocks(1);
      await synced();
      expect((await known(search.serviceId))!.priceAtomic).to.equal(before!.priceAtomic);
      expect(await known(gone.serviceId)).to.equal(undefined);
    });
  });
});
