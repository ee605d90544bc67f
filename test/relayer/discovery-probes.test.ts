// The prober on real services: this gateway's own, and strangers that are honest, dear, slow, gone or liars.
import { validateDiscoveryExtension, validateDiscoveryExtensionSpec, type DiscoveryExtension } from "@x402/extensions/bazaar";
import { expect } from "chai";
import { encodeDeployData, encodeFunctionData, getContractAddress, zeroAddress, type Address, type Hex } from "viem";
import { fetchDocuments } from "../../relayer/src/capabilities/discovery/documents.ts";
import { probeServices } from "../../relayer/src/capabilities/discovery/prober.ts";
import { syncDiscovery } from "../../relayer/src/capabilities/discovery/sync.ts";
import { upsertServices } from "../../relayer/src/capabilities/discovery/sync-store.ts";
import type { ChainService } from "../../relayer/src/capabilities/discovery/types.ts";
import type { Relayer } from "../../relayer/src/relayer.ts";
import { artifact } from "../../scripts/artifacts.ts";
import { bazaarRegistryAbi } from "../../sdk/src/abi/bazaar-registry.ts";
import { SERVICE_STATUSES } from "../../sdk/src/bazaar.ts";
import type { Metadata } from "../../sdk/src/bazaar/metadata.ts";
import { BASE_SEPOLIA, LOCAL_IDENTITY_REGISTRY, SESSION_CHANNELS } from "../../sdk/src/constants.ts";
import { hashOfMetadata } from "../support/bazaar-chain.ts";
import { encodeHeader, requiredOf } from "../support/buyer.ts";
import { addressOf, keyOf, ROLE } from "../support/config.ts";
import { startForeignRelayer, type Answer } from "../support/foreign-relayer.ts";
import { listingClientOf, metadataOf } from "../support/listing.ts";
import { startTestWorld, type TestWorld } from "../support/relayer.ts";
import { Sessions } from "../support/session.ts";
import { until } from "../support/settlement-world.ts";

const USDC = BASE_SEPOLIA.usdc.address;
const NETWORK = `eip155:${BASE_SEPOLIA.chainId}`;
const PAY_TO = addressOf(30);
const CANARY = 31;
const BUDGET = 3_000n;

type Health = Record<"uptimePercent" | "priceHonestyPercent" | "p50Ms" | "p90Ms" | "p99Ms" | "probes", number | null> & { hidden: { reason: string } | null; history: { kind: string; ok: boolean; fault: string | null; priceHonest: boolean | null; paidAtomic: string; status: number | null }[] };

describe("probes", function () {
  this.timeout(240_000);
  let world: TestWorld;
  let elsewhere: Awaited<ReturnType<typeof startForeignRelayer>>;
  let prober: Relayer;
  const ids: Record<string, Hex> = {};

  const db = () => world.relayer.deps.db;
  const due = () => db().query("UPDATE service_probe SET due_at = now()");
  async function rounds(count: number): Promise<void> {
    for (let round = 0; round < count; round++) {
      await due();
      await probeServices(prober.deps);
    }
  }
  async function health(id: string): Promise<Health> {
    const response = await fetch(`${world.url}/api/v1/agents/${id}/health`);
    expect(response.status).to.equal(200);
    return (await response.json()) as Health;
  }
  async function shown(): Promise<string[]> {
    const { agents } = (await (await fetch(`${world.url}/api/a2a/discover?limit=100`)).json()) as { agents: { name: string }[] };
    return agents.map(({ name }) => name);
  }
  const required = (change: Record<string, unknown> = {}) =>
    encodeHeader({ x402Version: 2, resource: { url: `${elsewhere.origin}/x` }, accepts: [{ scheme: "exact", network: NETWORK, amount: "2000", asset: USDC, payTo: PAY_TO, maxTimeoutSeconds: 60, extra: { name: "USDC", version: "2" }, ...change }] });
  const asking = (change?: Record<string, unknown>): Answer => (_request, response) => void response.writeHead(402, { "payment-required": required(change) }).end();

  /** As the indexer would tell of it: found, with a document of its own. */
  async function stranger(name: string, answer: Answer, change: Partial<ChainService> = {}, said: Partial<Metadata> = {}): Promise<void> {
    const metadata = metadataOf({ name, ...said });
    const serviceId = hashOfMetadata(metadata); // any 32 bytes of its own
    ids[name] = serviceId;
    elsewhere.route(`/s/${name}/`, answer);
    elsewhere.sells(serviceId, `/s/${name}`);
    await upsertServices(db(), [{
      serviceId, owner: PAY_TO, agentKey: 0n, payTo: PAY_TO, token: USDC, price: 2_000n, capability: "weather.forecast", categories: 4n, schemes: 1, visibility: "public", status: "listed", version: 1, contentHash: hashOfMetadata(metadata),
      uri: elsewhere.serve(metadata), bond: 0n, ratingCount: 0, updatedAt: 1n, ...change,
    }], "indexer");
    await fetchDocuments(prober.deps);
  }

  before(async () => {
    [world, elsewhere] = await Promise.all([startTestWorld({ sweepsByHand: true, env: { RELAYER_PROBE_PERIOD_S: "0" } }), startForeignRelayer()]);
    const env = { RELAYER_ROLE: "server", RELAYER_PUBLIC_URL: world.url, RELAYER_PROBE_PERIOD_S: "3600", RELAYER_PROBE_KEY: keyOf(CANARY), RELAYER_PROBE_BUDGET: String(BUDGET) };
    ({ relayer: prober } = await world.anotherRelayer(env));
    await world.chain.mintUSDC(addressOf(CANARY), 1_000_000n);
    await listingClientOf(world, 12).list({ name: "weather", origin: world.provider.origin, metadata: metadataOf({ endpoints: [{ method: "POST", path: "/at/{place}", sampleInput: { place: "Cologne", day: 1 }, inputSchema: { type: "object", properties: { day: { type: "integer" } } } }, { method: "GET", path: "/today" }] }) });
    await syncDiscovery(prober.deps);
  });
  after(() => Promise.all([world.stop(), elsewhere.stop()]));

  describe("the 402 of a listed service", () => {
    const cardOf = async (path: string, method = "GET") => requiredOf(await fetch(`${world.url}/s/${path}`, { method })).extensions["bazaar"] as (DiscoveryExtension & { info: { input: Record<string, unknown> } }) | undefined;

    it("says how the endpoint is called, as the official validators take it", async () => {
      const post = (await cardOf("weather/at/Bonn", "POST"))!;
      expect(post.info.input).to.deep.equal({ type: "http", method: "POST", bodyType: "json", body: { day: 1 }, pathParams: { place: "Cologne" } });
      const get = (await cardOf("weather/today?x=1"))!;
      expect(get.info.input).to.include({ type: "http", method: "GET" });
      for (const card of [post, get]) {
        expect(validateDiscoveryExtension(card)).to.deep.equal({ valid: true });
        expect(validateDiscoveryExtensionSpec(card as unknown as Record<string, unknown>)).to.deep.equal({ valid: true });
      }
    });

    it("says nothing of a path it does not know, and nothing for a service that is not listed", async () => {
      expect(await cardOf("weather/elsewhere")).to.equal(undefined);
      expect(await cardOf("echo/today")).to.equal(undefined);
    });
  });

  it("a service of this gateway: there, honest, and paid once as any buyer would", async () => {
    await probeServices(prober.deps);
    const { history, uptimePercent, priceHonestyPercent, probes, hidden, p50Ms, p90Ms, p99Ms } = await health("weather");
    expect(history.map(({ kind, ok, fault, priceHonest, paidAtomic, status }) => ({ kind, ok, fault, priceHonest, paidAtomic, status }))).to.have.deep.members([
      { kind: "terms", ok: true, fault: null, priceHonest: true, paidAtomic: "0", status: 402 },
      { kind: "canary", ok: true, fault: null, priceHonest: null, paidAtomic: "2000", status: 200 },
    ]);
    expect({ uptimePercent, priceHonestyPercent, probes, hidden }).to.deep.equal({ uptimePercent: 100, priceHonestyPercent: 100, probes: 2, hidden: null });
    expect(p50Ms! <= p90Ms! && p90Ms! <= p99Ms!).to.equal(true);
    const [call] = world.provider.seen;
    expect([call!.method, call!.url, JSON.parse(call!.body)]).to.deep.equal(["POST", "/at/Cologne", { day: 1 }]);
  });

  it("strangers: each fault has its name", async () => {
    await stranger("honest", asking());
    await stranger("swapped", asking({ payTo: addressOf(33) }));
    await stranger("dear", asking({ amount: "2001" }));
    await stranger("token", asking({ asset: addressOf(34) }));
    await stranger("network", asking({ network: "eip155:1" }));
    await stranger("scheme", asking({ scheme: "upto" }));
    await stranger("free", (_request, response) => void response.end("for nothing"));
    await stranger("broken", (_request, response) => void response.writeHead(500).end());
    await stranger("garbled", (_request, response) => void response.writeHead(402, { "payment-required": "%%%" }).end());
    await stranger("proto", (_request, response) => void response.writeHead(402, { "payment-required": encodeHeader({ x402Version: 2, accepts: [null, 7, { network: NETWORK, payTo: 1 }] }) }).end());
    await stranger("moved", (_request, response) => void response.writeHead(302, { location: `${world.url}/metrics` }).end());
    await stranger("hangup", (request) => void request.socket.destroy());
    await stranger("flood", (_request, response) => void response.writeHead(402, { "payment-required": required() }).end(Buffer.alloc(2 << 20)));
    await rounds(1);
    const faults = Object.fromEntries(await Promise.all(Object.entries(ids).map(async ([name, id]) => [name, (await health(id)).history[0]!.fault])));
    expect(faults).to.deep.equal({
      honest: null, swapped: "pay_to_differs", dear: "price_differs", token: "token_differs", network: "network_missing", scheme: "scheme_missing", free: "not_asked_to_pay", broken: "not_asked_to_pay", garbled: "seller_malformed",
      proto: "seller_malformed", moved: "not_asked_to_pay", hangup: "upstream_unreachable", flood: "upstream_too_large",
    });
    expect((await health(ids["dear"]!))).to.include({ uptimePercent: 100, priceHonestyPercent: 0 });
    expect((await health(ids["broken"]!))).to.include({ uptimePercent: 0, priceHonestyPercent: null });
  });

  it("the day's budget holds, however many services there are", async () => {
    const { rows } = await db().query<{ reserved_atomic: bigint }>("SELECT reserved_atomic FROM probe_budget");
    expect(rows).to.deep.equal([{ reserved_atomic: 2_000n }]);
    expect((await health(ids["honest"]!)).history.map(({ kind }) => kind)).to.deep.equal(["terms"]);
  });

  it("two processes look once", async () => {
    const { relayer: other } = await world.anotherRelayer({ RELAYER_ROLE: "server", RELAYER_PUBLIC_URL: world.url, RELAYER_PROBE_PERIOD_S: "3600" });
    const count = async () => Number((await db().query<{ n: bigint }>("SELECT count(*) AS n FROM probe_result WHERE kind = 'terms'")).rows[0]!.n);
    const before = await count();
    await due();
    const looked = await Promise.all([probeServices(prober.deps), probeServices(other.deps)]);
    expect(looked[0]! + looked[1]!).to.equal(Object.keys(ids).length + 1);
    expect((await count()) - before).to.equal(Object.keys(ids).length + 1);
  });

  it("what fails three times is hidden, with the reason; the rest is found", async () => {
    await rounds(1);
    expect(await shown()).to.have.members(["Weather", "honest"]);
    expect((await health(ids["swapped"]!)).hidden!.reason).to.equal("pay_to_differs");
  });

  it("and comes back when it was well twice", async () => {
    elsewhere.route("/s/swapped/", asking());
    await rounds(1);
    expect(await shown()).to.not.include("swapped");
    await rounds(1);
    expect(await shown()).to.include("swapped");
    expect((await health(ids["swapped"]!)).hidden).to.equal(null);
  });

  it("a paid call that brings nothing counts against the service, what was not taken does not cost", async () => {
    const { relayer: rich } = await world.anotherRelayer({ RELAYER_ROLE: "server", RELAYER_PUBLIC_URL: world.url, RELAYER_PROBE_PERIOD_S: "3600", RELAYER_PROBE_KEY: keyOf(CANARY), RELAYER_PROBE_BUDGET: "1000000" });
    await stranger("taker", (request, response) => {
      if (request.headers["payment-signature"] === undefined) return asking()(request, response);
      response.writeHead(200, {}).end("no receipt");
    });
    await due();
    await probeServices(rich.deps);
    const { history } = await health(ids["taker"]!);
    expect(history.find(({ kind }) => kind === "canary")).to.include({ ok: false, fault: "payment_refused", paidAtomic: "0" });
  });

  it("a private address is not asked where that is not allowed", async () => {
    await stranger("inside", asking());
    const { relayer: strict } = await world.anotherRelayer({ RELAYER_ROLE: "server", RELAYER_PUBLIC_URL: world.url, RELAYER_PROBE_PERIOD_S: "3600", RELAYER_OUTBOUND_ALLOW_PRIVATE: "false" });
    const asked = elsewhere.seen.length;
    await due();
    await probeServices(strict.deps);
    expect(elsewhere.seen.length).to.equal(asked);
    expect((await health(ids["inside"]!)).history[0]!.fault).to.equal("outbound_address_refused");
    // This gateway itself is on such an address, and is asked all the same.
    expect((await health("weather")).history[0]!.ok).to.equal(true);
  });

  it("where this relayer is the curator, the registry suspends what fails on and on", async () => {
    const registry = await curatedRegistry(addressOf(ROLE.submitter));
    const { relayer: curator } = await world.anotherRelayer({ RELAYER_PUBLIC_URL: world.url, RELAYER_PROBE_PERIOD_S: "3600", RELAYER_BAZAAR_REGISTRY: registry.address, RELAYER_ROLE: "server" });
    await stranger("scam", asking({ amount: "9999" }));
    await db().query("UPDATE discovery_service SET service_id = $1 WHERE service_id = $2", [Buffer.from(registry.serviceId.slice(2), "hex"), Buffer.from(ids["scam"]!.slice(2), "hex")]);
    await db().query("DELETE FROM service_probe");
    await probeServices(curator.deps);
    await db().query("UPDATE service_probe SET failures = 9, due_at = now()");
    await probeServices(curator.deps);
    const statusOf = async () => SERVICE_STATUSES[(await world.chain.client.readContract({ address: registry.address, abi: bazaarRegistryAbi, functionName: "services", args: [registry.serviceId] })).status];
    const { rows } = await db().query<{ tx_id: bigint }>("SELECT tx_id FROM chain_tx WHERE purpose = 'listing' ORDER BY tx_id DESC LIMIT 1");
    await curator.deps.submitter.wait(rows[0]!.tx_id, 20_000);
    expect(await statusOf()).to.equal("suspended");
    // Once for these terms.
    await due();
    await probeServices(curator.deps);
    expect((await db().query("SELECT 1 FROM chain_tx WHERE purpose = 'listing' AND tx_id > $1", [rows[0]!.tx_id])).rows).to.deep.equal([]);
  });

  /** A registry with a curator, and a service that it approved. */
  async function curatedRegistry(curator: Address): Promise<{ address: Address; serviceId: Hex }> {
    const { client } = world.chain;
    const admin = world.chain.account(0);
    const { bytecode } = artifact("BazaarRegistry");
    const nonce = await client.getTransactionCount({ address: admin.address });
    const data = encodeDeployData({ abi: bazaarRegistryAbi, bytecode, args: [LOCAL_IDENTITY_REGISTRY, zeroAddress, SESSION_CHANNELS, SESSION_CHANNELS, zeroAddress, curator, USDC, 100_000_000n] } as Parameters<typeof encodeDeployData>[0]);
    const hash = await client.sendTransaction({ account: admin, chain: client.chain!, data });
    await client.waitForTransactionReceipt({ hash });
    const address = getContractAddress({ from: admin.address, nonce: BigInt(nonce) });
    const owner = world.chain.account(13);
    const key = { agent: 0n, owner: owner.address, salt: hashOfMetadata(metadataOf()) };
    const offer = { capability: `0x${"61".padEnd(64, "0")}` as Hex, categories: 0n, price: 2_000n, schemes: 1, visibility: 0, contentHash: key.salt, uri: "https://x.example" };
    await new Sessions(world.chain).sendTo(owner, address, encodeFunctionData({ abi: bazaarRegistryAbi, functionName: "list", args: [key, { payTo: PAY_TO, token: USDC, offer }, true, { deadline: 0n, signature: "0x" }] }));
    const serviceId = await client.readContract({ address, abi: bazaarRegistryAbi, functionName: "getServiceId", args: [key] });
    const approve = await world.relayer.deps.submitter.submit({ purpose: "listing", to: address, data: encodeFunctionData({ abi: bazaarRegistryAbi, functionName: "review", args: [serviceId, 1, true, key.salt] }) });
    await world.relayer.deps.submitter.wait(approve.txId, 20_000);
    return { address, serviceId };
  }

  it("a month is not bought to try it, however little it costs", async () => {
    await stranger("monthly", asking(), {}, { pricing: { ...metadataOf().pricing, model: "subscription", unit: "month" } });
    const looks = async () => (await health(ids["monthly"]!)).history.map(({ kind, ok }) => `${kind} ${ok}`);
    await until(async () => {
      await rounds(1);
      return (await looks()).length > 1; // once its document was read, by whichever process
    });
    expect(new Set(await looks())).to.deep.equal(new Set(["terms true"]));
  });
});
