// a2a.call does it all: intent, offers, a counter-offer, session, one deposit, receipts held against the offer.
import { expect } from "chai";
import fc from "fast-check";
import { zeroHash, type Hex } from "viem";
import { generatePrivateKey, privateKeyToAccount } from "viem/accounts";
import { createA2A } from "../../sdk/src/negotiation/a2a.ts";
import { callByToken, type HandedSession } from "../../sdk/src/negotiation/by-token.ts";
import { agreementFaults, offerFaults } from "../../sdk/src/negotiation/check.ts";
import { candidates } from "../../sdk/src/negotiation/choose.ts";
import type { ProvenOffer } from "../../sdk/src/negotiation/client.ts";
import { formatAmount, parseAmount } from "../../sdk/src/negotiation/decimal.ts";
import { messageHash, signMessage, type MessageSigner, type Offer } from "../../sdk/src/negotiation/messages.ts";
import { callsFor, lowestIn, policyPrice, priceOfCall, priceOfCalls } from "../../sdk/src/negotiation/terms.ts";
import { listingClientOf, metadataOf } from "../support/listing.ts";
import { EASY_SLA, inSeconds, intentOf, liveOffer, NEGOTIATION, policyOf, PROVIDER, publishPolicy, randomHash } from "../support/negotiation.ts";
import { startTestWorld, type TestWorld } from "../support/relayer.ts";

const amount = fc.bigInt(1n, 10n ** 12n);
const terms = fc.record({ pricePerRequest: fc.bigInt(1_000n, 100_000n), cuts: fc.array(fc.tuple(fc.integer({ min: 2, max: 300 }), fc.bigInt(1n, 1_500n)), { maxLength: 4 }) }).map(({ pricePerRequest, cuts }) => ({
  pricePerRequest, tiers: [...new Map(cuts)].sort(([a], [b]) => a - b).map(([minCalls], index) => ({ minCalls, pricePerRequest: pricePerRequest - BigInt(index + 1) })), maxCalls: 1_000,
}));

describe("negotiation: pure parts", () => {
  it("decimals are exact, there and back", () => {
    expect(parseAmount("0.008", "x")).equal(8_000n);
    fc.assert(fc.property(amount, (value) => void expect(parseAmount(formatAmount(value), "x")).equal(value)));
  });

  it("a budget buys as many calls as it pays for, one by one", () => {
    expect(callsFor({ pricePerRequest: 8_000n, tiers: [], maxCalls: 1_000 }, 1_000_000n)).equal(125);
    fc.assert(fc.property(terms, fc.bigInt(1n, 20_000_000n), (agreed, budget) => {
      let [calls, left] = [0, budget];
      while (calls < agreed.maxCalls && priceOfCall(agreed, calls + 1) <= left) left -= priceOfCall(agreed, ++calls);
      expect(callsFor(agreed, budget)).equal(calls);
      expect(priceOfCalls(agreed, calls)).equal(budget - left);
    }));
  });

  it("a policy never goes below its floor, above what it said before, or above what the agent pays", () => {
    fc.assert(fc.property(fc.bigInt(1n, 1_000n), fc.bigInt(0n, 1_000n), fc.bigInt(1n, 3_000n), fc.array(fc.bigInt(1n, 3_000n), { maxLength: 4 }), (floorPrice, above, most, counters) => {
      fc.pre(most >= floorPrice);
      const policy = policyOf({ floorPrice, listPrice: floorPrice + above });
      const intent = intentOf(PROVIDER, { maxPricePerRequest: most });
      let price = policyPrice(policy, intent, 0);
      expect(price >= floorPrice && price <= policy.listPrice && price <= most).equal(true);
      for (const [index, pricePerRequest] of counters.entries()) {
        const next = policyPrice(policy, intent, index + 1, price, { offerHash: zeroHash, agent: PROVIDER.address, pricePerRequest, expiresAt: 1 });
        expect(next >= floorPrice && next <= price).equal(true);
        expect(next >= lowestIn(policy, index + 1) || next === price).equal(true);
        price = next;
      }
    }));
  });

  it("an offer is its provider's, or within the policy that names who made it; every other is found out", async () => {
    const [operator, thief] = [privateKeyToAccount(generatePrivateKey()), privateKeyToAccount(generatePrivateKey())];
    const policy = await signMessage(PROVIDER as unknown as MessageSigner, NEGOTIATION, "PricePolicy", policyOf({ operator: operator.address }));
    const policyHash = messageHash(NEGOTIATION, "PricePolicy", policy.message);
    const live = liveOffer({ intentId: randomHash(), intentHash: randomHash() }, thief.address, 7_000n);
    const made = (by: typeof operator, change: Partial<Offer> = {}) => signMessage(by as unknown as MessageSigner, NEGOTIATION, "Offer", { ...live, policyHash, ...change });
    const codes = async (offer: Awaited<ReturnType<typeof made>>, behind: typeof policy | undefined = policy) => (await offerFaults(NEGOTIATION, offer, behind)).map(({ code }) => code);
    expect(await codes(await made(PROVIDER))).deep.equal([]);
    expect(await codes(await made(operator))).deep.equal([]);
    expect(await codes(await made(thief))).deep.equal(["offer_signature"]);
    expect(await codes(await made(operator, { policyHash: zeroHash }))).deep.equal(["offer_signature"]);
    expect((await offerFaults(NEGOTIATION, await made(operator), undefined)).map(({ code }) => code)).deep.equal(["policy_missing"]);
    expect(await codes(await made(operator, { policyHash: randomHash() }))).deep.equal(["policy_other"]);
    for (const change of [{ pricePerRequest: 5_999n }, { pricePerRequest: 10_001n }, { payTo: thief.address }, { maxCalls: 2_000_000 }, { sla: { maxLatencyMs: 1, minUptimePercent: 99 } }, { tiers: [{ minCalls: 2, pricePerRequest: 1n }] }]) {
      expect(await codes(await made(operator, change)), Object.keys(change).join()).deep.equal(["offer_outside_policy"]);
    }
    const forged = { ...policy, signature: (await signMessage(thief as unknown as MessageSigner, NEGOTIATION, "PricePolicy", policy.message)).signature };
    expect(await codes(await made(operator), forged)).deep.equal(["policy_signature"]);
    const acceptance = await signMessage(operator as unknown as MessageSigner, NEGOTIATION, "Acceptance", { offerHash: zeroHash, agent: thief.address, budget: 1n, sessionExpiresAt: 1 });
    expect((await agreementFaults(NEGOTIATION, { offer: await made(PROVIDER), acceptance })).map(({ code }) => code)).deep.equal(["acceptance_other", "acceptance_signature"]);
  });
});

describe("whom a2a.call negotiates with", () => {
  const [owner, payTo, other] = [1, 2, 3].map((n) => `0x${String(n).repeat(40)}` as const) as [Hex, Hex, Hex];
  const [a, b] = [randomHash(), randomHash()];
  const offered = (serviceId: Hex, pricePerRequest: bigint, change: Partial<Offer> = {}): ProvenOffer =>
    ({ offerHash: randomHash(), policy: undefined, offer: { signature: "0x", message: { ...liveOffer({ intentId: zeroHash, intentHash: zeroHash }, other, pricePerRequest), serviceId, provider: owner, payTo, ...change } } });
  const seen = [a, b].map((serviceId) => ({ serviceId, payTo, owner }));
  const wanted = { most: 9_000n, sla: { maxLatencyMs: 2_000, minUptimePercent: 99 }, nowS: inSeconds(0) };
  const prices = (offers: ProvenOffer[], listings = seen) => candidates(offers, listings, wanted).offers.map(({ offer }) => offer.message.pricePerRequest);

  it("listed services before those that are not, the cheapest first, at the same price as they are ranked", () => {
    expect(prices([offered(b, 8_000n), offered(a, 7_000n), offered(zeroHash, 1n)])).deep.equal([7_000n, 8_000n]);
    expect(prices([offered(zeroHash, 2n), offered(zeroHash, 1n)], [])).deep.equal([1n, 2n]);
    expect(candidates([offered(b, 7_000n), offered(a, 7_000n)], seen, wanted).offers.map(({ offer }) => offer.message.serviceId)).deep.equal([a, b]);
  });

  it("not those that differ from their listing, cost more, are over, or promise less", () => {
    for (const [bad, reason] of [
      [offered(a, 1n, { payTo: other }), "the offer pays somebody else than its listing"], [offered(a, 1n, { provider: other }), "the offer is another provider's than the listing"],
      [offered(randomHash(), 1n), "its listing is not known"], [offered(a, 9_001n), "it asks for more"], [offered(a, 1n, { expiresAt: 1 }), "its offer is over"],
      [offered(a, 1n, { sla: { maxLatencyMs: 2_001, minUptimePercent: 99 } }), "it does not promise the SLA"], [offered(a, 1n, { sla: { maxLatencyMs: 0, minUptimePercent: 99 } }), "it does not promise the SLA"],
      [offered(a, 1n, { sla: { maxLatencyMs: 1, minUptimePercent: 98.99 } }), "it does not promise the SLA"],
    ] as const) {
      const { offers, refused } = candidates([bad, offered(b, 8_000n)], seen, wanted);
      expect([offers.map(({ offer }) => offer.message.serviceId), refused.map((one) => one.reason)]).deep.equal([[b], [reason]]);
    }
  });
});

describe("a2a.call", function () {
  this.timeout(120_000);
  let world: TestWorld;
  before(async () => {
    world = await startTestWorld();
    await publishPolicy(world.url, policyOf({ sla: EASY_SLA }));
  });
  after(() => world.stop());

  it("finds by capability, bargains once, pays in one session with one deposit, and holds receipts against the offer", async () => {
    const account = privateKeyToAccount(generatePrivateKey());
    await world.chain.mintUSDC(account.address, 2_000_000n);
    const a2a = createA2A({ relayerUrl: world.url, account, rpcUrl: world.chain.url, calls: 20 });
    const first = await a2a.call({ capability: "echo.text", input: { text: "hello" }, maxCost: "0.012" });
    expect(first).deep.include({ status: 200, service: "echo", cost: "0.009", firstOffered: "0.01" });
    expect((first.output as { body: string }).body).equal('{"text":"hello"}');
    const more = await Promise.all([1, 2, 3].map((n) => a2a.call({ capability: "echo.text", input: { n }, maxCost: "0.012" })));
    expect(more.map(({ sessionId, cost }) => [sessionId, cost])).deep.equal(more.map(() => [first.sessionId, "0.009"]));
    const { rows } = await world.relayer.deps.db.query("SELECT count(*) AS payments, count(deposit_tx) AS deposits, count(DISTINCT channel_id) AS channels FROM payment WHERE payer = $1 AND state = 'charged'", [Buffer.from(account.address.slice(2), "hex")]);
    expect(rows[0]).deep.equal({ payments: 4n, deposits: 1n, channels: 1n });
    await a2a.close();
  });

  it("hands a session out: its holder has no key, calls at the agreed price, and is charged once however often it asks", async () => {
    const account = privateKeyToAccount(generatePrivateKey());
    await world.chain.mintUSDC(account.address, 5_000_000n);
    const a2a = createA2A({ relayerUrl: world.url, account, rpcUrl: world.chain.url });
    const own = await a2a.call({ capability: "echo.text", input: { n: 0 }, maxCost: "0.012" });
    const handed = JSON.parse(JSON.stringify(await a2a.handOut({ capability: "echo.text", maxCost: "0.012", calls: 3 }))) as HandedSession;
    expect(handed).include({ calls: 3, pricePerRequest: own.cost }).and.not.include({ sessionId: own.sessionId });
    // The first time the answer is lost on its way.
    let lost = 0;
    const lossy: typeof fetch = async (input, init) => {
      const response = await fetch(input, init);
      if (lost++ > 0) return response;
      throw new TypeError("connection reset");
    };
    const first = await callByToken(handed, { input: { text: "hello" }, path: "/say" }, { fetch: lossy });
    expect([first.status, (first.output as { body: string }).body, first.cost, lost]).deep.equal([200, '{"text":"hello"}', own.cost, 2]);
    const again = await callByToken(handed, { input: { text: "hello" }, path: "/say", idempotencyKey: first.idempotencyKey });
    expect([again.output, again.receipt.payload]).deep.equal([first.output, first.receipt.payload]);
    await Promise.all([callByToken(handed, { path: "/a" }), callByToken(handed, { path: "/b" })]);
    const over = await callByToken(handed).then(() => undefined, (error: unknown) => error as { code: string; status: number });
    expect(over).include({ code: "session_exhausted", status: 402 });
    // The agent goes on in its own session, on its own channel.
    const more = await a2a.call({ capability: "echo.text", input: { n: 1 }, maxCost: "0.012" });
    expect([more.sessionId, more.receipt.payload.channelId]).deep.equal([own.sessionId, own.receipt.payload.channelId]);
    expect(first.receipt.payload.channelId).not.equal(own.receipt.payload.channelId);
    const file = (await a2a.evidence(handed.sessionId))!;
    expect(BigInt(file.vouchers[0]!.maxClaimableAmount)).equal(3n * BigInt(first.receipt.payload.amount));
    await a2a.close();
  });

  it("a holder takes no receipt of another session, above the price, or of another answer", async () => {
    const account = privateKeyToAccount(generatePrivateKey());
    await world.chain.mintUSDC(account.address, 5_000_000n);
    const a2a = createA2A({ relayerUrl: world.url, account, rpcUrl: world.chain.url });
    const handed = await a2a.handOut({ capability: "echo.text", maxCost: "0.012", calls: 5 });
    const codes = async (held: HandedSession, fetcher: typeof fetch = fetch) => callByToken(held, { path: "/x" }, { fetch: fetcher, patienceMs: 0 }).then(() => "taken", (error: unknown) => `${(error as { code: string }).code} ${(error as { field?: string }).field ?? ""}`);
    const changed = (change: (response: Response) => Promise<Response>): typeof fetch => async (input, init) => change(await fetch(input, init));
    expect(await codes({ ...handed, pricePerRequest: "0.000001" })).equal("receipt_invalid receipt.amount");
    expect(await codes({ ...handed, channel: { ...handed.channel, receiverAuthorizer: account.address } })).match(/^receipt_invalid receipt/);
    expect(await codes(handed, changed(async (response) => new Response("{}", { status: 200, headers: response.headers })))).equal("receipt_invalid receipt.outputHash");
    expect(await codes(handed, changed(async (response) => new Response(await response.text(), { status: 200 })))).equal("receipt_invalid X-402-Receipt");
    expect(await codes({ ...handed, token: `tsn_${"0".repeat(64)}` })).equal("session_token ");
    expect(await codes(handed, async () => Promise.reject(new TypeError("away")))).equal("call_undecided ");
    await a2a.close();
  });

  it("says why nobody sells for so little, and signs nothing away", async () => {
    const a2a = createA2A({ relayerUrl: world.url, account: privateKeyToAccount(generatePrivateKey()), rpcUrl: world.chain.url });
    const refused = await a2a.call({ agentId: "echo", maxCost: "0.005" }).then(() => undefined, (error: unknown) => error as { code: string; message: string });
    expect(refused).include({ code: "no_offer" });
    expect(refused!.message).include("it is not sold for so little");
  });

  it("prefers who is listed, bargains with the best of them, and calls one that it names by its id", async () => {
    const sold = [] as { serviceId: Hex; index: number }[];
    for (const [name, index, listPrice, floorPrice] of [["words-a", 12, 10_000n, 9_000n], ["words-b", 13, 11_000n, 4_000n]] as const) {
      const metadata = metadataOf({ name, capability: "echo.words" });
      const { agent: { id: serviceId } } = await listingClientOf(world, index).list({ name, origin: world.provider.origin, metadata });
      const { address } = world.chain.account(index);
      const published = await publishPolicy(world.url, policyOf({ sla: EASY_SLA, service: name, serviceId, capability: "echo.words", provider: address, payTo: address, listPrice, floorPrice }), world.chain.account(index));
      expect(published.status, JSON.stringify(published.body)).equal(200);
      sold.push({ serviceId, index });
    }
    // Not listed, and cheaper than both.
    await publishPolicy(world.url, policyOf({ sla: EASY_SLA, capability: "echo.words", listPrice: 3_000n, floorPrice: 3_000n }));
    const account = privateKeyToAccount(generatePrivateKey());
    await world.chain.mintUSDC(account.address, 5_000_000n);
    const asked: string[] = [];
    const watched: typeof fetch = (input, init) => {
      asked.push(new URL(input instanceof Request ? input.url : input).pathname);
      return fetch(input, init);
    };
    const a2a = createA2A({ relayerUrl: world.url, account, rpcUrl: world.chain.url, calls: 5, fetch: watched });
    const best = await a2a.call({ capability: "echo.words", maxCost: "0.012" });
    // b asks for more at first, and comes down further.
    expect(best).deep.include({ service: "words-b", cost: "0.00925", firstOffered: "0.011" });
    expect(best.offer).include({ serviceId: sold[1]!.serviceId, payTo: world.chain.account(13).address });
    expect([asked[0], asked.filter((path) => path.endsWith("/counter")).length]).deep.equal(["/api/v1/a2a/discover", 2]);
    expect(await a2a.call({ agentId: sold[0]!.serviceId, maxCost: "0.012" })).deep.include({ service: "words-a" });
    await a2a.close();
  });

  it("refuses an offer that pays somebody else than the listing it saw", async () => {
    const lying: typeof fetch = async (input, init) => {
      const response = await fetch(input, init);
      if (!String(input).endsWith("/api/v1/agents/words-a")) return response;
      return Response.json({ ...((await response.json()) as object), payTo: world.chain.account(9).address });
    };
    const a2a = createA2A({ relayerUrl: world.url, account: privateKeyToAccount(generatePrivateKey()), rpcUrl: world.chain.url, fetch: lying });
    const refused = await a2a.call({ agentId: "words-a", maxCost: "0.012" }).then(() => undefined, (error: unknown) => error as { code: string; message: string });
    expect(refused).include({ code: "no_offer" });
    expect(refused!.message).include("words-a: the offer pays somebody else than its listing");
  });
});
