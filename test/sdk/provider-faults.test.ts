// What a provider's own server does when the relayer, the provider or the time fails: nobody pays for nothing, and an outage is never a 402.
import { expect } from "chai";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createServer, request as httpRequest, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { parseUnits, type HDAccount, type Hex } from "viem";
import { sweep } from "../../relayer/src/capabilities/ledger/service.ts";
import { manualBuyer, settleOf, stockBuyer } from "../support/buyer.ts";
import { startTestWorld, type TestWorld } from "../support/relayer.ts";
import { startShop, type Shop } from "../support/shop.ts";

const OWNER = 12;

/** Between provider and relayer. `fault` decides on each request: pass it, answer nothing at all, or pass it and lose the answer. */
async function startLink(to: string): Promise<{ url: string; fault: { next: (path: string) => "pass" | "drop" | "lose" }; stop(): Promise<void> }> {
  const fault = { next: (_path: string): "pass" | "drop" | "lose" => "pass" };
  const { hostname, port } = new URL(to);
  const server: Server = createServer((request, response) => {
    const how = fault.next(request.url!);
    if (how === "drop") return void request.socket.destroy();
    const passed = httpRequest({ host: hostname, port, path: request.url, method: request.method, headers: request.headers }, (answer) => {
      if (how === "lose") return void answer.resume().once("end", () => request.socket.destroy());
      response.writeHead(answer.statusCode!, answer.headers);
      answer.pipe(response);
    });
    passed.on("error", () => request.socket.destroy());
    request.pipe(passed);
  });
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  return {
    fault, url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    stop: () => new Promise((done) => {
      server.closeAllConnections();
      server.close(() => done());
    }),
  };
}

describe("a provider's own server, when things fail", function () {
  this.timeout(240_000);
  let world: TestWorld;
  let link: Awaited<ReturnType<typeof startLink>>;
  let shop: Shop;
  let next = 20;
  before(async () => {
    world = await startTestWorld({ sweepsByHand: true });
    link = await startLink(world.url);
    // Signing in checks where it is asked to sign in, so it goes straight to the relayer; what follows takes the link.
    const lossy: typeof fetch = (input, init) => fetch(String(input).includes("/access/") ? input : String(input).replace(world.url, link.url), init);
    shop = await startShop(world.url, world.chain.account(OWNER), { fetch: lossy, list: { price: "$0.001", handlerTimeoutMs: 1_000 } });
  });
  after(async () => {
    await shop?.stop();
    await link?.stop();
    await world?.stop();
  });
  afterEach(() => void (link.fault.next = () => "pass"));

  const funded = async (): Promise<HDAccount> => {
    const account = world.chain.account(next++);
    await world.chain.mintUSDC(account.address, parseUnits("5", 6));
    return account;
  };
  const channelOf = async (payer: Hex) => (await world.relayer.deps.db.query("SELECT charged, reserved, request_count FROM channel WHERE payer = $1", [Buffer.from(payer.slice(2), "hex")])).rows[0];
  const codeOf = async (response: Response) => [response.status, ((await response.json()) as { code: string }).code];
  const paid = async (path: string) => {
    const account = await funded();
    const hand = manualBuyer(account, shop.url + path);
    return { account, hand, payment: await hand.depositPayment(await hand.terms(), parseUnits("1", 6), 1_000n) };
  };

  it("the relayer cannot be reached: 503 for everybody, paid or not, nothing runs, free routes go on", async () => {
    const { hand, payment } = await paid("/quote");
    link.fault.next = () => "drop";
    const runs = shop.runs["quote"];
    const unpaid = await fetch(`${shop.url}/quote`);
    expect([unpaid.headers.get("retry-after"), ...(await codeOf(unpaid))]).deep.equal(["2", 503, "payments_unavailable"]);
    expect(await codeOf(await hand.send(payment))).deep.equal([503, "payments_unavailable"]);
    expect([shop.runs["quote"], (await fetch(`${shop.url}/free`)).status]).deep.equal([runs, 200]);
    link.fault.next = () => "pass";
    expect((await hand.send(payment)).status).equal(200);
  });

  it("a take whose answer is lost is repeated and counts once", async () => {
    const { hand, payment, account } = await paid("/quote");
    let lost = 0;
    link.fault.next = (path) => (path === "/api/v1/sales" && lost++ === 0 ? "lose" : "pass");
    expect((await hand.send(payment)).status).equal(200);
    expect([lost > 1, await channelOf(account.address)]).deep.equal([true, { charged: 1_000n, reserved: 0n, request_count: 1n }]);
  });

  it("a charge whose answer is lost is repeated and charges once", async () => {
    const { hand, payment, account } = await paid("/quote");
    let lost = 0;
    link.fault.next = (path) => (path.endsWith("/charge") && lost++ === 0 ? "lose" : "pass");
    const response = await hand.send(payment);
    expect([response.status, settleOf(response).extra.chargedAmount, lost > 1]).deep.equal([200, "1000", true]);
    expect(await channelOf(account.address)).deep.equal({ charged: 1_000n, reserved: 0n, request_count: 1n });
  });

  it("the relayer goes away between take and charge: nothing of the answer leaves; whatever it was, the same payment finds out", async () => {
    for (const how of ["drop", "lose"] as const) {
      const { hand, payment, account } = await paid("/quote");
      link.fault.next = (path) => (path.endsWith("/charge") ? how : "pass");
      const response = await hand.send(payment);
      const text = await response.text();
      expect([response.status, (JSON.parse(text) as { code: string }).code, response.headers.has("payment-response")], how).deep.equal([503, "payments_unavailable", false]);
      expect(text).not.include("run");
      link.fault.next = () => "pass";
      const runs = shop.runs["quote"]!;
      if (how === "drop") {
        // Not charged: the reservation runs out, then the payment is taken anew.
        await world.relayer.deps.db.query("UPDATE payment SET reserved_until = now() - interval '1 second' WHERE payer = $1 AND state = 'reserved'", [Buffer.from(account.address.slice(2), "hex")]);
        await sweep(world.relayer.deps);
      }
      const again = await hand.send(payment);
      expect([again.status, settleOf(again).extra.chargedAmount, shop.runs["quote"]! - runs], how).deep.equal([200, "1000", how === "drop" ? 1 : 0]);
      expect(await channelOf(account.address), how).deep.equal({ charged: 1_000n, reserved: 0n, request_count: 1n });
    }
  });

  it("a handler that outlasts its lease is not paid, and its answer stays here", async () => {
    const { hand, payment, account } = await paid("/slow/1500");
    const slow = hand.send(payment);
    while ((await channelOf(account.address))?.reserved !== 1_000n) await sleep(20);
    await world.relayer.deps.db.query("UPDATE payment SET reserved_until = now() - interval '1 second' WHERE payer = $1 AND state = 'reserved'", [Buffer.from(account.address.slice(2), "hex")]);
    await sweep(world.relayer.deps);
    expect(await codeOf(await slow)).deep.equal([503, "reservation_expired"]);
    expect(await channelOf(account.address)).deep.equal({ charged: 0n, reserved: 0n, request_count: 0n });
  });

  it("a provider that is killed between take and charge: its buyer is charged nothing, and buys from its successor", async () => {
    const at = (path: string) => JSON.stringify(new URL(path, import.meta.url).href);
    const script = `import { mnemonicToAccount } from "viem/accounts";
      import { LOCAL_MNEMONIC } from ${at("../../scripts/local/chain.ts")};
      import { startShop } from ${at("../support/shop.ts")};
      process.stdout.write((await startShop(${JSON.stringify(world.url)}, mnemonicToAccount(LOCAL_MNEMONIC, { addressIndex: ${OWNER} }), { service: "doomed" })).url);`;
    const doomed = spawn(process.execPath, ["--input-type=module", "--eval", script], { cwd: fileURLToPath(new URL("../../", import.meta.url)), stdio: ["ignore", "pipe", "inherit"] });
    const [url] = (await once(doomed.stdout!, "data")).map(String);
    const account = await funded();
    const hand = manualBuyer(account, `${url}/slow/60000`);
    const buying = hand.send(await hand.depositPayment(await hand.terms(), parseUnits("1", 6), 1_000n)).then(() => "answered", () => "broken");
    while ((await channelOf(account.address))?.reserved !== 1_000n) await sleep(20);
    doomed.kill("SIGKILL");
    expect(await buying).equal("broken");
    // The lease runs out: time is moved, not waited for.
    await world.relayer.deps.db.query("UPDATE payment SET reserved_until = now() - interval '1 second' WHERE payer = $1 AND state = 'reserved'", [Buffer.from(account.address.slice(2), "hex")]);
    await sweep(world.relayer.deps);
    expect(await channelOf(account.address)).deep.equal({ charged: 0n, reserved: 0n, request_count: 0n });
    const bought = await stockBuyer(account, world.chain.url).fetch(`${shop.url}/quote`);
    expect([bought.status, settleOf(bought).extra.chargedAmount]).deep.equal([200, "1000"]);
  });

  it("starts although the relayer is away, and lists its service when that is back", async () => {
    let away = true;
    const flaky: typeof fetch = (input, init) => (away ? Promise.reject(new TypeError("away")) : fetch(input, init));
    const early = await startShop(world.url, world.chain.account(OWNER), { service: "early", fetch: flaky });
    try {
      expect((await fetch(`${early.url}/quote`)).status).equal(503);
      away = false;
      const listed = async () => (await fetch(`${world.url}/api/v1/services/early`)).status;
      for (let tries = 0; (await listed()) !== 200; tries++) {
        if (tries > 200) throw new Error("not listed after 20 s");
        await sleep(100);
      }
      expect((await fetch(`${early.url}/quote`)).status).equal(402);
    } finally {
      await early.stop();
    }
  });
});
