// Pages of other origins: which answers they may read, what a preflight gets, and that OPTIONS stays a call like any other.
import { expect } from "chai";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { parseUnits } from "viem";
import { manualBuyer } from "../support/buyer.ts";
import { startTestWorld, type TestWorld } from "../support/relayer.ts";
import { addressOf, ROLE } from "../support/config.ts";

const ORIGIN = "https://page.example";
const PREFLIGHT = { origin: ORIGIN, "access-control-request-method": "POST", "access-control-request-headers": "payment-signature,content-type" };

describe("pages of other origins", function () {
  this.timeout(60_000);
  let world: TestWorld;
  let strict: Server;
  before(async () => {
    // A service with rules of its own, made for its own page.
    strict = createServer((_request, response) => {
      response.writeHead(200, { "access-control-allow-origin": "https://own.example", "access-control-allow-credentials": "true", "x-rate": "7" }).end("strict");
    });
    await new Promise<void>((done) => strict.listen(0, "127.0.0.1", done));
    const origin = `http://127.0.0.1:${(strict.address() as AddressInfo).port}`;
    const services = JSON.stringify([{ name: "strict", origin, receiver: addressOf(ROLE.receiver), priceAtomic: "1000" }]);
    world = await startTestWorld({ env: { RELAYER_SERVICES: services } });
    await world.chain.mintUSDC(world.chain.account(1).address, parseUnits("1", 6));
  });
  after(async () => {
    await world.stop();
    strict.closeAllConnections();
    strict.close();
  });

  const url = () => `${world.url}/s/strict/path`;
  const corsOf = (response: Response) => Object.fromEntries([...response.headers].filter(([name]) => name.startsWith("access-control-")));
  const READABLE = { "access-control-allow-origin": "*", "access-control-expose-headers": "PAYMENT-REQUIRED, PAYMENT-RESPONSE, Tallystick-Payment-Id, Retry-After, *" };

  it("may ask before they pay, for any method and header, and run nothing by it", async () => {
    const response = await fetch(url(), { method: "OPTIONS", headers: PREFLIGHT });
    expect([response.status, await response.text()]).to.deep.equal([204, ""]);
    expect(corsOf(response)).to.deep.equal({
      ...READABLE,
      "access-control-allow-methods": "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS",
      "access-control-allow-headers": "payment-signature,content-type",
      "access-control-max-age": "7200",
    });
    expect(response.headers.get("payment-required")).to.equal(null);
  });

  it("may read the terms of a 402, and a refusal", async () => {
    const unpaid = await fetch(url(), { headers: { origin: ORIGIN } });
    expect([unpaid.status, corsOf(unpaid)]).to.deep.equal([402, READABLE]);
    const malformed = await fetch(url(), { headers: { origin: ORIGIN, "payment-signature": "!" } });
    expect([malformed.status, corsOf(malformed)]).to.deep.equal([400, READABLE]);
    const unknown = await fetch(`${world.url}/api/v1/nothing`, { method: "OPTIONS", headers: PREFLIGHT });
    expect([unknown.status, corsOf(unknown)["access-control-allow-origin"]]).to.deep.equal([204, "*"]);
  });

  it("any other OPTIONS is a call, which costs: without one of a preflight's headers, or with a payment", async () => {
    for (const headers of [{}, { origin: ORIGIN }, { "access-control-request-method": "POST" }]) {
      const response = await fetch(url(), { method: "OPTIONS", headers: headers as Record<string, string> });
      expect([response.status, response.headers.has("payment-required")]).to.deep.equal([402, true]);
    }
    const buyer = manualBuyer(world.chain.account(1), url());
    const payment = await buyer.depositPayment(await buyer.terms(), 10_000n, 1_000n);
    const paid = await buyer.send(payment, { method: "OPTIONS", headers: PREFLIGHT });
    expect([paid.status, await paid.text(), paid.headers.has("payment-response")]).to.deep.equal([200, "strict", true]);
    expect([paid.headers.get("x-rate"), corsOf(paid)]).to.deep.equal(["7", READABLE]);
  });

  it("may not read what is for the operator", async () => {
    for (const path of ["/metrics", "/reference", "/readyz"]) {
      expect(corsOf(await fetch(`${world.url}${path}`, { headers: { origin: ORIGIN } })), path).to.deep.equal({});
      expect(corsOf(await fetch(`${world.url}${path}`, { method: "OPTIONS", headers: PREFLIGHT })), path).to.deep.equal({});
    }
  });
});
