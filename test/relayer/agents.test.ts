// Owners list their services on chain through the relayer: who may, what is sold, what the chain then says, and what happens when it changes.
import { expect } from "chai";
import { encodeFunctionData, keccak256, zeroHash, type Hex } from "viem";
import { bazaarRegistryAbi as abi } from "../../sdk/src/abi/bazaar-registry.ts";
import { toBytes, toHex } from "../../relayer/src/db/codec.ts";
import { SERVICE_STATUSES, serviceIdOf, type ServiceTerms } from "../../sdk/src/bazaar.ts";
import { actTypedData, saltOfName, serviceKeyOf } from "../../sdk/src/bazaar/terms.ts";
import { BASE_SEPOLIA, LOCAL_BAZAAR_REGISTRY } from "../../sdk/src/constants.ts";
import { requiredOf, settleOf, stockBuyer } from "../support/buyer.ts";
import { addressOf } from "../support/config.ts";
import { bazaarDomain, listingClientOf, metadataOf } from "../support/listing.ts";
import { callerAs, type Caller } from "../support/provider-world.ts";
import { startTestWorld, type TestWorld } from "../support/relayer.ts";
import { Sessions } from "../support/session.ts";
import { until } from "../support/settlement-world.ts";

const OWNER = 12;
const OTHER = 13;

describe("agents", function () {
  this.timeout(240_000);
  let world: TestWorld;
  let owner: Caller;
  let other: Caller;
  before(async () => {
    world = await startTestWorld({ env: { RELAYER_LISTING_ACTS_PER_OWNER: "12" } });
    [owner, other] = await Promise.all([callerAs(world, OWNER), callerAs(world, OTHER)]);
  });
  after(() => world.stop());

  const onChain = (id: Hex) => world.chain.client.readContract({ address: LOCAL_BAZAAR_REGISTRY, abi, functionName: "services", args: [id] });
  const statusOf = async (id: Hex) => SERVICE_STATUSES[(await onChain(id)).status];
  const idOf = (name: string, index = OWNER) => serviceIdOf(bazaarDomain, serviceKeyOf(addressOf(index), saltOfName(name)));
  const body = (name: string, change: Record<string, unknown> = {}) => ({ name, origin: world.provider.origin, metadata: metadataOf(), ...change });
  const said = ({ status, body: { code, field } }: Awaited<ReturnType<Caller>>) => [status, code, ...(field === undefined ? [] : [field])];
  const sent = async () => Number((await world.relayer.deps.db.query<{ n: bigint }>("SELECT count(*) AS n FROM chain_tx WHERE purpose = 'listing'")).rows[0]!.n);

  it("one call of the SDK lists it on chain, and the gateway sells it at once", async () => {
    const { agent, transaction } = await listingClientOf(world, OWNER).list({ name: "weather", origin: world.provider.origin, metadata: metadataOf() });
    expect(agent).include({ id: idOf("weather"), name: "weather", status: "listed", version: 1, revision: 1, current: true, owner: addressOf(OWNER), payTo: addressOf(OWNER), priceAtomic: "2000", capability: "weather.forecast" });
    expect(transaction).include({ status: "confirmed" });
    expect(await statusOf(agent.id)).equal("listed");
    const terms = await termsOf(agent.id);
    expect(await world.chain.client.readContract({ address: LOCAL_BAZAAR_REGISTRY, abi, functionName: "isCurrent", args: [agent.id, terms] })).equal(true);

    const buyer = world.chain.account(1);
    await world.chain.mintUSDC(buyer.address, 1_000_000n);
    const paid = await stockBuyer(buyer, world.chain.url).fetch(`${world.url}/s/weather/today`);
    expect([paid.status, settleOf(paid).extra.chargedAmount]).deep.equal([200, "2000"]);
  });

  async function termsOf(id: Hex): Promise<ServiceTerms> {
    const logs = await world.chain.client.getContractEvents({ address: LOCAL_BAZAAR_REGISTRY, abi, eventName: "ServiceListed", args: { serviceId: id }, fromBlock: 0n });
    return logs[0]!.args.terms!;
  }

  it("an owner that proposes while what the chain says is saved waits for it, and neither fails", async () => {
    const { db } = world.relayer.deps;
    const saving = await db.connect();
    try {
      // As saveView does: the row, then, by its trigger, the turn of all writers.
      await saving.query("BEGIN");
      await saving.query("SELECT 1 FROM listing WHERE service_id = $1 FOR UPDATE", [toBytes(idOf("weather"))]);
      const proposing = owner("POST", "/agents", body("weather"));
      const waits = () => db.query<{ n: bigint }>("SELECT count(*) AS n FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'");
      const early = await Promise.race([proposing, until(async () => (await waits()).rows[0]!.n > 0n)]);
      await saving.query("UPDATE listing SET chain_block = chain_block WHERE service_id = $1", [toBytes(idOf("weather"))]);
      await saving.query("COMMIT");
      expect([early, (await proposing).status]).deep.equal([undefined, 201]);
    } finally {
      saving.release();
    }
  });

  it("its metadata is served by its hash, unchanging, never as a page", async () => {
    const { uri, contentHash } = (await owner("GET", "/agents/weather")).body;
    const answer = await fetch(`${world.url}${new URL(uri).pathname}`);
    const bytes = new Uint8Array(await answer.arrayBuffer());
    expect(keccak256(bytes)).equal(contentHash);
    expect(JSON.parse(new TextDecoder().decode(bytes))).deep.equal(metadataOf());
    expect(answer.headers.get("content-type")).equal("application/json; charset=utf-8");
    expect(answer.headers.get("x-content-type-options")).equal("nosniff");
    expect(answer.headers.get("cache-control")).contain("immutable");
    expect((await fetch(`${world.url}/api/v1/metadata/${zeroHash}`)).status).equal(404);
  });

  it("the same again changes nothing and costs no transaction; another's name and another's listing are refused", async () => {
    const before = await sent();
    const again = await listingClientOf(world, OWNER).list({ name: "weather", origin: world.provider.origin, metadata: metadataOf() });
    expect([again.agent.revision, again.transaction, await sent()]).deep.equal([1, null, before]);
    expect(said(await owner("POST", "/agents", body("weather", { metadata: metadataOf({ version: "2" }) })))).deep.equal([409, "listing_exists", "name"]);
    expect(said(await other("POST", "/agents", body("weather")))).deep.equal([409, "listing_name_taken", "name"]);
    expect(said(await other("PUT", "/agents/weather", { metadata: metadataOf() }))).deep.equal([403, "listing_not_yours", "id"]);
    expect(said(await other("DELETE", "/agents/weather", {}))).deep.equal([403, "listing_not_yours", "id"]);
    expect(said(await owner("GET", "/agents/nothing"))).deep.equal([404, "listing_unknown", "id"]);
  });

  it("an Idempotency-Key names one service", async () => {
    const key = { "idempotency-key": "list-1" };
    const first = await owner("POST", "/agents", body("keyed"), key);
    expect([first.status, first.body["agent"].status, first.body["sign"].primaryType]).deep.equal([201, "none", "ListService"]);
    expect((await owner("POST", "/agents", body("keyed"), key)).body["agent"].id).equal(first.body["agent"].id);
    const atOnce = await Promise.all(Array.from({ length: 8 }, () => owner("POST", "/agents", body("at-once"), { "idempotency-key": "list-2" })));
    expect(new Set(atOnce.map(({ status, body }) => `${status} ${body["agent"]?.id}`)).size, JSON.stringify(atOnce.map(said))).equal(1);
    expect(atOnce[0]!.status).equal(201);
    expect(said(await owner("POST", "/agents", body("keyed-2"), key))).deep.equal([409, "idempotency_conflict", "Idempotency-Key"]);
  });

  it("forged, expired and replayed signatures are refused with the reason, and nothing is sent", async () => {
    const { agent } = (await owner("GET", "/agents/keyed")).body.id === undefined ? { agent: undefined } : { agent: (await owner("GET", "/agents/keyed")).body };
    const terms = (await storedTerms(agent!.id)) as ServiceTerms;
    const nowS = BigInt(Math.floor(Date.now() / 1_000));
    const signed = async (index: number, deadline: bigint, change: Partial<ServiceTerms> = {}) => ({
      signature: await world.chain.account(index).signTypedData(actTypedData(bazaarDomain, { kind: "list", serviceId: agent!.id, terms: { ...terms, ...change }, publish: true, deadline }) as never), deadline: String(deadline),
    });
    const before = await sent();
    const publish = async (consent: unknown) => said(await owner("POST", "/agents/keyed/publish", consent));
    expect(await publish(await signed(OTHER, nowS + 600n))).deep.equal([403, "signature_invalid", "signature"]);
    expect(await publish(await signed(OWNER, nowS + 600n, { payTo: addressOf(9) }))).deep.equal([403, "signature_invalid", "signature"]);
    expect(await publish({ ...(await signed(OWNER, nowS + 600n)), publish: false })).deep.equal([403, "signature_invalid", "signature"]);
    expect(await publish(await signed(OWNER, nowS - 1n))).deep.equal([403, "signature_expired", "deadline"]);
    expect(await publish(await signed(OWNER, nowS + 200_000n))).deep.equal([400, "deadline_malformed", "deadline"]);
    expect(await publish({ deadline: String(nowS) })).deep.equal([400, "listing_malformed", "signature"]);
    expect([await sent(), await statusOf(agent!.id)]).deep.equal([before, "none"]);
    const good = await signed(OWNER, nowS + 600n);
    expect((await owner("POST", "/agents/keyed/publish", good)).body["agent"].status).equal("listed");
    const replayed = await owner("POST", "/agents/keyed/publish", good);
    expect([replayed.status, await sent()]).deep.equal([200, before + 1]);
    expect(await publish(await signed(OWNER, nowS + 601n))).deep.equal([409, "registry_refused"]);
  });

  async function storedTerms(id: Hex): Promise<ServiceTerms | undefined> {
    const { findTerms } = await import("../../relayer/src/capabilities/agents/terms-store.ts");
    const { rows } = await world.relayer.deps.db.query<{ terms_hash: Buffer }>("SELECT terms_hash FROM listing WHERE service_id = $1", [Buffer.from(id.slice(2), "hex")]);
    return findTerms(world.relayer.deps.db, id, `0x${rows[0]!.terms_hash.toString("hex")}`);
  }

  it("a change of price is signed, stands on chain, and is what the next 402 asks; an old revision does nothing", async () => {
    const client = listingClientOf(world, OWNER);
    const dearer = metadataOf({ version: "1.1.0", pricing: { ...metadataOf().pricing, price: "0.005" } });
    const asked = await owner("PUT", "/agents/weather", { metadata: dearer });
    expect([asked.body["sign"].primaryType, asked.body["sign"].message.revision, asked.body["agent"].priceAtomic]).deep.equal(["UpdateService", 1, "2000"]);
    const { agent } = await client.update("weather", { metadata: dearer });
    expect(agent).include({ priceAtomic: "5000", version: 2, revision: 2, current: true, status: "listed" });
    expect(requiredOf(await fetch(`${world.url}/s/weather/today`)).accepts[0].amount).equal("5000");
    const nowS = BigInt(Math.floor(Date.now() / 1_000));
    const stale = actTypedData(bazaarDomain, { kind: "status", serviceId: agent.id, revision: 1, status: "suspended", deadline: nowS + 600n });
    const signature = await world.chain.account(OWNER).signTypedData(stale as never);
    expect(said(await owner("POST", "/agents/weather/status", { status: "suspended", signature, deadline: String(nowS + 600n), revision: 1 }))).deep.equal([409, "revision_stale", "revision"]);
    expect(said(await owner("POST", "/agents/weather/status", { status: "suspended", signature, deadline: String(nowS + 600n), revision: 2 }))).deep.equal([403, "signature_invalid", "signature"]);
  });

  it("what is paused or offline is not sold, and says when it is again; what is delisted is off sale", async () => {
    const client = listingClientOf(world, OWNER);
    const offered = async () => [(await fetch(`${world.url}/s/weather/today`)).status];
    expect((await client.pause("weather")).agent.status).equal("suspended");
    expect(await offered()).deep.equal([503]);
    expect((await client.resume("weather")).agent.status).equal("listed");
    expect(await offered()).deep.equal([402]);
    const until = new Date(Date.now() + 3_600_000);
    expect(await client.availability("weather", "offline", until)).include({ availability: "offline", availableAt: until.toISOString() });
    const closed = await fetch(`${world.url}/s/weather/today`);
    expect([closed.status, ((await closed.json()) as { code: string }).code]).deep.equal([503, "service_offline"]);
    expect(Number(closed.headers.get("retry-after"))).within(3_500, 3_600);
    await client.availability("weather", "online");
    expect(await offered()).deep.equal([402]);
    expect((await client.remove("keyed")).agent.status).equal("delisted");
    expect((await fetch(`${world.url}/s/keyed/today`)).status).equal(404);
    expect(await statusOf(idOf("keyed"))).equal("delisted");
    const back = await client.list({ name: "keyed", origin: world.provider.origin, metadata: metadataOf({ version: "3.0.0" }) });
    expect([back.agent.status, back.agent.version, back.agent.current, (await fetch(`${world.url}/s/keyed/today`)).status]).deep.equal(["listed", 2, true, 402]);
  });

  it("what the owner sends itself is noticed", async () => {
    const asked = await other("POST", "/agents", body("own"));
    const { to, data } = asked.body["sign"].transaction as { to: Hex; data: Hex };
    await new Sessions(world.chain).sendTo(world.chain.account(OTHER), to, data);
    await until(async () => (await other("GET", "/agents/own")).body["status"] === "listed");
    expect((await other("GET", "/agents/own")).body).include({ version: 1, current: true });
    await new Sessions(world.chain).sendTo(world.chain.account(OTHER), to, encodeFunctionData({ abi, functionName: "setStatus", args: [serviceKeyOf(addressOf(OTHER), saltOfName("own")), 4, { deadline: 0n, signature: "0x" }] }));
    await until(async () => (await other("GET", "/agents/own")).body["status"] === "suspended");
  });

  it("a listing whose block is reorganised away comes back with the relayer's own transaction", async () => {
    const snapshot = await world.chain.client.snapshot();
    const { agent } = await listingClientOf(world, 14).list({ name: "brief", origin: world.provider.origin, metadata: metadataOf() });
    expect(agent.status).equal("listed");
    await until(async () => (await world.relayer.deps.db.query("SELECT 1 FROM listing WHERE service = 'brief' AND chain_followed")).rowCount === 1);
    await world.chain.client.revert({ id: snapshot });
    await world.chain.mineBlocks(6);
    // The relayer's own transaction is put on the new chain again: with the very terms that were signed.
    await until(async () => (await statusOf(agent.id)) === "listed");
    const head = await world.chain.client.getBlockNumber();
    // Until the new chain is read that far, what is shown is of the old one, or of a block before the listing.
    await until(async () => {
      const { rows } = await world.relayer.deps.db.query<{ block_number: bigint; block_hash: Buffer }>("SELECT block_number, block_hash FROM chain_cursor WHERE name = 'bazaar'");
      const { block_number: blockNumber, block_hash: hash } = rows[0]!;
      return blockNumber >= head && (await world.chain.client.getBlock({ blockNumber }).catch(() => undefined))?.hash === toHex(hash);
    });
    expect((await owner("GET", "/agents/brief")).body).include({ status: "listed", current: true });
  });

  it("is public without signing in, and shows what is not public to its owner alone", async () => {
    await listingClientOf(world, 14).list({ name: "hidden", origin: world.provider.origin, metadata: metadataOf(), visibility: "unlisted" });
    const open = async (query = "") => ((await (await fetch(`${world.url}/api/v1/agents${query}`)).json()) as { agents: { name: string }[] }).agents.map(({ name }) => name).sort();
    expect(await open()).includes.members(["weather", "keyed"]).and.not.include("hidden").and.not.include("own");
    expect(await open(`?owner=${addressOf(14)}`)).not.include("hidden");
    expect((await listingClientOf(world, 14).mine()).map(({ name }) => name)).include("hidden");
  });

  it("strangers burn no more gas than the quota: then owners send their own", async () => {
    const client = listingClientOf(world, OWNER);
    let refusal: { code?: string; status?: number } = {};
    for (let act = 0; act < 14 && refusal.code === undefined; act++) {
      await (act % 2 === 0 ? client.pause("weather") : client.resume("weather")).catch((error: { code: string; status: number }) => (refusal = error));
    }
    expect([refusal.status, refusal.code]).deep.equal([429, "listing_quota"]);
    const { rows } = await world.relayer.deps.db.query<{ n: bigint }>("SELECT sum(attempts)::bigint AS n FROM listing_act WHERE owner = $1", [Buffer.from(addressOf(OWNER).slice(2), "hex")]);
    expect(rows[0]!.n).equal(12n);
  });

  it("terms of another token are refused with the field", async () => {
    const pricing = metadataOf().pricing;
    expect(said(await other("POST", "/agents", body("bad", { metadata: metadataOf({ pricing: { ...pricing, token: addressOf(3) } }) })))).deep.equal([400, "listing_malformed", "metadata.pricing.token"]);
    expect((await fetch(`${world.url}/s/bad/`)).status).equal(404);
    expect(BASE_SEPOLIA.usdc.address).equal(pricing.token);
  });
});
