// A provider's own Fastify server, sold to the unmodified stock client and to the SDK's agent.
import { ExactEvmScheme } from "@x402/evm/exact/client";
import { wrapFetchWithPayment, x402Client } from "@x402/fetch";
import { expect } from "chai";
import fastify from "fastify";
import { setTimeout as sleep } from "node:timers/promises";
import { parseUnits, type Hex } from "viem";
import { createAgent } from "../../sdk/src/agent/agent.ts";
import { testUSDCAbi } from "../../sdk/src/abi/test-usdc.ts";
import { BASE_SEPOLIA } from "../../sdk/src/constants.ts";
import { tallystick } from "../../sdk/src/provider/fastify.ts";
import { inputHash, outputHash, receiptSigner, type SignedReceipt } from "../../sdk/src/receipt.ts";
import { manualBuyer, requiredOf, settleOf, stockBuyer, type StockBuyer } from "../support/buyer.ts";
import { addressOf, ROLE } from "../support/config.ts";
import { callerAs } from "../support/provider-world.ts";
import { startTestWorld, type TestWorld } from "../support/relayer.ts";
import { startShop, type Shop } from "../support/shop.ts";

const OWNER = 12;

describe("a provider's own server", function () {
  this.timeout(240_000);
  let world: TestWorld;
  let shop: Shop;
  let next = 20;
  before(async () => {
    world = await startTestWorld();
    shop = await startShop(world.url, world.chain.account(OWNER), { maxAnswerBytes: 50_000 });
  });
  after(async () => {
    await shop?.stop();
    await world?.stop();
  });

  const funded = async () => {
    const account = world.chain.account(next++);
    await world.chain.mintUSDC(account.address, parseUnits("5", 6));
    return account;
  };
  const stock = async (): Promise<StockBuyer> => stockBuyer(await funded(), world.chain.url);
  const charged = (response: Response) => settleOf(response).extra.chargedAmount;
  const channelOf = async (payer: Hex) => (await world.relayer.deps.db.query("SELECT charged, reserved, request_count FROM channel WHERE payer = $1", [Buffer.from(payer.slice(2), "hex")])).rows[0];
  const receiptOf = (response: Response) => (settleOf(response) as unknown as { extensions: Record<string, { info: { receipt: SignedReceipt } }> }).extensions["tallystick-receipt"]!.info.receipt;

  it("lists its service by itself", async () => {
    const listed = (await (await fetch(`${world.url}/api/v1/services/shop`)).json()) as Record<string, unknown>;
    expect(listed).include({ url: shop.url, selfHosted: true, owner: addressOf(OWNER), receiver: addressOf(OWNER), priceAtomic: "1000" });
  });

  it("answers 402 with the route's price and runs nothing; free routes stay free", async () => {
    const unpaid = await fetch(`${shop.url}/quote?a=b`);
    expect([unpaid.status, unpaid.headers.get("cache-control"), shop.runs["quote"]]).deep.equal([402, "no-store", undefined]);
    const { accepts, resource } = requiredOf(unpaid);
    expect([accepts[0].amount, accepts[0].payTo, resource.url]).deep.equal(["1000", addressOf(OWNER), `${shop.url}/quote?a=b`]);
    expect(requiredOf(await fetch(`${shop.url}/charge/1`)).accepts[0].amount).equal("10000");
    const free = await fetch(`${shop.url}/free`);
    expect([free.status, ((await free.json()) as { payment: unknown }).payment]).deep.equal([200, null]);
    expect((await fetch(`${shop.url}/nothing`)).status).equal(404);
  });

  it("the stock client buys: deposit, vouchers, receipts; the handler knows who pays", async () => {
    const account = await funded();
    const buyer = stockBuyer(account, world.chain.url);
    const first = await buyer.fetch(`${shop.url}/quote`);
    const { payment } = (await first.json()) as { payment: Record<string, string> };
    expect([first.status, charged(first), first.headers.get("cache-control")]).deep.equal([200, "1000", "private"]);
    expect(payment).deep.equal({ paymentId: settleOf(first).extra.paymentId, payer: account.address, price: "1000" });
    const second = await buyer.fetch(`${shop.url}/quote?x=1`);
    const text = await second.text();
    const receipt = receiptOf(second);
    expect(receipt.payload).include({ resource: `${shop.url}/quote?x=1`, requestNumber: "2", amount: "1000", cumulative: "2000" });
    expect(receipt.payload.inputHash).equal(inputHash({ method: "GET", target: "/quote?x=1", contentType: "", body: new Uint8Array() }));
    expect(receipt.payload.outputHash).equal(outputHash({ status: 200, contentType: second.headers.get("content-type")!, body: new TextEncoder().encode(text) }));
    expect(await receiptSigner(receipt)).equal(addressOf(ROLE.authorizer));
    expect(await channelOf(account.address)).include({ charged: 2_000n, reserved: 0n, request_count: 2n });
  });

  it("charges what the handler says, up to the price: partly, by percent, nothing, and by Settlement-Overrides", async () => {
    const buyer = await stock();
    const cases: [path: string, amount: string][] = [["/charge/4200", "4200"], ["/charge/33%25", "3300"], [`/charge/${encodeURIComponent("$0.0001")}`, "100"], ["/charge/0", "0"], ["/charge/10000", "10000"], ["/override/25%25", "250"], ["/override/0", "0"]];
    for (const [path, amount] of cases) {
      const response = await buyer.fetch(shop.url + path);
      expect([response.status, charged(response), response.headers.get("settlement-overrides")], path).deep.equal([200, amount, null]);
    }
  });

  it("a body is sold as it was sent: parsed for the handler, hashed for the receipt", async () => {
    const buyer = await stock();
    const body = '{"q" :  "Zürich"}';
    const response = await buyer.fetch(`${shop.url}/echo`, { method: "POST", headers: { "content-type": "application/json" }, body });
    expect([response.status, charged(response)]).deep.equal([200, "4200"]);
    expect(await response.json()).deep.equal({ got: { q: "Zürich" } });
    expect(receiptOf(response).payload.inputHash).equal(inputHash({ method: "POST", target: "/echo", contentType: "application/json", body: new TextEncoder().encode(body) }));
    expect((await fetch(`${shop.url}/echo`, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify("x".repeat(100_001)) })).status).equal(413);
  });

  it("buffers, streams, a web Response and no body at all are sold, each with the hash of what arrives", async () => {
    const buyer = await stock();
    for (const [path, status, text] of [["/buffer", 200, undefined], ["/stream", 200, "one two three"], ["/web-stream", 200, "from a Response"], ["/empty", 204, ""]] as const) {
      const response = await buyer.fetch(shop.url + path);
      const body = new Uint8Array(await response.arrayBuffer());
      expect([response.status, charged(response)], path).deep.equal([status, "1000"]);
      if (text !== undefined) expect(new TextDecoder().decode(body), path).equal(text);
      expect(receiptOf(response).payload.outputHash, path).equal(outputHash({ status, contentType: response.headers.get("content-type") ?? "", body }));
    }
  });

  it("what fails is not charged: 4xx, 5xx, exceptions, invalid bodies, answers that break off or are too large, impossible charges", async () => {
    const account = await funded();
    const buyer = stockBuyer(account, world.chain.url);
    expect(charged(await buyer.fetch(`${shop.url}/quote`))).equal("1000");
    for (const [path, status, init] of [
      ["/status/404", 404], ["/status/503", 503], ["/throw", 500], ["/broken-stream", 500], ["/large/50001", 500], ["/charge/10001", 500], ["/charge/nonsense", 500], ["/override/1001", 500],
      ["/validated", 400, { method: "POST", headers: { "content-type": "application/json" }, body: "{}" }],
    ] as [string, number, RequestInit?][]) {
      const response = await buyer.fetch(shop.url + path, init);
      expect([response.status, await channelOf(account.address)], path).deep.equal([status, { charged: 1_000n, reserved: 0n, request_count: 1n }]);
    }
    expect(charged(await buyer.fetch(`${shop.url}/large/50000`))).equal("1000");
  });

  it("the same payment gets the same answer and no second run; with another request it is refused", async () => {
    const hand = manualBuyer(await funded(), `${shop.url}/quote`);
    const payment = await hand.depositPayment(await hand.terms(), parseUnits("1", 6), 1_000n);
    const first = await hand.send(payment);
    const body = await first.text();
    const runs = shop.runs["quote"];
    const again = await hand.send(payment);
    expect([again.status, await again.text(), again.headers.get("content-type"), shop.runs["quote"]]).deep.equal([200, body, first.headers.get("content-type"), runs]);
    expect(receiptOf(again)).deep.equal(receiptOf(first));
    const other = await hand.send(payment, {}, `${shop.url}/quote?other`);
    expect([other.status, ((await other.json()) as { code: string }).code, shop.runs["quote"]]).deep.equal([402, "voucher_used", runs]);
  });

  it("bad payments run nothing", async () => {
    const hand = manualBuyer(await funded(), `${shop.url}/quote`);
    const required = await hand.terms();
    const runs = shop.runs["quote"];
    const cheap = await hand.depositPayment({ ...required, accepts: [{ ...required.accepts[0], amount: "1" }] }, parseUnits("1", 6), 1n);
    expect((await hand.send(cheap)).status).equal(402);
    expect((await hand.send(await hand.voucherPayment(required, 1_000n))).status, "no such channel").equal(402);
    expect((await fetch(`${shop.url}/quote`, { headers: { "payment-signature": "!" } })).status).equal(400);
    expect(shop.runs["quote"]).equal(runs);
  });

  it("a buyer that leaves before the end is not charged, and may send the same payment again", async () => {
    const account = await funded();
    const hand = manualBuyer(account, `${shop.url}/slow/700`);
    const payment = await hand.depositPayment(await hand.terms(), parseUnits("1", 6), 1_000n);
    const gone = new AbortController();
    const leaving = hand.send(payment, { signal: gone.signal }).catch((error: Error) => error.name);
    while ((await channelOf(account.address))?.reserved !== 1_000n) await sleep(20);
    gone.abort();
    expect(await leaving).equal("AbortError");
    while ((await channelOf(account.address)).reserved !== 0n) await sleep(20);
    expect(await channelOf(account.address)).include({ charged: 0n, request_count: 0n });
    const paid = await hand.send(payment);
    expect([paid.status, charged(paid)]).deep.equal([200, "1000"]);
  });

  it("exact, by the stock client: the money has moved when the answer is there", async () => {
    const account = await funded();
    const pay = wrapFetchWithPayment(fetch, new x402Client().register("eip155:84532", new ExactEvmScheme(account))) as typeof fetch;
    const balance = () => world.chain.client.readContract({ address: BASE_SEPOLIA.usdc.address, abi: testUSDCAbi, functionName: "balanceOf", args: [addressOf(OWNER)] });
    const before = await balance();
    const response = await pay(`${shop.url}/quote`);
    expect([response.status, charged(response), settleOf(response).transaction]).satisfy(([status, amount, hash]: [number, string, string]) => status === 200 && amount === "1000" && /^0x[0-9a-f]{64}$/.test(hash));
    expect(await balance()).equal(before + 1_000n);
  });

  it("the SDK's agent buys, many at once, and finds every receipt in order", async () => {
    const agent = createAgent({ account: await funded(), rpcUrl: world.chain.url, limits: { total: 1_000_000n } });
    const first = await agent.fetch(`${shop.url}/quote`);
    expect(first.status).equal(200);
    const all = await Promise.all(Array.from({ length: 20 }, () => agent.fetch(`${shop.url}/quote`)));
    expect(all.map(({ status }) => status)).deep.equal(Array.from({ length: 20 }, () => 200));
    expect((await agent.fetch(`${shop.url}/echo`, { method: "POST", headers: { "content-type": "application/json" }, body: "{}" })).status).equal(200);
    await agent.close();
  });

  it("HEAD is paid like GET and answered without a body", async () => {
    const buyer = await stock();
    const response = await buyer.fetch(`${shop.url}/quote`, { method: "HEAD" });
    expect([response.status, charged(response), await response.text()]).deep.equal([200, "1000", ""]);
    expect(receiptOf(response).payload.outputHash).equal(outputHash({ status: 200, contentType: response.headers.get("content-type")!, body: new Uint8Array() }));
  });

  it("with a default price every route is sold but those that say otherwise", async () => {
    const own = await startShop(world.url, world.chain.account(OWNER), { service: "default-priced", defaultPrice: "$0.003" }, (app) => app.get("/open", { config: { price: false } }, async () => "open"));
    try {
      expect(requiredOf(await fetch(`${own.url}/free`)).accepts[0].amount).equal("3000");
      expect((await fetch(`${own.url}/open`)).status).equal(200);
      expect((await fetch(`${own.url}/nothing`)).status).equal(404);
    } finally {
      await own.stop();
    }
  });

  it("a price with a typing error, another's name and contradicting options end the start", async () => {
    const start = async (options: object, price?: string) => {
      const app = fastify();
      await app.register(tallystick, { relayerUrl: world.url, account: world.chain.account(OWNER), service: "shop", publicUrl: "https://shop.example", ...options });
      if (price !== undefined) app.get("/", { config: { price } }, async () => "x");
      try {
        await app.ready();
      } finally {
        await app.close();
      }
    };
    const codeOf = (started: Promise<void>) => started.then(() => "started", (error: { code: string }) => error.code);
    expect(await codeOf(start({}, "0.001"))).equal("price_malformed");
    expect(await codeOf(start({ account: world.chain.account(13), list: { price: "$1" } }))).equal("service_name_taken");
    expect(await codeOf(start({ token: "tst_x" }))).equal("provider_options_invalid");
    expect(await codeOf(start({ publicUrl: "ftp://x" }))).equal("provider_options_invalid");
    expect(await codeOf(start({ receiver: addressOf(1), voucherFile: "x.jsonl" }))).equal("provider_options_invalid");
    expect(await codeOf(start({}))).equal("started");
  });

  it("signs in again when the relayer has forgotten its token", async () => {
    const buyer = await stock();
    expect((await buyer.fetch(`${shop.url}/quote`)).status).equal(200);
    await world.relayer.deps.db.query("DELETE FROM access_token");
    expect((await buyer.fetch(`${shop.url}/quote`)).status).equal(200);
  });

  it("a service taken off sale is our fault, not the buyer's", async () => {
    const own = await startShop(world.url, world.chain.account(OWNER), { service: "withdrawn" });
    try {
      expect((await (await callerAs(world, OWNER))("DELETE", "/services/withdrawn")).status).equal(204);
      const response = await fetch(`${own.url}/quote`);
      expect([response.status, ((await response.json()) as { code: string }).code, own.runs["quote"]]).deep.equal([503, "payments_unavailable", undefined]);
      expect(own.problems.map((error) => (error as { code: string }).code)).deep.equal(["service_unknown"]);
    } finally {
      await own.stop();
    }
  });
});
