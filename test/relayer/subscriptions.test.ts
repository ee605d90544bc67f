// Services sold by the month: a stock client buys one unchanged, its first delivered call is charged, and those after it are not.
import { expect } from "chai";
import { encodeFunctionData, erc20Abi, pad, toHex, type Hex } from "viem";
import { standing } from "../../relayer/src/capabilities/subscriptions/store.ts";
import { SUBSCRIPTION_PERIOD_S, type Metadata } from "../../sdk/src/bazaar/metadata.ts";
import { createAgent } from "../../sdk/src/agent/agent.ts";
import { BASE_SEPOLIA } from "../../sdk/src/constants.ts";
import { encodeHeader, manualBuyer, requiredOf, settleOf, stockBuyer } from "../support/buyer.ts";
import { addressOf } from "../support/config.ts";
import { metadataOf } from "../support/listing.ts";
import { negotiator, policyOf, publishPolicy } from "../support/negotiation.ts";
import { callerAs, type Caller } from "../support/provider-world.ts";
import { startTestWorld, type TestWorld } from "../support/relayer.ts";
import { idOf, Sessions } from "../support/session.ts";
import { startStreamProvider } from "../support/stream-provider.ts";

const [BUYER, OTHER, OWNER, STRANGER, AGENT] = [1, 2, 12, 13, 3];
const PRICE = 10_000n;

describe("services sold by the month", function () {
  this.timeout(240_000);
  let world: TestWorld;
  let owner: Caller;
  before(async () => {
    world = await startTestWorld();
    owner = await callerAs(world, OWNER);
    for (const index of [BUYER, OTHER, OWNER, AGENT]) await world.chain.mintUSDC(addressOf(index), 10_000_000n);
    expect((await sell("monthly")).status).equal(201);
  });
  after(() => world.stop());

  const sell = (name: string, change: Record<string, unknown> = {}) => owner("POST", "/services", { name, origin: world.provider.origin, priceAtomic: String(PRICE), per: "month", ...change });
  const stock = (index: number) => stockBuyer(world.chain.account(index), world.chain.url);
  const charged = async (answer: Promise<Response>) => {
    const response = await answer;
    expect(response.status, await response.clone().text()).equal(200);
    return settleOf(response).extra.chargedAmount;
  };
  const url = (name: string, path = "/") => `${world.url}/s/${name}${path}`;
  const said = ({ status, body: { code, field } }: Awaited<ReturnType<Caller>>) => [status, code, ...(field === undefined ? [] : [field])];
  const mine = async (index: number, query = "") => (await (await callerAs(world, index))("GET", `/subscriptions${query}`)).body["subscriptions"] as Record<string, string>[];

  it("a 402 says so: the price of the month, by channel alone, with room for two", async () => {
    const { accepts } = requiredOf(await fetch(url("monthly")));
    expect(accepts).lengthOf(1);
    expect(accepts[0]).include({ scheme: "batch-settlement", amount: String(PRICE) });
    expect(accepts[0].extra).deep.include({ subscription: { unit: "month", periodS: 30 * 86_400 }, minDeposit: String(2n * PRICE) });
    expect((await owner("GET", "/services/monthly")).body["subscription"]).deep.equal({ periodS: 30 * 86_400 });
  });

  it("a stock client pays its first call, and not those after it; receipts and the standing subscription say so", async () => {
    const buyer = stock(BUYER);
    const amounts: string[] = [];
    for (const path of ["/a", "/b", "/c", "/c"]) amounts.push(await charged(buyer.fetch(url("monthly", path))));
    expect(amounts).deep.equal([String(PRICE), "0", "0", "0"]);

    const party = await callerAs(world, BUYER);
    const [subscription] = await mine(BUYER, "?service=monthly");
    expect(subscription).include({ service: "monthly", payer: addressOf(BUYER), payerAuthorizer: addressOf(BUYER), priceAtomic: String(PRICE) });
    expect(Date.parse(subscription!["until"]!) - Date.parse(subscription!["startedAt"]!)).equal(SUBSCRIPTION_PERIOD_S * 1_000);
    expect((await party("GET", `/receipts/${subscription!["paymentId"]}`)).body["receipt"].payload.amount).equal(String(PRICE));
    const free = await buyer.fetch(url("monthly", "/d"));
    expect((await party("GET", `/receipts/${settleOf(free).extra.paymentId}`)).body["receipt"].payload.amount).equal("0");
  });

  it("what stands is told to who pays, signs or is paid, and to nobody else", async () => {
    expect(await mine(OWNER, "?service=monthly")).lengthOf(1);
    expect(await mine(STRANGER)).deep.equal([]);
    expect((await fetch(`${world.url}/api/v1/subscriptions`)).status).equal(401);
  });

  it("each buyer pays its own", async () => {
    expect(await charged(stock(OTHER).fetch(url("monthly")))).equal(String(PRICE));
    expect(await mine(OWNER, "?service=monthly")).lengthOf(2);
  });

  it("our agent pays one month too, and signs no more than the month's room for its free calls", async () => {
    const agent = createAgent({ account: world.chain.account(AGENT), rpcUrl: world.chain.url, chainId: BASE_SEPOLIA.chainId, deposit: { calls: 2 } });
    for (let call = 0; call < 6; call++) expect((await agent.fetch(url("monthly", `/${call}`))).status).equal(200);
    const { channels: [channel] } = await agent.wallet.getBalance();
    expect([channel!.charged, channel!.signed]).deep.equal([PRICE, 2n * PRICE]);
    await agent.close();
  });

  it("a first call that fails begins no month", async () => {
    await sell("failing");
    const buyer = stock(BUYER);
    expect((await buyer.fetch(url("failing", "/status/500"))).status).equal(500);
    expect(await mine(BUYER, "?service=failing")).deep.equal([]);
    expect(await charged(buyer.fetch(url("failing")))).equal(String(PRICE));
  });

  it("what the service asks for less changes nothing: the month has its price", async () => {
    await sell("cheaper");
    const buyer = stock(BUYER);
    expect([await charged(buyer.fetch(url("cheaper", "/charge/1"))), await charged(buyer.fetch(url("cheaper", "/charge/1")))]).deep.equal([String(PRICE), "0"]);
  });

  it("when it is over, the next call is charged and begins another", async () => {
    await sell("ending");
    const buyer = stock(BUYER);
    expect(await charged(buyer.fetch(url("ending")))).equal(String(PRICE));
    await world.relayer.deps.db.query("UPDATE subscription SET started_at = started_at - interval '30 days', until = until - interval '30 days' WHERE service = 'ending'");
    expect(await mine(BUYER, "?service=ending")).deep.equal([]);
    expect([await charged(buyer.fetch(url("ending"))), await charged(buyer.fetch(url("ending")))]).deep.equal([String(PRICE), "0"]);
  });

  it("money that somebody else puts into a channel of the payer's name buys that one nothing", async () => {
    const victim = world.chain.account(BUYER);
    const thief = world.chain.account(STRANGER);
    const hand = manualBuyer(victim, url("monthly"), pad("0x7e"));
    const terms = await hand.terms();
    const config = { ...hand.configFor(terms), payerAuthorizer: thief.address };
    const sessions = new Sessions(world.chain);
    await sessions.deposit(config, victim, 3n * PRICE); // signed by the payer here; a collector contract needs no such signature
    const pay = async (ceiling: bigint) => {
      const voucher = { channelId: idOf(config), maxClaimableAmount: String(ceiling), signature: await sessions.voucher(config, thief, ceiling) };
      return charged(fetch(url("monthly", "/stolen"), { headers: { "payment-signature": encodeHeader(hand.envelope(terms, { type: "voucher", channelConfig: config, voucher })) } }));
    };
    expect([await pay(PRICE), await pay(2n * PRICE)]).deep.equal([String(PRICE), "0"]);
  });

  it("a voucher that a free call left unused pays for another request, also while the first is under way", async () => {
    const hand = manualBuyer(world.chain.account(BUYER), url("monthly"), pad(toHex(77)));
    const terms = await hand.terms();
    expect(await charged(hand.send(await hand.depositPayment(terms, 2n * PRICE, PRICE)))).equal("0");
    const free = await hand.voucherPayment(terms, PRICE);
    const [slow, other] = await Promise.all([charged(hand.send(free, {}, url("monthly", "/slow/300"))), charged(hand.send(free, {}, url("monthly", "/other")))]);
    expect([slow, other]).deep.equal(["0", "0"]);
  });

  it("a month that its provider gave back whole is over; in part it stands", async () => {
    await sell("refunded");
    const buyer = stock(BUYER);
    expect(await charged(buyer.fetch(url("refunded")))).equal(String(PRICE));
    const { paymentId } = (await standing(world.relayer.deps.db, addressOf(BUYER), "refunded", 1))[0]!;
    const giveBack = async (amount: bigint) => owner("POST", "/refunds", { paymentId, transaction: await transfer(OWNER, addressOf(BUYER), amount) });
    expect((await giveBack(PRICE / 2n)).status).equal(200);
    expect(await charged(buyer.fetch(url("refunded")))).equal("0");
    expect((await giveBack(PRICE / 2n)).body).include({ refundedAtomic: String(PRICE) });
    expect(await mine(BUYER, "?service=refunded")).deep.equal([]);
    expect([await charged(buyer.fetch(url("refunded"))), await charged(buyer.fetch(url("refunded")))]).deep.equal([String(PRICE), "0"]);
  });

  async function transfer(from: number, to: Hex, amount: bigint): Promise<Hex> {
    const data = encodeFunctionData({ abi: erc20Abi, functionName: "transfer", args: [to, amount] });
    const hash = await world.chain.client.sendTransaction({ account: world.chain.account(from), chain: null, to: BASE_SEPOLIA.usdc.address, data });
    await world.chain.client.waitForTransactionReceipt({ hash });
    return hash;
  }

  it("an answer that streams is sold too, read whole", async () => {
    const provider = await startStreamProvider();
    try {
      await sell("streamed", { origin: provider.origin });
      const asked = stock(BUYER).fetch(url("streamed", "/a.sse"));
      const stream = await provider.next("/a.sse");
      stream.write("data: 1\n\n");
      stream.end();
      expect(await charged(asked)).equal(String(PRICE));
      const metered = await fetch(url("streamed", "/a.sse"), { headers: { "tallystick-stream": "metered", "payment-signature": encodeHeader({}) } });
      expect(metered.status).equal(400);
    } finally {
      await provider.stop();
    }
  });

  it("exact, transfers, streams by the unit, servers of one's own and negotiated prices are refused with the reason", async () => {
    const { origin } = world.provider;
    expect(said(await sell("bad", { streamPriceAtomic: "5" }))).deep.equal([400, "service_malformed", "per"]);
    expect(said(await owner("POST", "/services", { name: "bad", url: origin, priceAtomic: "5", per: "month" }))).deep.equal([400, "service_malformed", "per"]);
    expect(said(await sell("bad", { minDepositCalls: 1 }))).deep.equal([400, "service_malformed", "minDepositCalls"]);
    const asked = await fetch(`${world.url}/api/pay/request`, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ providerId: "monthly" }) });
    expect([asked.status, ((await asked.json()) as { code: string }).code]).deep.equal([409, "service_by_month"]);
    const required = requiredOf(await fetch(url("monthly")));
    const exact = { x402Version: 2, accepted: { ...required.accepts[0], scheme: "exact" }, payload: {}, resource: required.resource };
    const refused = await fetch(url("monthly"), { headers: { "payment-signature": encodeHeader(exact) } });
    expect([refused.status, ((await refused.json()) as { code: string }).code]).deep.equal([402, "scheme_mismatch"]);
    const provider = addressOf(OWNER);
    const policy = (service: string) => publishPolicy(world.url, policyOf({ service, provider, payTo: provider }), world.chain.account(OWNER));
    expect((await policy("monthly")).body).include({ code: "service_by_month" });
    await sell("turned", { per: "call" });
    expect((await policy("turned")).status).equal(200);
    expect((await owner("PUT", "/services/turned", { origin, priceAtomic: String(PRICE), per: "month" })).status).equal(200);
    const intent = await negotiator(world.url, world.chain.account(BUYER)).ask({ service: "turned", maxPricePerRequest: 10n ** 6n });
    expect(intent.body).deep.include({ offers: [], declined: [{ service: "turned", reason: "it is sold by the month" }] });
  });

  it("is listed on chain with all of it, changed to calls and back; terms that say it badly are refused with their field", async () => {
    const pricing: Metadata["pricing"] = { model: "subscription", price: "0.01", unit: "month", token: BASE_SEPOLIA.usdc.address, periodS: SUBSCRIPTION_PERIOD_S };
    const offer = (change: Partial<Metadata["pricing"]> = {}, more: Partial<Metadata> = {}) => ({ name: "listed", origin: world.provider.origin, metadata: metadataOf({ pricing: { ...pricing, ...change }, schemes: ["batch-settlement"], ...more }) });
    const tried = async (body: object) => said(await owner("POST", "/agents", body));
    expect(await tried(offer({ model: "per-use" }))).deep.equal([400, "listing_malformed", "metadata.pricing.model"]);
    expect(await tried(offer({ periodS: undefined as never }))).deep.equal([400, "listing_malformed", "metadata.pricing.periodS"]);
    expect(await tried(offer({ periodS: 86_400 }))).deep.equal([400, "metadata_malformed", "pricing.periodS"]);
    expect(await tried(offer({ unit: "call", periodS: undefined as never }))).deep.equal([400, "listing_malformed", "metadata.pricing.unit"]);
    expect(await tried(offer({}, { schemes: ["exact", "batch-settlement"] }))).deep.equal([400, "listing_malformed", "metadata.schemes"]);
    const { origin: _origin, ...own } = offer();
    expect(await tried({ ...own, url: "https://shop.example" })).deep.equal([400, "listing_malformed", "metadata.pricing.unit"]);
    expect(await tried(offer())).deep.equal([201, undefined]);
    const terms = async () => requiredOf(await fetch(url("listed"))).accepts;
    expect((await terms()).map(({ scheme, extra }) => [scheme, extra["minDeposit"]])).deep.equal([["batch-settlement", String(2n * PRICE)]]);
    await owner("PUT", "/agents/listed", { metadata: metadataOf() });
    expect((await terms()).map(({ scheme, extra }) => [scheme, extra["subscription"]])).deep.equal([["batch-settlement", undefined], ["exact", undefined]]);
  });

  it("the contract pays what was charged, and no more", async () => {
    expect(await world.relayer.settlement.flush()).equal(true);
    const { rows: [row] } = await world.relayer.deps.db.query<{ charged: bigint; claimed: bigint }>("SELECT sum(charged) AS charged, sum(total_claimed) AS claimed FROM channel");
    expect(row!.claimed).equal(row!.charged);
  });
});
