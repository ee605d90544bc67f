// Forged, replayed, expired, borrowed: refused with the reason, and nothing moves.
import { expect } from "chai";
import { zeroHash, type LocalAccount } from "viem";
import { generatePrivateKey, privateKeyToAccount } from "viem/accounts";
import { messageHash, negotiationDomain } from "../../sdk/src/negotiation/messages.ts";
import { SESSION_CHANNELS } from "../../sdk/src/constants.ts";
import { agreed, inSeconds, intentOf, liveOffer, NEGOTIATION, negotiator, offerIn, policyOf, PROVIDER, publishPolicy, randomHash, send, sessionBuyer, signedBody } from "../support/negotiation.ts";
import { startTestWorld, type TestWorld } from "../support/relayer.ts";

describe("negotiation, hostile", function () {
  this.timeout(300_000);
  let world: TestWorld;
  before(async () => {
    world = await startTestWorld();
    await publishPolicy(world.url, policyOf());
  });
  after(() => world.stop());
  const key = () => privateKeyToAccount(generatePrivateKey());
  async function funded(): Promise<LocalAccount> {
    const account = key();
    await world.chain.mintUSDC(account.address, 1_000_000n);
    return account;
  }
  const codeOf = ({ status, body }: { status: number; body: any }) => [status, body.code];
  const sessions = async () => (await world.relayer.deps.db.query("SELECT count(*) AS n FROM negotiated_session")).rows[0].n;

  it("policies: of somebody else, for another chain, of an operator that is not here, against the service", async () => {
    const thief = key();
    const sent = async (policy = policyOf(), signer: LocalAccount = PROVIDER, domain = NEGOTIATION) => codeOf(await send(world.url, "PUT", "/api/v1/services/echo/price-policy", await signedBody(signer, "PricePolicy", policy, domain)));
    expect(await sent(policyOf(), thief)).deep.equal([403, "signature_invalid"]);
    expect(await sent(policyOf({ provider: thief.address }), thief)).deep.equal([403, "policy_not_yours"]);
    expect(await sent(policyOf(), PROVIDER, negotiationDomain(8453, SESSION_CHANNELS))).deep.equal([403, "signature_invalid"]);
    expect(await sent(policyOf({ operator: thief.address }))).deep.equal([400, "policy_operator"]);
    expect(await sent(policyOf({ payTo: thief.address }))).deep.equal([400, "policy_contradicts"]);
    expect(await sent(policyOf({ floorPrice: 20_000n }))).deep.equal([400, "policy_contradicts"]);
    expect(await sent(policyOf({ version: 1 }))).deep.equal([409, "policy_older"]);
    expect(await sent(policyOf({ expiresAt: inSeconds(-1) }))).deep.equal([400, "policy_expired"]);
  });

  it("decimals: zero, signs, exponents, floats, too many digits, too large", async () => {
    const agent = key();
    const { message, signature } = await signedBody(agent, "Intent", intentOf(agent));
    for (const price of ["0", "0.000000", "-1", "+1", "1e3", "0.0000001", ".5", "1.", "01", "", 0.008, null, "9".repeat(39), "0x10", "1 ", "NaN"]) {
      const answer = await send(world.url, "POST", "/api/v1/intents", { message: { ...message, maxPricePerRequest: price }, signature });
      expect([...codeOf(answer), answer.body.field], String(price)).deep.equal([400, "negotiation_malformed", "intent.maxPricePerRequest"]);
    }
    for (const sla of [{ maxLatencyMs: -1, minUptimePercent: 1 }, { maxLatencyMs: 1.5, minUptimePercent: 1 }, { maxLatencyMs: 1, minUptimePercent: 100.01 }, { maxLatencyMs: 1, minUptimePercent: 99.999 }, { maxLatencyMs: 1, minUptimePercent: 1e-7 }, { maxLatencyMs: 1 }, { maxLatencyMs: 1, minUptimePercent: 1, more: 1 }]) {
      expect(codeOf(await send(world.url, "POST", "/api/v1/intents", { message: { ...message, sla }, signature })), JSON.stringify(sla)).deep.equal([400, "negotiation_malformed"]);
    }
    expect(codeOf(await send(world.url, "POST", "/api/v1/intents", { message: { ...message, extra: 1 }, signature }))).deep.equal([400, "negotiation_malformed"]);
  });

  it("intents: forged, expired, without end, another's id, in another token; the same again changes nothing", async () => {
    const agent = key();
    const by = negotiator(world.url, agent);
    expect(codeOf(await send(world.url, "POST", "/api/v1/intents", await signedBody(key(), "Intent", intentOf(agent))))).deep.equal([403, "signature_invalid"]);
    expect(codeOf(await by.ask({ expiresAt: inSeconds(-1) }))).deep.equal([400, "intent_expired"]);
    expect(codeOf(await by.ask({ expiresAt: inSeconds(200_000) }))).deep.equal([400, "intent_unbounded"]);
    expect(codeOf(await by.ask({ token: key().address }))).deep.equal([400, "intent_token"]);
    expect(codeOf(await by.ask({ service: "", capability: "" }))).deep.equal([400, "negotiation_malformed"]);
    const intent = intentOf(agent);
    const body = await signedBody(agent, "Intent", intent);
    const [first, second] = await Promise.all([send(world.url, "POST", "/api/a2a/negotiate", body), send(world.url, "POST", "/api/v1/intents", body)]);
    expect([first.status, second.status]).deep.equal([201, 201]);
    expect((await send(world.url, "GET", `/api/v1/intents/${intent.intentId}/offers`)).body.offers).lengthOf(1);
    expect(codeOf(await negotiator(world.url, key()).ask({ intentId: intent.intentId }))).deep.equal([409, "intent_id_taken"]);
  });

  it("offers: forged, by an operator without a policy, for another agent, intent or payee, over", async () => {
    const agent = key();
    const { body: asked } = await negotiator(world.url, agent).ask({ maxPricePerRequest: 5_000n });
    const offer = liveOffer(asked, agent.address, 4_000n);
    const make = async (change: Partial<typeof offer>, signer: LocalAccount = PROVIDER) => codeOf(await send(world.url, "POST", `/api/v1/intents/${asked.intentId}/offers`, await signedBody(signer, "Offer", { ...offer, ...change })));
    const thief = key();
    expect(await make({}, thief)).deep.equal([403, "signature_invalid"]);
    expect(await make({ provider: thief.address }, thief)).deep.equal([403, "offer_forged"]);
    expect(await make({ agent: thief.address })).deep.equal([400, "offer_other"]);
    expect(await make({ intentHash: zeroHash })).deep.equal([400, "offer_other"]);
    expect(await make({ payTo: thief.address })).deep.equal([400, "offer_other"]);
    expect(await make({ policyHash: randomHash() })).deep.equal([400, "offer_other"]);
    expect(await make({ expiresAt: inSeconds(-1) })).deep.equal([400, "offer_expired"]);
    expect(await make({ service: "nothing" })).deep.equal([404, "service_unknown"]);
    expect(await make({ round: 5 })).deep.equal([409, "rounds_exhausted"]);
  });

  it("acceptances: by another, of another chain, twice, of what is over, without end, for nothing", async () => {
    const agent = key();
    const by = negotiator(world.url, agent);
    const { body: asked } = await by.ask();
    const offer = offerIn(asked.offers[0]).message;
    const path = `/api/v1/intents/${offer.intentId}/accept`;
    const before = await sessions();
    const thief = key();
    expect(codeOf(await send(world.url, "POST", path, await signedBody(thief, "Acceptance", by.acceptanceOf(offer, 80_000n))))).deep.equal([403, "signature_invalid"]);
    expect(codeOf(await send(world.url, "POST", path, await signedBody(thief, "Acceptance", by.acceptanceOf(offer, 80_000n, { agent: thief.address }))))).deep.equal([403, "offer_of_another"]);
    expect(codeOf(await send(world.url, "POST", path, await signedBody(agent, "Acceptance", by.acceptanceOf(offer, 80_000n), negotiationDomain(8453, SESSION_CHANNELS))))).deep.equal([403, "signature_invalid"]);
    expect(codeOf(await by.accept(offer, 7_999n))).deep.equal([400, "budget_too_small"]);
    expect(codeOf(await by.accept(offer, 80_000n, { sessionExpiresAt: inSeconds(100_000) }))).deep.equal([409, "session_unbounded"]);
    expect(codeOf(await by.accept({ ...offer, pricePerRequest: 1n }, 80_000n))).deep.equal([404, "offer_unknown"]);
    expect(await sessions()).equal(before);
    const acceptance = await signedBody(agent, "Acceptance", by.acceptanceOf(offer, 80_000n));
    const answers = await Promise.all([1, 2, 3].map(() => send(world.url, "POST", path, acceptance)));
    expect(answers.map(({ status }) => status).sort()).deep.equal([200, 200, 201]);
    // The token is whoever's who was first, not of those who saw the acceptance.
    expect(answers.filter(({ body }) => body.sessionToken !== undefined)).lengthOf(1);
    expect(codeOf(await by.accept(offer, 16_000n))).deep.equal([409, "offer_taken"]);
    expect(codeOf(await by.counter(offer, 7_000n))).deep.equal([409, "offer_taken"]);
    expect(await sessions()).equal(before + 1n);
    const { body: late } = await by.ask();
    await world.relayer.deps.db.query("UPDATE negotiation_offer SET expires_at = now() - interval '1 second' WHERE offer_hash = $1", [Buffer.from(late.offers[0].offerHash.slice(2), "hex")]);
    expect(codeOf(await by.accept(offerIn(late.offers[0]).message, 80_000n))).deep.equal([409, "offer_taken"]);
  });

  it("counter-offers: spam, by another, not less, of another intent", async () => {
    const agent = key();
    const by = negotiator(world.url, agent);
    const offer = offerIn((await by.ask()).body.offers[0]).message;
    const path = `/api/v1/intents/${offer.intentId}/counter`;
    const thief = key();
    const counter = { offerHash: messageHash(NEGOTIATION, "Offer", offer), agent: agent.address, pricePerRequest: 7_000n, expiresAt: inSeconds(60) };
    expect(codeOf(await send(world.url, "POST", path, await signedBody(thief, "Counter", counter)))).deep.equal([403, "signature_invalid"]);
    expect(codeOf(await send(world.url, "POST", path, await signedBody(thief, "Counter", { ...counter, agent: thief.address })))).deep.equal([403, "counter_other"]);
    expect(codeOf(await by.counter(offer, 8_000n))).deep.equal([400, "counter_not_less"]);
    expect(codeOf(await by.counter(offer, 7_000n, { expiresAt: inSeconds(-1) }))).deep.equal([409, "offer_expired"]);
    const spam = await Promise.all(Array.from({ length: 10 }, (_, index) => by.counter(offer, 7_000n - BigInt(index))));
    expect(spam.filter(({ status }) => status === 200)).lengthOf(1);
    expect(new Set(spam.filter(({ status }) => status !== 200).map(({ body }) => body.code))).deep.equal(new Set(["offer_countered"]));
    expect((await send(world.url, "GET", `/api/v1/intents/${offer.intentId}/offers`)).body.offers).lengthOf(2);
    const other = offerIn((await by.ask()).body.offers[0]).message;
    expect(codeOf(await send(world.url, "POST", path, await signedBody(agent, "Counter", { ...counter, offerHash: messageHash(NEGOTIATION, "Offer", other) })))).deep.equal([404, "offer_unknown"]);
  });

  it("a session's id alone buys nothing: not without a payment, not for another agent, not for another channel, not when it is over", async () => {
    const agent = await funded();
    const { session, buyer, offer } = await agreed(world.url, agent, 80_000n);
    const alone = await fetch(`${world.url}/s/echo/hello`, { headers: { "x-402-session-id": session.sessionId } });
    expect([alone.status, ((await alone.json()) as any).code]).deep.equal([402, "payment_required"]);
    const thief = await funded();
    const stolen = sessionBuyer(`${world.url}/s/echo`, thief, session.sessionId, zeroHash);
    expect((await stolen.open(100_000n)).body).include({ code: "session_payer" });
    expect((await buyer.open(500_000n)).status).equal(200);
    const elsewhere = sessionBuyer(`${world.url}/s/echo`, agent, session.sessionId, randomHash());
    expect((await elsewhere.open(100_000n)).body).include({ code: "session_channel" });
    await world.relayer.deps.db.query("ALTER TABLE negotiated_session DISABLE TRIGGER session_is_final");
    await world.relayer.deps.db.query("UPDATE negotiated_session SET expires_at = now() WHERE session_id = $1", [Buffer.from(session.sessionId.slice(2), "hex")]);
    await world.relayer.deps.db.query("ALTER TABLE negotiated_session ENABLE TRIGGER session_is_final");
    const over = await fetch(`${world.url}/s/echo/hello`, { headers: { "x-402-session-id": session.sessionId } });
    expect([over.status, ((await over.json()) as any).code]).deep.equal([402, "session_expired"]);
    expect(offer.message.pricePerRequest).equal(8_000n);
    const { rows } = await world.relayer.deps.db.query("SELECT count(*) AS n FROM payment WHERE state = 'charged' AND payer = $1", [Buffer.from(thief.address.slice(2), "hex")]);
    expect(rows[0].n).equal(0n);
  });
});
