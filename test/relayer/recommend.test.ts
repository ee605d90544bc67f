// Recommending by meaning, with a real server that speaks the embeddings protocol: what it is sent, what it may answer, and what happens without.
import { expect } from "chai";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { setDocument } from "../../relayer/src/capabilities/discovery/document-store.ts";
import { readDocument } from "../../relayer/src/capabilities/discovery/document.ts";
import { rankAgain } from "../../relayer/src/capabilities/discovery/sync.ts";
import { upsertServices } from "../../relayer/src/capabilities/discovery/sync-store.ts";
import { metadataBytes, type Metadata } from "../../sdk/src/bazaar/metadata.ts";
import { createDiscoveryClient } from "../../sdk/src/bazaar/discover.ts";
import type { TallystickError } from "../../sdk/src/errors.ts";
import { BASE_SEPOLIA } from "../../sdk/src/constants.ts";
import { hashOfMetadata, metadataOf } from "../support/bazaar-chain.ts";
import { tallystick } from "../support/cli.ts";
import { addressOf } from "../support/config.ts";
import { startTestWorld, type TestWorld } from "../support/relayer.ts";

type Asked = { model: string; input: string[]; authorization: string | undefined };
type Recommended = { method: string; agents: { name: string; rank: { score: number; factors: { factor: string; value: number; contribution: number; why: string }[] } }[]; next: string | null };

/** What a model would know of these few words. */
const MEANINGS = [/umbrella|rain|forecast|wet/i, /german|english|translat|sprache/i, /picture|photo|image/i, /search|find|web/i];
const vectorOf = (text: string): number[] => [...MEANINGS.map((words) => (words.test(text) ? 1 : 0)), 0.1];

async function startModel() {
  const asked: Asked[] = [];
  let answer: ((request: Asked, response: ServerResponse) => void) | undefined;
  const server = createServer((request: IncomingMessage, response) => {
    const chunks: Buffer[] = [];
    request.on("data", (chunk: Buffer) => chunks.push(chunk));
    request.on("end", () => {
      if (request.method !== "POST" || request.url !== "/v1/embeddings") return void response.writeHead(404).end();
      const { model, input } = JSON.parse(Buffer.concat(chunks).toString()) as { model: string; input: string[] };
      const question = { model, input, authorization: request.headers.authorization };
      asked.push(question);
      if (answer !== undefined) return answer(question, response);
      response.setHeader("content-type", "application/json");
      // The order of the protocol is by index.
      response.end(JSON.stringify({ object: "list", model, data: input.map((text, index) => ({ object: "embedding", index, embedding: vectorOf(text) })).reverse() }));
    });
  });
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1`,
    asked,
    answers: (with_: typeof answer) => void (answer = with_),
    stop: () => new Promise<void>((done) => {
      server.closeAllConnections();
      server.close(() => done());
    }),
  };
}

describe("recommendations", function () {
  this.timeout(120_000);
  let world: TestWorld;
  let model: Awaited<ReturnType<typeof startModel>>;
  let url: string;

  const recommend = async (task: string, more: Record<string, unknown> = {}): Promise<Recommended> => {
    const response = await fetch(`${url}/api/v1/a2a/recommend`, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ task, ...more }) });
    expect(response.status).to.equal(200);
    return (await response.json()) as Recommended;
  };

  before(async () => {
    [world, model] = await Promise.all([startTestWorld({ env: { RELAYER_PROBE_PERIOD_S: "0" } }), startModel()]);
    ({ url } = await world.anotherRelayer({ RELAYER_ROLE: "server", RELAYER_EMBEDDINGS_URL: model.url, RELAYER_EMBEDDINGS_MODEL: "tiny", RELAYER_EMBEDDINGS_KEY: "secret-token" }));
    const services: Metadata[] = [
      metadataOf({ name: "Weather", description: "Forecasts of rain for any place.", capability: "data.weather" }),
      metadataOf({ name: "Translator", description: "German to English.", capability: "text.translate" }),
      metadataOf({ name: "Painter", description: "A picture of anything.", capability: "image.make" }),
    ];
    const { db } = world.relayer.deps;
    for (const metadata of services) {
      const contentHash = hashOfMetadata(metadata);
      await upsertServices(db, [{
        serviceId: contentHash, owner: addressOf(30), agentKey: 0n, payTo: addressOf(30), token: BASE_SEPOLIA.usdc.address, price: 1_000n, capability: metadata.capability, categories: 0n, schemes: 1, visibility: "public", status: "listed",
        version: 1, contentHash, uri: "https://x.example", bond: 0n, ratingCount: 0, updatedAt: 1n,
      }], "indexer");
      await setDocument(db, { serviceId: contentHash, contentHash }, readDocument(metadataBytes(metadata), contentHash, { capability: metadata.capability, categories: 0n }), "https://x.example/s");
    }
    await rankAgain(world.relayer.deps, new Date(0));
  });
  after(() => Promise.all([world.stop(), model.stop()]));

  it("finds by meaning what shares no word, and says how", async () => {
    const { method, agents } = await recommend("Do I need an umbrella in Cologne?");
    expect([method, agents[0]!.name]).to.deep.equal(["semantic", "Weather"]);
    const { score, factors } = agents[0]!.rank;
    expect(factors[0]).to.include({ factor: "text", why: "nearness of meaning, by vectors" });
    expect(factors[0]!.value).to.be.closeTo(1, 0.02);
    expect(factors.reduce((sum, { contribution }) => sum + contribution, 0)).to.be.closeTo(score, 1e-6);
    expect(model.asked.every(({ authorization, model: name }) => authorization === "Bearer secret-token" && name === "tiny")).to.equal(true);
  });

  it("a service is sent to the model once", async () => {
    const before = model.asked.length;
    await recommend("Turn this into another Sprache");
    expect(model.asked.slice(before).map(({ input }) => input)).to.deep.equal([["Turn this into another Sprache"]]);
  });

  it("filters and pages hold as in a search", async () => {
    expect((await recommend("umbrella", { capability: "image.make" })).agents.map(({ name }) => name)).to.deep.equal(["Painter"]);
    const first = await recommend("umbrella", { limit: 2 });
    const second = await recommend("umbrella", { limit: 2, cursor: first.next });
    expect([...first.agents, ...second.agents].map(({ name }) => name)).to.have.members(["Weather", "Translator", "Painter"]);
    expect(second.next).to.equal(null);
  });

  it("the SDK's client asks the same, page by page, and hands on what is refused", async () => {
    const client = createDiscoveryClient({ relayerUrl: url });
    expect((await client.recommend("umbrella", { limit: 1 })).agents[0]!.name).to.equal("Weather");
    const all: string[] = [];
    for await (const { name } of client.all({ limit: 1 })) all.push(name);
    expect(all).to.have.members(["Weather", "Translator", "Painter"]);
    const refused = (await client.discover({ maxPrice: "-1" }).catch((error: unknown) => error)) as TallystickError;
    expect([refused.code, refused.field, refused.retry]).to.deep.equal(["price_malformed", "maxPrice", "never"]);
    const unknown = (await client.health("nobody").catch((error: unknown) => error)) as TallystickError;
    expect(unknown.code).to.equal("service_unknown");
  });

  it("tallystick find", async () => {
    const run = (...args: string[]) => tallystick(["find", ...args], { env: { TALLYSTICK_RELAYER_URL: url } });
    const byWords = await run("rain", "--max-price", "0.001", "--json");
    expect([byWords.code, byWords.json["agents"].map(({ name }: { name: string }) => name)]).to.deep.equal([0, ["Weather"]]);
    const shown = await run("an umbrella for Cologne", "--task", "--why", "--limit", "1");
    expect(shown.stdout).to.match(/^name +capability/).and.include("Weather").and.include("nearness of meaning").and.include("does not know all services");
    expect((await run("--capability", "data.nothing")).stdout).to.include("Nothing found.");
    expect((await run("--max-price", "cheap")).code).to.equal(2);
    const refused = await run("--scheme", "barter", "--json");
    expect([refused.code, refused.json["error"].code, refused.json["error"].field]).to.deep.equal([1, "filter_unknown", "scheme"]);
  });

  it("an endpoint that fails or answers nonsense leaves the words, and they are called so", async () => {
    const vectors = (embedding: unknown) => (_request: Asked, response: ServerResponse) => void response.end(JSON.stringify({ data: [{ index: 0, embedding }] }));
    const bad: ((request: Asked, response: ServerResponse) => void)[] = [
      (_request, response) => void response.writeHead(500).end(),
      (_request, response) => void response.end("no json"),
      (_request, response) => void response.end(JSON.stringify({ data: [] })),
      (_request, response) => void response.writeHead(302, { location: "http://127.0.0.1:1/" }).end(),
      (_request, response) => response.destroy() as never,
      vectors("text"), vectors([]), vectors([1, null]), vectors(Array(9_000).fill(1)),
    ];
    for (const [at, answer] of bad.entries()) {
      model.answers(answer);
      const { method, agents } = await recommend("a forecast of rain");
      expect([method, agents[0]?.name], String(at)).to.deep.equal(["lexical", "Weather"]);
    }
    model.answers(undefined);
    expect((await recommend("umbrella")).method).to.equal("semantic");
  });
});
