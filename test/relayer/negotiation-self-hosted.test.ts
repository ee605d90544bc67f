// A provider that sells from its own server with the SDK's plugin, and negotiates: what its buyers agreed is what they pay there, by the same
// ledger, whatever the server asks for.
import { expect } from "chai";
import type { Hex, LocalAccount } from "viem";
import { generatePrivateKey, privateKeyToAccount } from "viem/accounts";
import { createA2A } from "../../sdk/src/negotiation/a2a.ts";
import { inputHash } from "../../sdk/src/receipt.ts";
import { requiredOf } from "../support/buyer.ts";
import { agreed, EASY_SLA, liveOffer, negotiator, offerIn, policyOf, publishPolicy, send, sessionBuyer, signedBody } from "../support/negotiation.ts";
import { startPluginServer, type PluginServer } from "../support/plugin-server.ts";
import { callerAs, chargeBody, type Caller } from "../support/provider-world.ts";
import { startTestWorld, type TestWorld } from "../support/relayer.ts";

const OWNER = 12;
const SERVICE = "quotes";
const LIST = 10_000n;
const AGREED = 8_000n;

describe("negotiation with a provider's own server", function () {
  this.timeout(300_000);
  let world: TestWorld;
  let server: PluginServer;
  let owner: LocalAccount;
  let asOwner: Caller;
  const change = () => ({ service: SERVICE, provider: owner.address, payTo: owner.address, sla: EASY_SLA, capability: "quotes.text" });
  before(async () => {
    world = await startTestWorld();
    owner = world.chain.account(OWNER);
    server = await startPluginServer({ relayerUrl: world.url, account: owner, service: SERVICE, price: "$0.01", minDepositCalls: 1 });
    asOwner = await callerAs(world, OWNER);
    const published = await publishPolicy(world.url, policyOf(change()), owner);
    expect(published.status, JSON.stringify(published.body)).equal(200);
  });
  after(async () => {
    await server.stop();
    await world.stop();
  });

  async function rich(): Promise<LocalAccount> {
    const account = privateKeyToAccount(generatePrivateKey());
    await world.chain.mintUSDC(account.address, 5_000_000n);
    return account;
  }
  /** A session at 0.008, paid at the provider's server. */
  async function opened(calls: bigint) {
    const agent = await rich();
    const { session, offer } = await agreed(world.url, agent, calls * AGREED, { service: SERVICE });
    const buyer = sessionBuyer(server.url, agent, session.sessionId, session.sessionId);
    expect((await buyer.open(1_000_000n)).status).equal(200);
    return { agent, session, offer, buyer };
  }
  const chargedIn = async (sessionId: Hex) => (await world.relayer.deps.db.query("SELECT calls_charged, charged_atomic FROM negotiated_session WHERE session_id = $1", [Buffer.from(sessionId.slice(2), "hex")])).rows[0];

  it("a2a.call finds it, bargains, and pays the agreed price at the provider's own address", async () => {
    const a2a = createA2A({ relayerUrl: world.url, account: await rich(), rpcUrl: world.chain.url, calls: 5 });
    const seen = server.seen.length;
    const first = await a2a.call({ capability: "quotes.text", input: { text: "hello" }, path: "/say", maxCost: "0.012" });
    expect(first).deep.include({ service: SERVICE, firstOffered: "0.01", output: { method: "POST", path: "/say", body: "", run: seen + 1 } }); // the server read it as JSON
    expect(Number(first.cost)).lessThan(0.01);
    expect(first.receipt.payload).include({ session: first.sessionId, resource: `${server.url}/say` });
    const second = await a2a.call({ capability: "quotes.text", path: "/again", maxCost: "0.012" });
    expect([second.sessionId, second.cost, server.seen.length]).deep.equal([first.sessionId, first.cost, seen + 2]);
    const price = BigInt(first.receipt.payload.amount);
    expect(await chargedIn(first.sessionId)).deep.equal({ calls_charged: 2n, charged_atomic: 2n * price });
    await a2a.close();
  });

  it("the 402 at the provider's server says the agreed price, and when the session is over the new offer; who names no session pays the list price", async () => {
    const { session, buyer } = await opened(2n);
    expect((await buyer.terms()).accepts[0].amount).equal(String(AGREED));
    expect(requiredOf(await fetch(server.url)).accepts[0].amount).equal(String(LIST));
    expect((await buyer.call("/second")).receipt?.payload).include({ amount: String(AGREED), session: session.sessionId });
    const over = requiredOf(await fetch(server.url, { headers: buyer.headers }));
    const { info } = over.extensions["tallystick-negotiation"] as { info: { state: string; callsLeft: number; offer: { message: { pricePerRequest: string } } } };
    expect([info.state, info.callsLeft, info.offer.message.pricePerRequest, over.accepts[0].amount]).deep.equal(["exhausted", 0, "0.008", String(LIST)]);
    expect((await buyer.call("/third", AGREED)).status).equal(402);
    expect(await chargedIn(session.sessionId)).deep.equal({ calls_charged: 2n, charged_atomic: 2n * AGREED });
  });

  it("a server that asks for more than was agreed gets what was agreed, whether it names the session or not", async () => {
    const { session, buyer } = await opened(4n);
    const take = async (ceiling: bigint, more: object) => {
      const { accepted, ...payment } = await buyer.payment(ceiling);
      const header = Buffer.from(JSON.stringify({ ...payment, accepted })).toString("base64");
      const hash = inputHash({ method: "GET", target: "/x", contentType: "", body: new Uint8Array() });
      return asOwner("POST", "/sales", { service: SERVICE, resource: `${server.url}/x`, inputHash: hash, payment: header, ...more });
    };
    const dear = await take(3n * AGREED, { session: session.sessionId, priceAtomic: "500000" });
    expect([dear.body["outcome"], dear.body["priceAtomic"]], JSON.stringify(dear.body)).deep.equal(["reserved", String(AGREED)]);
    const above = await asOwner("POST", `/sales/${dear.body["paymentId"]}/charge`, { ...chargeBody("42"), amountAtomic: String(AGREED + 1n) });
    expect([above.status, above.body["code"]]).deep.equal([400, "charge_above_price"]);
    const charged = await asOwner("POST", `/sales/${dear.body["paymentId"]}/charge`, chargeBody("42"));
    expect(charged.body).include({ outcome: "charged", chargedAtomic: String(AGREED) });
    // The same charge again, as after an answer that was lost.
    expect((await asOwner("POST", `/sales/${dear.body["paymentId"]}/charge`, chargeBody("42"))).body).include({ outcome: "charged", chargedAtomic: String(AGREED) });
    // A call of the server's own that costs less than was agreed costs that.
    const cheap = await take(4n * AGREED, { session: session.sessionId, priceAtomic: "500" });
    expect(cheap.body["priceAtomic"] ?? cheap.body["code"], JSON.stringify(cheap.body)).equal("500");
    expect((await asOwner("POST", `/sales/${cheap.body["paymentId"]}/release`, { reason: "handler_500" })).status).equal(200);
    const { rows } = await world.relayer.deps.db.query("SELECT release_reason FROM payment WHERE payment_id = $1", [cheap.body["paymentId"]]);
    expect(rows).deep.equal([{ release_reason: "upstream_500" }]);
    // The buyer's payment says the agreed price; a server that hides the session cannot take more than that either.
    const hidden = await take(5n * AGREED, {});
    expect([hidden.body["outcome"], hidden.body["priceAtomic"] ?? hidden.body["code"]]).not.deep.equal(["reserved", String(LIST)]);
    expect(await chargedIn(session.sessionId)).deep.equal({ calls_charged: 2n, charged_atomic: 2n * AGREED });
  });

  it("a provider that is there answers an intent by an offer of its own, and honours it; by token its sessions are not called", async () => {
    const agent = await rich();
    const by = negotiator(world.url, agent);
    const { body } = await by.ask({ service: SERVICE, maxPricePerRequest: 5_500n }); // below the policy's floor
    const offer = { ...liveOffer(body, agent.address, 5_000n), service: SERVICE, provider: owner.address, payTo: owner.address, sla: EASY_SLA };
    const made = await send(world.url, "POST", `/api/v1/intents/${body.intentId}/offers`, await signedBody(owner, "Offer", offer));
    expect(made.status, JSON.stringify(made.body)).equal(201);
    const accepted = await by.accept(offerIn(made.body).message, 10_000n);
    expect(accepted.status, JSON.stringify(accepted.body)).equal(201);
    const buyer = sessionBuyer(server.url, agent, accepted.body.sessionId, accepted.body.sessionId);
    const paid = await buyer.open(100_000n);
    expect(paid.receipt?.payload).include({ amount: "5000", session: accepted.body.sessionId });
    const required = await buyer.terms();
    const left = { channelConfig: buyer.buyer.configFor(required), voucher: await buyer.buyer.voucher(buyer.buyer.channelId(required), 10_000n) };
    const kept = await fetch(`${world.url}/api/v1/negotiated-sessions/${accepted.body.sessionId}/voucher`, { method: "POST", headers: { "content-type": "application/json", "x-402-session-token": accepted.body.sessionToken }, body: JSON.stringify(left) });
    expect([kept.status, ((await kept.json()) as { code: string }).code]).deep.equal([409, "service_self_hosted"]);
  });
});
