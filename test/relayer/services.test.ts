// Owners list their own services: who may, what may be listed, and what a change does to buyers.
import { expect } from "chai";
import type { HDAccount } from "viem";
import { signIn } from "../../sdk/src/access.ts";
import { checkOrigin } from "../../relayer/src/capabilities/services/logic.ts";
import { isPublic } from "../../relayer/src/http/outbound.ts";
import { manualBuyer, requiredOf, settleOf, stockBuyer } from "../support/buyer.ts";
import { tallystick } from "../support/cli.ts";
import { addressOf, keyOf } from "../support/config.ts";
import { startTestWorld, type TestWorld } from "../support/relayer.ts";

const OWNER = 12;
const OTHER = 13;

describe("services", function () {
  this.timeout(120_000);
  let world: TestWorld;
  const tokens = new Map<number, string>();
  before(async () => {
    world = await startTestWorld();
    for (const index of [OWNER, OTHER]) tokens.set(index, (await signIn({ relayerUrl: world.url, account: world.chain.account(index) })).token);
  });
  after(() => world.stop());

  const ask = (method: string, path: string, body?: unknown, who: number | undefined = OWNER) =>
    fetch(`${world.url}/api/v1/services${path}`, {
      method,
      headers: { ...(who === undefined ? {} : { authorization: `Bearer ${tokens.get(who) ?? "none"}` }), ...(body === undefined ? {} : { "content-type": "application/json" }) },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
  const anonymous = (method: string, path: string, body?: unknown) => fetch(`${world.url}/api/v1/services${path}`, { method, ...(body === undefined ? {} : { headers: { "content-type": "application/json" }, body: JSON.stringify(body) }) });
  const said = async (asked: Response | Promise<Response>) => {
    const response = await asked;
    return [response.status, ((await response.json()) as { code: string }).code];
  };
  const listing = (name: string, change: Record<string, unknown> = {}) => ({ name, origin: world.provider.origin, price: "$0.002", description: "d", ...change });

  it("what is listed is public, is sold, and pays its owner", async () => {
    const listed = await ask("POST", "", listing("weather"));
    expect(listed.status).equal(201);
    const view = { name: "weather", url: `${world.relayer.deps.config.publicUrl}/s/weather`, selfHosted: false, priceAtomic: "2000", receiver: addressOf(OWNER), owner: addressOf(OWNER), stream: null };
    expect(await listed.json()).include(view);
    expect(await (await anonymous("GET", "/weather")).json()).include(view);
    const { services } = (await (await anonymous("GET", "")).json()) as { services: { name: string; owner: string | null }[] };
    expect(services.map(({ name, owner }) => [name, owner])).deep.equal([["echo", null], ["weather", addressOf(OWNER)]]);

    const buyer: HDAccount = world.chain.account(1);
    await world.chain.mintUSDC(buyer.address, 1_000_000n);
    const paid = await stockBuyer(buyer, world.chain.url).fetch(`${world.url}/s/weather/today`);
    expect([paid.status, settleOf(paid).extra.chargedAmount]).deep.equal([200, "2000"]);
    expect(((await paid.json()) as { url: string }).url).equal("/today");
  });

  it("the same again changes nothing; other terms, other owners and configured names are conflicts", async () => {
    expect((await ask("POST", "", listing("weather"))).status).equal(201);
    expect(await said(ask("POST", "", listing("weather", { price: "$0.003" })))).deep.equal([409, "service_exists"]);
    expect(await said(ask("POST", "", listing("weather"), OTHER))).deep.equal([409, "service_name_taken"]);
    expect(await said(ask("POST", "", listing("echo")))).deep.equal([409, "service_name_taken"]);
  });

  it("nobody but its owner changes or removes it, signed in or not", async () => {
    for (const [method, body] of [["PUT", listing("weather")], ["DELETE", undefined]] as const) {
      expect(await said(ask(method, "/weather", body, OTHER))).deep.equal([403, "service_not_yours"]);
      expect(await said(ask(method, "/echo", body && { ...body, name: "echo" }))).deep.equal([403, "service_not_yours"]);
      expect(await said(ask(method, "/nothing", body && { ...body, name: "nothing" }))).deep.equal([404, "service_unknown"]);
      expect(await said(anonymous(method, "/weather", body))).deep.equal([401, "access_required"]);
    }
    expect(await said(anonymous("POST", "", listing("free")))).deep.equal([401, "access_required"]);
  });

  it("a change of price is for the next 402; the channel of an earlier buyer goes on", async () => {
    const account = world.chain.account(2);
    await world.chain.mintUSDC(account.address, 1_000_000n);
    const buyer = stockBuyer(account, world.chain.url);
    const first = settleOf(await buyer.fetch(`${world.url}/s/weather/a`));
    expect((await ask("PUT", "/weather", listing("weather", { price: "$0.005" }))).status).equal(200);
    const second = settleOf(await buyer.fetch(`${world.url}/s/weather/b`));
    expect([first.extra.chargedAmount, second.extra.chargedAmount]).deep.equal(["2000", "5000"]);
    expect(second.extra.channelState["channelId"]).equal(first.extra.channelState["channelId"]);
    expect([second.extra.channelState["chargedCumulativeAmount"], second.transaction]).deep.equal(["7000", ""]);
  });

  it("a payment for the old price is refused with the new terms, and nothing is charged", async () => {
    const account = world.chain.account(3);
    await world.chain.mintUSDC(account.address, 1_000_000n);
    const url = `${world.url}/s/weather/`;
    const buyer = manualBuyer(account, url);
    const required = await buyer.terms();
    const payment = await buyer.depositPayment(required, 600_000n, 5_000n);
    expect((await ask("PUT", "/weather", listing("weather", { price: "$0.006" }))).status).equal(200);
    const refused = await buyer.send(payment);
    expect([refused.status, requiredOf(refused).accepts[0].amount]).deep.equal([402, "6000"]);
    const { rows } = await world.relayer.deps.db.query("SELECT count(*)::int AS n FROM channel WHERE payer = decode($1, 'hex')", [account.address.slice(2).toLowerCase()]);
    expect(rows[0].n).equal(0);
  });

  it("taken off sale it is gone for buyers, and its name stays its owner's", async () => {
    expect((await ask("POST", "", listing("brief"))).status).equal(201);
    expect((await ask("DELETE", "/brief")).status).equal(204);
    expect((await ask("DELETE", "/brief")).status, "twice is once").equal(204);
    expect((await fetch(`${world.url}/s/brief/`)).status).equal(404);
    expect(await said(anonymous("GET", "/brief"))).deep.equal([404, "service_unknown"]);
    expect(await said(ask("PUT", "/brief", listing("brief")))).deep.equal([404, "service_unknown"]);
    expect(await said(ask("POST", "", listing("brief"), OTHER))).deep.equal([409, "service_name_taken"]);
    expect((await ask("POST", "", listing("brief", { price: "$1" }))).status).equal(201);
    expect(((await (await anonymous("GET", "/brief")).json()) as { priceAtomic: string }).priceAtomic).equal("1000000");
  });

  it("two who list one name at once: one of them has it", async () => {
    const both = await Promise.all([OWNER, OTHER].map((who) => ask("POST", "", listing("race"), who)));
    expect(both.map(({ status }) => status).sort()).deep.equal([201, 409]);
  });

  const MISTAKES: [field: string, change: Record<string, unknown>][] = [
    ["name", { name: "Bad Name" }], ["name", { name: "" }], ["origin", { origin: "ftp://x.example" }], ["origin", { origin: "http://u:p@x.example" }], ["origin", { origin: "https://x.example/?q" }],
    ["origin", { origin: undefined }], ["origin", { url: "https://x.example" }], ["priceAtomic", { priceAtomic: "1" }], ["priceAtomic", { price: undefined }], ["price", { price: "0.01" }], ["price", { price: "$0" }],
    ["price", { price: "$0.0000001" }], ["priceAtomic", { price: undefined, priceAtomic: "0" }], ["receiver", { receiver: "0x1" }], ["withdrawDelayS", { withdrawDelayS: 899 }], ["owner", { owner: addressOf(1) }],
    ["streamPriceAtomic", { origin: undefined, url: "https://x.example", streamPriceAtomic: "1" }], ["description", { description: "x".repeat(501) }],
  ];
  for (const [field, change] of MISTAKES) {
    it(`a listing with ${JSON.stringify(change)} is malformed (${field})`, async () => {
      const response = await ask("POST", "", listing("good", change));
      expect(response.status).equal(400);
      expect((await anonymous("GET", "/good")).status).equal(404);
    });
  }

  it("a first deposit of another receiver's service goes to that receiver, who loses nothing by it", async () => {
    expect((await ask("POST", "", listing("cold", { receiver: addressOf(14) }))).status).equal(201);
    expect(requiredOf(await fetch(`${world.url}/s/cold/`)).accepts[0].payTo).equal(addressOf(14));
  });

  it("tallystick sell lists, changes, shows and removes", async () => {
    const run = (...args: string[]) => tallystick(["sell", ...args, "--json"], { env: { TALLYSTICK_PRIVATE_KEY: keyOf(OWNER), TALLYSTICK_RELAYER_URL: world.url } });
    const made = await run(world.provider.origin, "--name", "by-command", "--price", "0.001");
    expect([made.code, made.json["priceAtomic"], made.json["url"]], made.stderr).deep.equal([0, "1000", `${world.relayer.deps.config.publicUrl}/s/by-command`]);
    expect((await run(world.provider.origin, "--name", "by-command", "--price", "0.004")).json["priceAtomic"]).equal("4000");
    expect((await run("--list")).json["services"].map(({ name }: { name: string }) => name)).include("by-command");
    expect((await run("--remove", "--name", "by-command")).json).deep.include({ removed: "by-command" });
    expect((await run("--list")).json["services"].map(({ name }: { name: string }) => name)).not.include("by-command");
  });

  it("what its provider's own server sells is not to be had from the gateway, by no way of paying", async () => {
    expect((await ask("POST", "", { name: "own-server", url: "https://shop.example", price: "$0.001" })).status).equal(201);
    expect(await said(fetch(`${world.url}/s/own-server/`))).deep.equal([404, "service_self_hosted"]);
    const byTransfer = fetch(`${world.url}/api/pay/request`, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ providerId: "own-server", path: "/", method: "GET" }) });
    expect(await said(byTransfer)).deep.equal([404, "service_self_hosted"]);
  });

  describe("origins", () => {
    const rules = { allowPrivate: false, ownOrigin: "https://relayer.example", isPublic };
    for (const origin of ["http://127.0.0.1:3000", "http://[::1]", "http://10.1.2.3", "http://169.254.169.254/latest", "http://[::ffff:192.168.0.1]", "http://localhost:80", "http://db.internal", "http://printer.local", "http://2130706433", "http://0x7f.1", "https://relayer.example/s/x"]) {
      it(`${origin} is refused`, () => expect(() => checkOrigin(origin, rules)).throw().with.property("code", "origin_refused"));
    }
    for (const origin of ["https://api.example", "http://8.8.8.8:3000/v1", "https://localhost.example"]) it(`${origin} may be listed`, () => checkOrigin(origin, rules));
    it("private ones may where the relayer is for local use, itself never", () => {
      checkOrigin("http://127.0.0.1:3000", { ...rules, allowPrivate: true });
      expect(() => checkOrigin("https://relayer.example", { ...rules, allowPrivate: true })).throw().with.property("code", "origin_refused");
    });
    it("a relayer that forbids them refuses the listing", async () => {
      const { url } = await world.anotherRelayer({ RELAYER_OUTBOUND_ALLOW_PRIVATE: "false" });
      const response = await fetch(`${url}/api/v1/services`, { method: "POST", headers: { authorization: `Bearer ${tokens.get(OWNER)}`, "content-type": "application/json" }, body: JSON.stringify(listing("inside")) });
      expect(await said(response)).deep.equal([400, "origin_refused"]);
    });
  });

  it("the operator's configuration takes a name over", async () => {
    await ask("POST", "", listing("taken-over"), OTHER);
    const services = JSON.stringify([{ name: "taken-over", origin: world.provider.origin, receiver: addressOf(14), priceAtomic: "7" }]);
    await world.anotherRelayer({ RELAYER_SERVICES: services });
    expect(await (await anonymous("GET", "/taken-over")).json()).include({ owner: null, receiver: addressOf(14), priceAtomic: "7" });
    expect(await said(ask("PUT", "/taken-over", listing("taken-over"), OTHER))).deep.equal([403, "service_not_yours"]);
  });
});
