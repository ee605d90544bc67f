// Agreeing on a price over HTTP and paying by it, on a real chain with a real ledger.
import { expect } from "chai";
import { zeroHash, type Hex, type LocalAccount } from "viem";
import { signIn } from "../../sdk/src/access.ts";
import { generatePrivateKey, privateKeyToAccount } from "viem/accounts";
import { sessionFaults } from "../../sdk/src/negotiation/check.ts";
import { fromWire, messageHash, type Offer } from "../../sdk/src/negotiation/messages.ts";
import type { SignedReceipt } from "../../sdk/src/receipt.ts";
import { requiredOf, stockBuyer } from "../support/buyer.ts";
import { agreed, liveOffer, negotiator, NEGOTIATION, offerIn, policyOf, PROVIDER, publishPolicy, send, signedBody } from "../support/negotiation.ts";
import { startTestWorld, type TestWorld } from "../support/relayer.ts";

describe("negotiation", function () {
  this.timeout(300_000);
  let world: TestWorld;
  before(async () => {
    world = await startTestWorld();
    expect(await publishPolicy(world.url, policyOf())).include({ status: 200 });
  });
  after(() => world.stop());

  async function funded(amount = 5_000_000n): Promise<LocalAccount> {
    const account = privateKeyToAccount(generatePrivateKey());
    await world.chain.mintUSDC(account.address, amount);
    return account;
  }
  const signer = () => world.relayer.deps.keyring.active;
  const policyBehind = async (policyHash: string) => fromWire("PricePolicy", (await send(world.url, "GET", `/api/v1/price-policies/${policyHash}`)).body);

  it("a policy answers an intent; counter-offers come down to the floor and no further", async () => {
    const agent = await funded();
    const by = negotiator(world.url, agent);
    const asked = await by.ask({ maxPricePerRequest: 20_000n });
    expect(asked.status).equal(201);
    let offer = offerIn(asked.body.offers[0]).message;
    expect([offer.pricePerRequest, offer.round, asked.body.offers[0].message.pricePerRequest]).deep.equal([10_000n, 0, "0.01"]);
    const prices: bigint[] = [];
    for (let round = 1; round <= 4; round++) {
      const answer = await by.counter(offer, 1n);
      expect(answer.body.state).equal("answered");
      offer = offerIn(answer.body.offer).message;
      prices.push(offer.pricePerRequest);
    }
    expect(prices).deep.equal([9_000n, 8_000n, 7_000n, 6_000n]);
    expect(await by.counter(offer, 5_000n)).deep.include({ status: 409 });
    const all = await send(world.url, "GET", `/api/v1/intents/${offer.intentId}/offers`);
    expect(all.body.offers.map((one: any) => one.message.pricePerRequest)).deep.equal(["0.01", "0.009", "0.008", "0.007", "0.006"]);
  });

  it("what is asked for and not to be had is declined with the reason", async () => {
    const by = negotiator(world.url, await funded());
    for (const [change, reason] of [
      [{ maxPricePerRequest: 5_999n }, "it is not sold for so little"], [{ sla: { maxLatencyMs: 100, minUptimePercent: 0 } }, "it does not promise so short a latency"],
      [{ sla: { maxLatencyMs: 0, minUptimePercent: 99.5 } }, "it does not promise so much uptime"],
    ] as const) {
      const { body } = await by.ask(change);
      expect([body.offers, body.declined]).deep.equal([[], [{ service: "echo", reason }]]);
    }
  });

  it("1.0 USDC at 0.008 buys exactly 125 calls; the next gets a 402 with a new offer; anyone can check it", async () => {
    const agent = await funded();
    const { offer, session, buyer } = await agreed(world.url, agent, 1_000_000n);
    expect(session).deep.include({ calls: 125, callsLeft: 125, pricePerRequest: "0.008", budget: "1", state: "active" });
    const firstTerms = await buyer.terms();
    const receipts: SignedReceipt[] = [(await buyer.open(1_500_000n)).receipt!];
    while (receipts.length < 125) {
      const { status, receipt, body } = await buyer.call();
      expect(status, JSON.stringify(body)).equal(200);
      receipts.push(receipt!);
    }
    expect(receipts.map(({ payload }) => payload.amount)).deep.equal(receipts.map(() => "8000"));
    expect(receipts[124]!.payload).include({ session: session.sessionId, offer: session.offerHash, cumulative: "1000000", slaMet: 1 });
    const atOldPrice = await buyer.buyer.voucherPayment({ ...(await buyer.terms()), accepts: [{ ...firstTerms.accepts[0], amount: "8000" }] }, 1_008_000n);
    expect((await buyer.paid(atOldPrice, "/hello")).body).include({ code: "session_exhausted", sessionId: session.sessionId });
    const next = await fetch(`${world.url}/s/echo/hello`, { headers: buyer.headers });
    const told = requiredOf(next);
    expect([next.status, ((await next.json()) as any).code, told.accepts[0].amount]).deep.equal([402, "session_exhausted", "1000"]);
    const renewal = (told.extensions["tallystick-negotiation"] as any).info;
    expect(renewal).deep.include({ state: "exhausted", callsLeft: 0, sessionId: session.sessionId });
    // Who goes on without it pays what everybody does.
    expect((await buyer.call()).receipt!.payload).include({ amount: "1000", session: zeroHash, offer: zeroHash });
    const renewed = await negotiator(world.url, agent).accept(offerIn(renewal.offer).message, 80_000n);
    expect(renewed.body).deep.include({ calls: 10, pricePerRequest: "0.008" });
    const policy = await policyBehind(offer.message.policyHash);
    const acceptance = { message: { offerHash: session.offerHash, agent: agent.address, budget: 1_000_000n, sessionExpiresAt: Date.parse(session.expiresAt) / 1000 } };
    const signature = (await world.relayer.deps.db.query("SELECT signature FROM negotiated_session WHERE offer_hash = $1", [Buffer.from(session.offerHash.slice(2), "hex")])).rows[0].signature;
    const agreement = { offer, policy, acceptance: { ...acceptance, signature: `0x${signature.toString("hex")}` as const } };
    expect(messageHash(NEGOTIATION, "Acceptance", acceptance.message)).equal(session.sessionId);
    expect(await sessionFaults(NEGOTIATION, agreement, receipts, signer())).deep.equal([]);
    const dearer = { ...receipts[0]!, payload: { ...receipts[0]!.payload, amount: "8001" } };
    expect((await sessionFaults(NEGOTIATION, agreement, [dearer, ...receipts.slice(1)], signer())).map(({ code }) => code)).include.members(["receipt_signature", "charged_above_agreed", "charged_above_budget"]);
  });

  it("a stock client pays the agreed price when it sends the session's header, and when it does not", async () => {
    const agent = await funded();
    await publishPolicy(world.url, policyOf({ listPrice: 900n, floorPrice: 600n }));
    try {
      const { session } = await agreed(world.url, agent, 60_000n, { intent: { maxPricePerRequest: 600n } });
      const stock = stockBuyer(agent, world.chain.url);
      const first = await stock.fetch(`${world.url}/s/echo/x`, { headers: { "X-402-Session-Id": session.sessionId } });
      expect([first.status, first.headers.get("x-402-session-id"), first.headers.get("x-402-offer")]).deep.equal([200, session.sessionId, session.offerHash]);
      expect((await stock.fetch(`${world.url}/s/echo/y`)).status).equal(200);
      const { rows } = await world.relayer.deps.db.query("SELECT charged_atomic FROM payment WHERE payer = $1 ORDER BY reserved_at", [Buffer.from(agent.address.slice(2), "hex")]);
      expect(rows.map((row) => row.charged_atomic)).deep.equal([600n, 600n]); // the list price of echo is 1000
    } finally {
      await publishPolicy(world.url, policyOf());
    }
  });

  it("two processes, many calls for the last of a session: exactly as many as were agreed", async () => {
    const agent = await funded();
    const second = await world.anotherRelayer();
    const { session, buyer } = await agreed(world.url, agent, 5n * 8_000n);
    expect((await buyer.open(1_000_000n)).status).equal(200);
    const payments = await Promise.all(Array.from({ length: 12 }, (_, index) => buyer.payment(8_000n * 14n + BigInt(index))));
    const answers = await Promise.all(payments.map((payment, index) => buyer.paid(payment, "/hello", index % 2 === 0 ? `${world.url}/s/echo` : `${second.url}/s/echo`)));
    const codes = answers.map(({ status, body }) => (status === 200 ? "paid" : body.code));
    expect(codes.filter((code) => code === "paid").length, codes.join()).equal(4);
    expect(new Set(codes)).deep.equal(new Set(["paid", "session_exhausted"]));
    const { rows } = await world.relayer.deps.db.query("SELECT calls_taken, calls_charged, charged_atomic FROM negotiated_session WHERE session_id = $1", [Buffer.from(session.sessionId.slice(2), "hex")]);
    expect(rows[0]).deep.equal({ calls_taken: 5n, calls_charged: 5n, charged_atomic: 40_000n });
  });

  it("volume: from the tenth call on it costs less, and the ledger counts", async () => {
    await publishPolicy(world.url, policyOf({ tiers: [{ minCalls: 3, pricePerRequest: 7_000n }, { minCalls: 5, pricePerRequest: 6_500n }] }));
    try {
      const { buyer, session } = await agreed(world.url, await funded(), 2n * 8_000n + 2n * 7_000n + 6_500n);
      expect(session.calls).equal(5);
      const amounts = [(await buyer.open(100_000n)).receipt!.payload.amount];
      for (let call = 2; call <= 5; call++) amounts.push((await buyer.call()).receipt!.payload.amount);
      expect(amounts).deep.equal(["8000", "8000", "7000", "7000", "6500"]);
    } finally {
      await publishPolicy(world.url, policyOf());
    }
  });

  it("a provider that is there answers by itself", async () => {
    const agent = await funded();
    const by = negotiator(world.url, agent);
    const { body: asked } = await by.ask({ maxPricePerRequest: 5_000n });
    expect(asked.offers).deep.equal([]);
    const { token } = await signIn({ relayerUrl: world.url, account: PROVIDER });
    const open = (await (await fetch(`${world.url}/api/v1/intents`, { headers: { authorization: `Bearer ${token}` } })).json()) as { intents: { intentHash: Hex }[] };
    expect(open.intents.map(({ intentHash }) => intentHash)).include(asked.intentHash);
    const offer = liveOffer(asked, agent.address, 5_000n);
    const make = async (change: Partial<Offer>, signer = PROVIDER) => send(world.url, "POST", `/api/a2a/negotiate/${asked.intentId}/offer`, { offer: await signedBody(signer, "Offer", { ...offer, ...change }) });
    const made = await make({});
    expect(made.status, JSON.stringify(made.body)).equal(200);
    expect((await make({})).body).deep.equal(made.body);
    expect((await make({ pricePerRequest: 4_000n })).body).include({ code: "round_answered" });
    expect((await by.counter(offer, 4_500n)).body).deep.equal({ state: "waiting", offer: null });
    expect((await make({ pricePerRequest: 4_500n, round: 1 })).status).equal(200);
    const { body: session } = await by.accept({ ...offer, pricePerRequest: 4_500n, round: 1 }, 9_000n);
    expect(session).include({ calls: 2, pricePerRequest: "0.0045" });
    const shown = (await (await fetch(`${world.url}/api/v1/negotiated-sessions/${session.sessionId}`, { headers: { authorization: `Bearer ${token}` } })).json()) as object;
    expect(shown).include({ callsLeft: 2, state: "active" }).and.not.have.property("sessionToken");
  });
});
