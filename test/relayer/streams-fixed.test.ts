// Streams at the price of a call, by the unmodified stock client and by hand; and relayers that stop or are killed under a stream.
import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { expect } from "chai";
import { endStream, MAX_RUNS } from "../../relayer/src/capabilities/streams/service.ts";
import { childEnvironment, freePort } from "../../scripts/local/process.ts";
import { settleOf, stockBuyer } from "../support/buyer.ts";
import { testEnvironment } from "../support/config.ts";
import { dataOf, eventsOf, idIn, openedChannel, PRICE, startStreamWorld, until, type StreamWorld } from "../support/stream-world.ts";

const event = (text: string) => `data: ${text}\n\n`;
type Final = { charged: string; reason: string };

describe("streams at a fixed price", function () {
  this.timeout(180_000);
  let streams: StreamWorld;
  let paths = 0;
  const children: ChildProcess[] = [];
  const fresh = (kind = "sse") => `/${++paths}.${kind}`;

  before(async () => {
    streams = await startStreamWorld();
  });
  after(async () => {
    for (const child of children) child.kill("SIGKILL");
    await streams.stop();
  });

  for (const kind of ["sse", "chunked"]) {
    it(`stock client, ${kind}: charged before the first byte, which leaves while the upstream still writes; bytes pass untouched`, async () => {
      const { fetch: pay } = stockBuyer(streams.world.chain.account(1), streams.world.chain.url);
      const path = fresh(kind);
      const url = `${streams.world.url}/s/whole${path}`;
      const [response, upstream] = await Promise.all([pay(url), streams.upstream.next(path)]);
      const id = idIn(response);
      const { rows } = await streams.world.relayer.deps.db.query("SELECT state, charged_atomic FROM payment WHERE payment_id = $1", [id]);
      expect(rows[0], "before any byte of the body was written").to.deep.equal({ state: "charged", charged_atomic: PRICE });
      expect(settleOf(response).extra.chargedAmount).to.equal("1000");
      const reader = response.body!.getReader();
      const first = `${event("first")}data: ha`;
      upstream.write(first);
      expect(new TextDecoder().decode((await reader.read()).value)).to.equal(first);
      upstream.write("lf\n\n");
      upstream.end();
      expect(new TextDecoder().decode((await reader.read()).value)).to.equal("lf\n\n");
      expect((await reader.read()).done).to.equal(true);
      const receipt = await streams.world.relayer.deps.db.query("SELECT output_hash, ended_at FROM payment WHERE payment_id = $1", [id]);
      expect(receipt.rows[0]).to.not.include({ output_hash: null });
      // The next call of the same client goes on where this one ended.
      const ordinary = await pay(`${streams.world.url}/s/whole/plain`);
      expect([ordinary.status, settleOf(ordinary).extra.chargedAmount]).to.deep.equal([200, "1000"]);
    });
  }

  it("a stream that breaks off is never taken for whole, and the same payment gets it from the start, charged once", async () => {
    const { buyer, terms, url, ask, charged } = await openedChannel(streams);
    const path = fresh();
    const paying = await buyer.voucherPayment(terms, 2n * PRICE);
    const again = () => Promise.all([ask(path, 0n, { payment: paying, metered: false }), streams.upstream.next(path)]);
    const [response, upstream] = await again();
    upstream.write(event("a"));
    const events = eventsOf(response);
    expect((await events.next())!.data).to.equal("a");
    upstream.break();
    expect(await events.rest().then(() => "whole", () => "broken")).to.equal("broken");
    await until("the break in the ledger", async () => (await state(idIn(response))) === "upstream_broken");
    expect(await charged()).to.equal(PRICE);

    const [second, healthy] = await again();
    expect(idIn(second)).to.equal(idIn(response));
    healthy.write(event("a") + event("b"));
    healthy.end();
    expect(await second.text()).to.equal(event("a") + event("b"));
    expect(await (await buyer.send(paying, {}, url(path))).text(), "and once more, stored").to.equal(event("a") + event("b"));
    expect(await charged()).to.equal(PRICE);
    const { rows } = await streams.world.relayer.deps.db.query("SELECT code FROM audit WHERE payment_id = $1", [idIn(response)]);
    expect(rows).to.deep.equal([{ code: "stream_upstream_broken" }]);
  });

  it("an upstream that never gets through runs a bounded number of times; what the last run gave is kept", async () => {
    const { buyer, terms, ask, charged } = await openedChannel(streams);
    const path = fresh();
    const paying = await buyer.voucherPayment(terms, 2n * PRICE);
    let id = "";
    for (let run = 1; run <= MAX_RUNS; run++) {
      const [response, upstream] = await Promise.all([ask(path, 0n, { payment: paying, metered: false }), streams.upstream.next(path)]);
      id = idIn(response);
      upstream.write(event(`run ${run}`));
      const events = eventsOf(response);
      await events.next();
      upstream.break();
      await events.rest().catch(() => {});
      await until("the break in the ledger", async () => (await state(id)) === "upstream_broken");
    }
    expect(await (await ask(path, 0n, { payment: paying, metered: false })).text()).to.equal(event(`run ${MAX_RUNS}`));
    expect(await charged()).to.equal(PRICE);
  });

  it("a buyer that leaves can fetch the whole of what it paid for", async () => {
    const { buyer, terms, url, ask, charged } = await openedChannel(streams);
    const path = fresh();
    const paying = await buyer.voucherPayment(terms, 2n * PRICE);
    const leaving = new AbortController();
    const [response, upstream] = await Promise.all([ask(path, 0n, { payment: paying, metered: false, signal: leaving.signal }), streams.upstream.next(path)]);
    upstream.write(event("a"));
    await eventsOf(response).next();
    leaving.abort();
    upstream.write(event("b"));
    upstream.end();
    await until("the end in the ledger", async () => (await state(idIn(response))) === "complete");
    expect(await (await buyer.send(paying, {}, url(path))).text()).to.equal(event("a") + event("b"));
    expect(await charged()).to.equal(PRICE);
  });

  it("a relayer that is told to stop ends its streams and stops; another one delivers what was committed", async () => {
    const leaving = await streams.world.anotherRelayer();
    const { buyer, terms, url, ask, charged, state: channel } = await openedChannel(streams);
    const path = fresh();
    const paying = await buyer.voucherPayment(terms, 2n * PRICE);
    const [response, upstream] = await Promise.all([ask(path, 0n, { payment: paying, origin: leaving.url }), streams.upstream.next(path)]);
    upstream.write(event("a"));
    const events = eventsOf(response);
    await events.next();
    const [rest] = await Promise.all([events.rest(), leaving.relayer.app.close()]);
    expect(dataOf<Final>(rest.at(-1))).to.include({ charged: "10", reason: "relayer_lost" });
    expect([await charged(), (await channel()).reserved]).to.deep.equal([10n, 0n]);
    expect(await (await buyer.send(paying, {}, url(path))).text()).to.equal(event("a"));
  });

  it("a relayer killed outright under a metered stream: what was committed is charged and can be fetched, the rest is given back", async () => {
    const { buyer, terms, url, ask, charged, state: channel } = await openedChannel(streams);
    const { config } = streams.world.relayer.deps;
    const port = await freePort();
    const env = testEnvironment(config.databaseUrl, streams.world.chain.url, [], { RELAYER_SERVICES: streams.services, RELAYER_PORT: String(port) });
    const child = spawn(process.execPath, ["relayer/src/main.ts"], { env: childEnvironment(env), stdio: "inherit" });
    children.push(child);
    const origin = `http://127.0.0.1:${port}`;
    await until("the relayer's start", async () => fetch(`${origin}/readyz`).then(({ status }) => status === 200, () => false));
    const path = fresh();
    const paying = await buyer.voucherPayment(terms, 2n * PRICE);
    const [response, upstream] = await Promise.all([ask(path, 0n, { payment: paying, origin }), streams.upstream.next(path)]);
    const id = idIn(response);
    upstream.write(event("a") + event("b"));
    const events = eventsOf(response);
    await events.next();
    const dead = once(child, "exit");
    child.kill("SIGKILL");
    await dead;
    expect(await events.rest().then((all) => all.some((one) => one.event === "tallystick-final"), () => false)).to.equal(false);
    const before = await charged();
    expect([before, (await channel()).reserved]).to.deep.equal([20n, PRICE - 20n]);
    // The lease would run out by itself; the sweeper of the other process then does exactly this.
    await endStream(streams.world.relayer.deps, id, "relayer_lost");
    expect([await charged(), (await channel()).reserved]).to.deep.equal([20n, 0n]);
    const fetched = await buyer.send(paying, {}, url(path));
    expect([await fetched.text(), settleOf(fetched).extra.chargedAmount]).to.deep.equal([event("a") + event("b"), "20"]);
    const next = await buyer.send(await buyer.voucherPayment(await buyer.terms(), PRICE + 20n + PRICE), {}, url("/plain"));
    expect(next.status, await next.text()).to.equal(200);
  });

  async function state(id: string): Promise<string> {
    const { rows } = await streams.world.relayer.deps.db.query<{ state: string }>("SELECT state FROM stream WHERE payment_id = $1", [id]);
    return rows[0]!.state;
  }
});
