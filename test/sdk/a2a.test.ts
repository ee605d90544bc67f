// a2a.call against a real relayer: calls at once, under a mandate with a guard, and relayers that lie about what is listed.
import { expect } from "chai";
import { zeroHash, type Hex } from "viem";
import { toBytes } from "../../relayer/src/db/codec.ts";
import { BASE_SEPOLIA } from "../../sdk/src/constants.ts";
import { idsOf } from "../../sdk/src/lineage.ts";
import { mandateRegistryDomain } from "../../sdk/src/mandate.ts";
import { createA2A, type A2AOptions } from "../../sdk/src/negotiation/a2a.ts";
import { formatAmount } from "../../sdk/src/negotiation/decimal.ts";
import type { Offer } from "../../sdk/src/negotiation/messages.ts";
import { listingClientOf, metadataOf } from "../support/listing.ts";
import { AT, grant, newAccount, newPrincipal, startTestGuard, type Principal, type TestGuard } from "../support/mandates.ts";
import { EASY_SLA, liveOffer, policyOf, publishPolicy, signedBody } from "../support/negotiation.ts";
import { startTestWorld, type TestWorld } from "../support/relayer.ts";

const OWNER = 12;

describe("a2a.call, all of it", function () {
  this.timeout(240_000);
  let world: TestWorld;
  let serviceId: Hex;
  before(async () => {
    world = await startTestWorld();
    await publishPolicy(world.url, policyOf({ sla: EASY_SLA }));
    ({ agent: { id: serviceId } } = await listingClientOf(world, OWNER).list({ name: "words", origin: world.provider.origin, metadata: metadataOf({ capability: "echo.words" }) }));
    const { address } = world.chain.account(OWNER);
    const published = await publishPolicy(world.url, policyOf({ sla: EASY_SLA, service: "words", serviceId, capability: "echo.words", provider: address, payTo: address }), world.chain.account(OWNER));
    expect(published.status, JSON.stringify(published.body)).equal(200);
  });
  after(() => world.stop());

  async function funded() {
    const account = newAccount();
    await world.chain.mintUSDC(account.address, 2_000_000n);
    return account;
  }
  const a2aOf = (account: A2AOptions["account"], options: Partial<A2AOptions> = {}) => createA2A({ relayerUrl: world.url, account, rpcUrl: world.chain.url, calls: 4, ...options });
  const boughtBy = async (payer: Hex) => {
    const { rows } = await world.relayer.deps.db.query(
      "SELECT count(*) AS payments, count(deposit_tx) AS deposits, count(DISTINCT channel_id) AS channels, count(DISTINCT session_id) AS sessions FROM payment WHERE payer = $1 AND state = 'charged'", [toBytes(payer)],
    );
    return rows[0];
  };

  it("first calls at once open one session with one deposit; when its calls are used up, the next opens another on the same channel", async () => {
    const account = await funded();
    const a2a = a2aOf(account);
    const call = (n: number) => a2a.call({ agentId: "echo", input: { n }, maxCost: "0.012" });
    const first = await Promise.all([1, 2, 3].map(call));
    expect(new Set(first.map(({ sessionId }) => sessionId)).size).equal(1);
    expect(await boughtBy(account.address)).deep.equal({ payments: 3n, deposits: 1n, channels: 1n, sessions: 1n });
    const more = await Promise.all([4, 5, 6].map(call));
    expect([...first, ...more].map(({ status }) => status)).deep.equal(Array(6).fill(200));
    expect(await boughtBy(account.address)).deep.include({ payments: 6n, channels: 1n, sessions: 2n });
    for (const { sessionId } of [...first, ...more]) expect((await a2a.evidence(sessionId))?.receipts.length).greaterThan(0);
    await a2a.close();
  });

  it("limits of the agent hold for all its sessions together", async () => {
    const a2a = a2aOf(await funded(), { limits: { total: 40_000n } });
    for (let n = 0; n < 4; n++) expect((await a2a.call({ agentId: "echo", input: { n }, maxCost: "0.012" })).status).equal(200);
    const refused = await a2a.call({ agentId: serviceId, maxCost: "0.012" }).then(() => undefined, (error: unknown) => error as { code: string; field: string });
    expect(refused).include({ code: "limit_exceeded", field: "limits.total" });
    await a2a.close();
  });

  describe("under a mandate", () => {
    let principal: Principal;
    let guard: TestGuard;
    before(async () => {
      principal = await newPrincipal(world.chain.url);
      guard = await startTestGuard(world.chain.url);
    });
    after(() => guard.close());

    it("the delegate agrees, the guard signs, the principal pays; receipts name mandate and session", async () => {
      const account = newAccount();
      const lineage = await grant(principal, account.address);
      const a2a = a2aOf(account, { chainId: AT.chainId, mandate: { lineage, guard: guard.url, registry: AT.registry } });
      const first = await a2a.call({ agentId: serviceId, input: { n: 0 }, maxCost: "0.012" });
      const more = await Promise.all([1, 2].map((n) => a2a.call({ agentId: serviceId, input: { n }, maxCost: "0.012" })));
      const [mandateId] = idsOf(mandateRegistryDomain(AT.chainId, AT.registry), lineage);
      for (const { receipt, sessionId, service } of [first, ...more]) {
        expect([service, sessionId]).deep.equal(["words", first.sessionId]);
        expect(receipt.payload).include({ payer: principal.account.address, session: first.sessionId, mandate: mandateId });
      }
      const { accounts, channels } = await guard.guard.status(mandateId!);
      expect(channels[0]!.approved).equal(3n * first.offer.pricePerRequest);
      expect(accounts[0]!.spent >= 3n * first.offer.pricePerRequest).equal(true);
      expect(await boughtBy(principal.account.address)).deep.include({ payments: 3n, channels: 1n, sessions: 1n });
      await a2a.close();
    });

    it("what the mandate does not allow is refused by its rule, and nothing moves", async () => {
      const account = newAccount();
      const lineage = await grant(principal, account.address, { paymentLimit: "0.001" } as Parameters<typeof grant>[2]);
      const a2a = a2aOf(account, { chainId: AT.chainId, mandate: { lineage, guard: guard.url, registry: AT.registry } });
      const before = world.provider.seen.length;
      const refused = await a2a.call({ agentId: "echo", maxCost: "0.012" }).then(() => undefined, (error: unknown) => error as { code: string });
      expect(refused).include({ code: "mandate_payment_limit" });
      expect(world.provider.seen.length).equal(before);
    });
  });

  describe("a relayer that lies", () => {
    const thief = newAccount();
    /** What the relayer answers to a path, changed on its way. */
    const lying = (path: RegExp, lie: (body: any) => unknown): typeof fetch => async (input, init) => {
      const response = await fetch(input, init);
      const { pathname } = new URL(input instanceof Request ? input.url : input);
      return path.test(pathname) && response.ok ? Response.json(await lie(await response.json()), { status: response.status }) : response;
    };
    const both = (one: typeof fetch, other: (inner: typeof fetch) => typeof fetch): typeof fetch => other(one);
    const refusalOf = async (lie: typeof fetch, agentId: string = serviceId) => {
      const before = await world.relayer.deps.db.query("SELECT 1 FROM negotiated_session");
      const refused = await a2aOf(await funded(), { fetch: lie }).call({ agentId, maxCost: "0.012" }).then(() => undefined, (error: unknown) => error as { code: string; message: string });
      expect((await world.relayer.deps.db.query("SELECT 1 FROM negotiated_session")).rowCount, "nothing was agreed").equal(before.rowCount);
      return `${refused?.code}: ${refused?.message}`;
    };
    /** Offers of the thief's own, in the name of whatever service. */
    const offersOf = (change: Partial<Offer>) => async (body: any) => {
      const intent = body.intent ?? body;
      const message: Offer = { ...liveOffer({ intentId: body.intentId, intentHash: body.intentHash }, intent.agent ?? body.agent, 5_000n), provider: thief.address, payTo: thief.address, ...change };
      const signed = await signedBody(thief, "Offer", message);
      return { ...body, offers: [{ ...signed, offerHash: zeroHash, policyHash: null }] };
    };

    it("about document, price or status is found out by the chain", async () => {
      const listing = /\/api\/v1\/agents\//;
      expect(await refusalOf(lying(listing, (body) => ({ ...body, contentHash: `0x${"ab".repeat(32)}` })))).include("its listing is not what the registry has");
      expect(await refusalOf(lying(listing, (body) => ({ ...body, priceAtomic: "1" })))).include("its listing is not what the registry has");
      expect(await refusalOf(lying(listing, (body) => ({ ...body, registry: thief.address })))).include("in a registry that is not known");
      expect(await refusalOf(lying(listing, (body) => ({ ...body, salt: zeroHash })))).include("its listing is of another id");
      expect(await refusalOf(lying(listing, (body) => ({ ...body, id: `0x${"cd".repeat(32)}` })))).include("listing_mismatch");
    });

    it("about owner and payee, with offers of its own, sells nothing", async () => {
      const listing = lying(/\/api\/v1\/agents\//, (body) => ({ ...body, owner: thief.address, payTo: thief.address }));
      let made: Partial<Offer> = { serviceId, service: "words" };
      const offering = (inner: typeof fetch): typeof fetch => async (input, init) => {
        const { pathname } = new URL(input instanceof Request ? input.url : input);
        if (pathname !== "/api/v1/intents") return inner(input, init);
        const asked = JSON.parse(String(init?.body)) as { message: { agent: Hex } };
        const response = await fetch(input, init);
        const body = (await response.json()) as Record<string, unknown>;
        return Response.json(await offersOf(made)({ ...body, agent: asked.message.agent }), { status: response.status });
      };
      expect(await refusalOf(both(listing, offering))).include("its listing is of another id");
      // With the true owner told, the thief's offer is not the owner's.
      expect(await refusalOf(both(fetch, offering))).include("no_offer");
      // "It is not listed at all": an id is what was asked for.
      made = { serviceId: zeroHash, service: serviceId };
      const gone: typeof fetch = async (input, init) => (new URL(input instanceof Request ? input.url : input).pathname.startsWith("/api/v1/agents/") ? Response.json({ code: "listing_unknown" }, { status: 404 }) : fetch(input, init));
      expect(await refusalOf(both(gone, offering))).include("it is not listed at this relayer");
    });

    it("a chain that cannot be asked leaves nothing agreed", async () => {
      const a2a = createA2A({ relayerUrl: world.url, account: await funded(), rpcUrl: "http://127.0.0.1:9" });
      const refused = await a2a.call({ agentId: serviceId, maxCost: "0.012" }).then(() => undefined, (error: unknown) => error as { code: string; retry: string });
      expect(refused).include({ code: "listing_unverified", retry: "safe" });
    });

    it("the same service, told truly, is called", async () => {
      const account = await funded();
      const a2a = a2aOf(account);
      const result = await a2a.call({ agentId: serviceId, input: {}, maxCost: "0.012" });
      expect(result).include({ service: "words", status: 200, cost: formatAmount(result.offer.pricePerRequest) });
      expect(result.receipt.payload.token.toLowerCase()).equal(BASE_SEPOLIA.usdc.address.toLowerCase());
      await a2a.close();
    });
  });
});
