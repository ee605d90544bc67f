// A relayer with an empty database: what was listed in the registry before it is known to it, and its owner sells it there at once.
import { expect } from "chai";
import { encodeFunctionData, zeroAddress, type Hex } from "viem";
import { createListingFollower } from "../../relayer/src/capabilities/agents/follower.ts";
import { findListing } from "../../relayer/src/capabilities/agents/store.ts";
import { findTerms } from "../../relayer/src/capabilities/agents/terms-store.ts";
import { createRelayer, type Relayer } from "../../relayer/src/relayer.ts";
import { createLog } from "../../relayer/src/telemetry/log.ts";
import { freePort } from "../../scripts/local/process.ts";
import { bazaarRegistryAbi as abi } from "../../sdk/src/abi/bazaar-registry.ts";
import { identityRegistryAbi } from "../../sdk/src/abi/identity-registry.ts";
import { serviceIdOf, termsHashOf } from "../../sdk/src/bazaar.ts";
import { createListingClient, type ListingClient } from "../../sdk/src/bazaar/listing.ts";
import { saltOfName, serviceKeyOf } from "../../sdk/src/bazaar/terms.ts";
import { LOCAL_BAZAAR_REGISTRY, LOCAL_IDENTITY_REGISTRY } from "../../sdk/src/constants.ts";
import { bazaarOf } from "../support/bazaar-chain.ts";
import { settleOf, stockBuyer } from "../support/buyer.ts";
import { addressOf, testConfig } from "../support/config.ts";
import { bazaarDomain, listingClientOf, metadataOf } from "../support/listing.ts";
import { callerAs, type Caller } from "../support/provider-world.ts";
import { startTestWorld, type TestWorld } from "../support/relayer.ts";
import { Sessions } from "../support/session.ts";
import { failure, until } from "../support/settlement-world.ts";

const [OWNER, NEW_OWNER, PAY_TO, BUYER, STRANGER] = [12, 13, 31, 1, 14];

describe("what was listed before", function () {
  this.timeout(240_000);
  let world: TestWorld;
  const others: Relayer[] = [];
  before(async () => {
    world = await startTestWorld();
    await world.chain.mintUSDC(addressOf(BUYER), 10_000_000n);
  });
  after(async () => {
    await Promise.all(others.map((relayer) => relayer.stop()));
    await world.stop();
  });

  /** A relayer of its own over an empty database, on the same chain. */
  async function newcomer(env: Record<string, string> = {}): Promise<{ relayer: Relayer; url: string }> {
    const config = testConfig(await world.postgres.freshDatabase(), world.chain.url, [], { RELAYER_PORT: String(await freePort()), ...env });
    const relayer = await createRelayer(config, createLog("silent"));
    others.push(relayer);
    return { relayer, url: await relayer.start() };
  }
  const clientAt = (url: string, index: number): ListingClient => createListingClient({ relayerUrl: url, account: world.chain.account(index) });
  const onChain = async (id: Hex) => world.chain.client.readContract({ address: LOCAL_BAZAAR_REGISTRY, abi, functionName: "services", args: [id] });
  const agentAt = async (url: string, id: string) => (await (await fetch(`${url}/api/v1/agents/${id}`)).json()) as Record<string, any>;

  it("a second relayer knows its payTo and terms, also after a change of them; it sells nothing that it was not asked to", async () => {
    const client = listingClientOf(world, OWNER);
    const { agent } = await client.list({ name: "weather", origin: world.provider.origin, metadata: metadataOf(), payTo: addressOf(PAY_TO) });
    const dearer = metadataOf({ pricing: { ...metadataOf().pricing, price: "0.003" } });
    await client.update("weather", { metadata: dearer, payTo: addressOf(PAY_TO) });
    const elsewhere = await bazaarOf(world.chain).list(world.chain.account(STRANGER), metadataOf());

    const { relayer, url } = await newcomer();
    await until(async () => (await agentAt(url, agent.id))["current"] === true);
    expect(await agentAt(url, agent.id)).include({ name: null, url: null, status: "listed", version: 2, owner: addressOf(OWNER), payTo: addressOf(PAY_TO), priceAtomic: "3000", capability: "weather.forecast", contentHash: (await client.get("weather")).contentHash });
    const terms = await findTerms(relayer.deps.db, elsewhere.serviceId, termsHashOf(elsewhere.terms));
    expect(terms).deep.equal(elsewhere.terms);
    expect(((await (await fetch(`${url}/api/v1/agents`)).json()) as { agents: unknown[] }).agents).deep.equal([]);
    expect((await fetch(`${url}/s/weather/`)).status).equal(404);
    expect((await clientAt(url, OWNER).mine()).map(({ id }) => id)).deep.equal([agent.id]);
  });

  it("its owner sells it at the second relayer by the same command, and can change and pause it there; nobody else can", async () => {
    const { url } = await newcomer();
    const id = serviceIdOf(bazaarDomain, serviceKeyOf(addressOf(OWNER), saltOfName("weather")));
    await until(async () => (await agentAt(url, id))["current"] === true);
    const metadata = metadataOf({ pricing: { ...metadataOf().pricing, price: "0.003" } });
    await clientAt(url, STRANGER).list({ name: "weather2", origin: world.provider.origin, metadata });
    const client = clientAt(url, OWNER);
    const { agent } = await client.list({ name: "weather", origin: world.provider.origin, metadata, payTo: addressOf(PAY_TO) });
    expect(agent).include({ id, name: "weather", status: "listed", version: 3, current: true, payTo: addressOf(PAY_TO), uri: `${url}/api/v1/metadata/${agent.contentHash}` });
    const paid = await stockBuyer(world.chain.account(BUYER), world.chain.url).fetch(`${url}/s/weather/today`);
    expect([paid.status, settleOf(paid).extra.chargedAmount]).deep.equal([200, "3000"]);
    expect((await client.pause("weather")).agent.status).equal("suspended");
    const stranger = await callerAs(world, STRANGER, url);
    expect((await stranger("POST", "/agents/weather/status", { status: "listed" })).body).include({ code: "listing_not_yours" });
  });

  it("reads from the block that it is told, in as many passes as that takes, and once", async () => {
    const [latest] = [await world.chain.client.getBlockNumber()];
    const { relayer, url } = await newcomer({ RELAYER_BAZAAR_FROM_BLOCK: String(latest + 1n) });
    await bazaarOf(world.chain).list(world.chain.account(15), metadataOf());
    const rows = async (name: string) => (await relayer.deps.db.query<{ block_number: bigint }>("SELECT block_number FROM chain_cursor WHERE name = $1", [name])).rows;
    await until(async () => (await rows("bazaar.past_read")).length === 1);
    const id = serviceIdOf(bazaarDomain, serviceKeyOf(addressOf(OWNER), saltOfName("weather")));
    expect(await findListing(relayer.deps.db, id)).equal(undefined);
    expect((await fetch(`${url}/api/v1/agents/${id}`)).status).equal(404);
    const before = await rows("bazaar.past");
    await createListingFollower(relayer.deps)();
    expect(await rows("bazaar.past")).deep.equal(before);
  });

  describe("a service of an ERC-8004 identity", () => {
    const AGENT_ID = 0n;
    let owner: Caller;
    before(async () => {
      const sessions = new Sessions(world.chain);
      await sessions.sendTo(world.chain.account(OWNER), LOCAL_IDENTITY_REGISTRY, encodeFunctionData({ abi: identityRegistryAbi, functionName: "register" }));
      owner = await callerAs(world, OWNER);
    });

    const id = serviceIdOf(bazaarDomain, serviceKeyOf(zeroAddress, saltOfName("agentic"), AGENT_ID));
    const offer = { name: "agentic", metadata: metadataOf({ capability: "weather.agentic" }), payTo: addressOf(PAY_TO), agentId: AGENT_ID };

    it("agent 0's owner lists it through the relayer and it is sold; others, and agents that nobody owns, are refused", async () => {
      const wire = { ...offer, origin: world.provider.origin, agentId: String(AGENT_ID) };
      expect((await (await callerAs(world, STRANGER))("POST", "/agents", { ...wire, name: "stolen" })).body).include({ code: "not_owner", field: "agentId" });
      expect((await owner("POST", "/agents", { ...wire, agentId: "77" })).body).include({ code: "not_owner", field: "agentId" });
      const { agent } = await listingClientOf(world, OWNER).list({ ...offer, origin: world.provider.origin });
      expect(agent).include({ id, agentId: "0", owner: addressOf(OWNER), status: "listed", current: true, payTo: addressOf(PAY_TO) });
      expect((await onChain(id)).version).equal(1);
      const paid = await stockBuyer(world.chain.account(BUYER), world.chain.url).fetch(`${world.url}/s/agentic/today`);
      expect([paid.status, settleOf(paid).extra.chargedAmount]).deep.equal([200, "2000"]);
    });

    it("goes with the identity: the new owner changes, pauses and resumes it, the old one's word is worth nothing", async () => {
      const sessions = new Sessions(world.chain);
      const data = encodeFunctionData({ abi: identityRegistryAbi, functionName: "transferFrom", args: [addressOf(OWNER), addressOf(NEW_OWNER), AGENT_ID] });
      await sessions.sendTo(world.chain.account(OWNER), LOCAL_IDENTITY_REGISTRY, data);
      const [before, after] = [listingClientOf(world, OWNER), listingClientOf(world, NEW_OWNER)];
      const dearer = metadataOf({ capability: "weather.agentic", pricing: { ...metadataOf().pricing, price: "0.004" } });
      expect((await failure(before.update("agentic", { metadata: dearer, payTo: addressOf(OWNER) }))).code).equal("listing_not_yours");
      expect([(await onChain(id)).version, (await agentAt(world.url, id))["payTo"]]).deep.equal([1, addressOf(PAY_TO)]);
      const { agent } = await after.update("agentic", { metadata: dearer, payTo: addressOf(NEW_OWNER) });
      expect(agent).include({ version: 2, current: true, owner: addressOf(NEW_OWNER), payTo: addressOf(NEW_OWNER), priceAtomic: "4000" });
      const paid = await stockBuyer(world.chain.account(BUYER), world.chain.url).fetch(`${world.url}/s/agentic/today`);
      expect([paid.status, settleOf(paid).extra.chargedAmount]).deep.equal([200, "4000"]);
      expect((await after.pause("agentic")).agent.status).equal("suspended");
      expect((await failure(before.resume("agentic"))).code).equal("listing_not_yours");
      expect((await after.resume("agentic")).agent.status).equal("listed");
      expect((await owner("PUT", "/services/agentic", { origin: world.provider.origin, priceAtomic: "1" })).body).include({ code: "service_not_yours" });
    });
  });
});
