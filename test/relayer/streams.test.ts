// Streams step by step: what is charged, when it leaves, and who may pay on. The upstream is driven by hand, so that the order is proven.
import { expect } from "chai";
import { receiptSigner, outputHash, type SignedReceipt } from "../../sdk/src/receipt.ts";
import { sessionChannelsAbi } from "../../sdk/src/abi/session-channels.ts";
import { SESSION_CHANNELS } from "../../sdk/src/constants.ts";
import { settleOf } from "../support/buyer.ts";
import { dataOf, eventsOf, freshId, idIn, openedChannel, PRICE, startStreamWorld, UNIT, until, type StreamWorld } from "../support/stream-world.ts";

type Final = { paymentId: string; charged: string; cumulative: string; reason: string; receipt?: SignedReceipt };
const event = (text: string) => `data: ${text}\n\n`;
const codeOf = async (response: Response) => [response.status, ((await response.json()) as { code: string }).code];

describe("streams", function () {
  this.timeout(180_000);
  let streams: StreamWorld;
  let paths = 0;
  const fresh = (kind = "sse") => `/${++paths}.${kind}`;
  const payment = async (id: string) => (await streams.world.relayer.deps.db.query("SELECT * FROM payment WHERE payment_id = $1", [id])).rows[0] as { state: string; charged_atomic: bigint | null; release_reason: string | null };

  before(async () => {
    streams = await startStreamWorld();
  });
  after(() => streams.stop());

  it("metered: announces it, passes an event while the upstream still writes, and charges exactly what passed", async () => {
    const { ask, charged, state, terms, channelId } = await openedChannel(streams);
    expect((terms.accepts[0].extra["tallystick"] as { stream: object }).stream).to.deep.equal({ unit: "token", pricePerUnit: "10" });
    const path = fresh();
    const [response, upstream] = await Promise.all([ask(path, 2n * PRICE), streams.upstream.next(path)]);
    expect([response.status, response.headers.get("content-type"), response.headers.get("tallystick-stream")]).to.deep.equal([200, "text/event-stream", "metered"]);
    expect(settleOf(response).extra.chargedAmount).to.equal("0");
    const events = eventsOf(response);
    const raw: Uint8Array[] = [];
    for (const [index, text] of [event("one"), `tallystick-units: 3\n${event("three")}`, ": alive\n\n"].entries()) {
      upstream.write(text);
      const passed = (await events.next())!; // the upstream waits for us: nothing is buffered
      expect(new TextDecoder().decode(passed.raw)).to.equal(text);
      expect(await charged(), "committed before it left").to.equal([1n, 4n, 4n][index]! * UNIT);
      raw.push(passed.raw);
    }
    upstream.end();
    const [last] = await events.rest();
    expect(last!.event).to.equal("tallystick-final");
    const final = dataOf<Final>(last);
    expect(final).to.include({ paymentId: idIn(response), charged: "40", cumulative: String(PRICE + 40n), reason: "complete" });
    expect(final.receipt!.payload).to.include({ amount: "40", cumulative: String(PRICE + 40n), outputHash: outputHash({ status: 200, contentType: "text/event-stream", body: Buffer.concat(raw) }) });
    expect(await receiptSigner(final.receipt!)).to.equal(streams.world.relayer.deps.keyring.active);
    expect(await charged()).to.equal(40n);
    expect((await state()).reserved, "the rest of the reservation is free again").to.equal(0n);

    expect(await streams.world.relayer.settlement.flush()).to.equal(true);
    const [, onChain] = await streams.world.chain.client.readContract({ address: SESSION_CHANNELS, abi: sessionChannelsAbi, functionName: "channels", args: [channelId] });
    expect(onChain, "claimed on chain").to.equal(PRICE + 40n);
  });

  it("the same payment fetches a finished stream again, without a charge; during it, it is told to wait", async () => {
    const { ask, charged, buyer, terms, url } = await openedChannel(streams);
    const path = fresh();
    const paying = await buyer.voucherPayment(terms, 2n * PRICE);
    const [response, upstream] = await Promise.all([ask(path, 0n, { payment: paying }), streams.upstream.next(path)]);
    upstream.write(event("once"));
    const events = eventsOf(response);
    await events.next();
    expect(await codeOf(await buyer.send(paying, {}, url(path)))).to.deep.equal([503, "payment_in_progress"]);
    upstream.end();
    await events.rest();
    const again = await buyer.send(paying, {}, url(path));
    expect([again.status, await again.text(), settleOf(again).extra.chargedAmount]).to.deep.equal([200, event("once"), "10"]);
    expect(await charged()).to.equal(UNIT);
  });

  for (const point of ["payment_by_voucher", "stream_state", "payment_find", "answer_find"]) {
    it(`one that ends while its payment is looked up (after ${point}) is told whole, or as under way`, async () => {
      const { ask, charged, buyer, terms, url } = await openedChannel(streams);
      const path = fresh();
      const paying = await buyer.voucherPayment(terms, 2n * PRICE);
      const [response, upstream] = await Promise.all([ask(path, 0n, { payment: paying }), streams.upstream.next(path)]);
      upstream.write(event("first"));
      const events = eventsOf(response);
      await events.next();
      const { db } = streams.world.relayer.deps;
      const query = db.query.bind(db) as (config: { name?: string }) => Promise<unknown>;
      let ended = false;
      const finish = async () => {
        ended = true;
        upstream.write(event("second"));
        upstream.end();
        await events.rest();
      };
      Object.assign(db, {
        async query(config: { name?: string }, ...more: []) {
          const answered = await query(config, ...more);
          if (config.name === point && !ended) await finish();
          return answered;
        },
      });
      const told = await buyer.send(paying, {}, url(path)).finally(() => Object.assign(db, { query }));
      // Nobody asks for the answer of a stream that is open.
      expect(ended, "it is looked up so").to.equal(point !== "answer_find");
      if (told.status === 503) expect((await codeOf(told))[1]).to.equal("payment_in_progress");
      else expect([told.status, await told.clone().text(), settleOf(told).extra.chargedAmount]).to.deep.equal([200, event("first") + event("second"), "20"]);
      if (!ended) await finish();
      const again = await buyer.send(paying, {}, url(path));
      expect([again.status, settleOf(again).extra.chargedAmount, await charged()]).to.deep.equal([200, "20", 2n * UNIT]);
    });
  }

  it("stops when the money does: asks for a voucher, goes on with one, ends without", async () => {
    const { ask, voucher, charged, state } = await openedChannel(streams);
    const path = fresh();
    const [response, upstream] = await Promise.all([ask(path, 2n * PRICE), streams.upstream.next(path)]);
    const events = eventsOf(response);
    const id = idIn(response);
    upstream.write(`tallystick-units: 99\n${event("most")}${event("last")}${event("too much")}`);
    expect([(await events.next())!.data, (await events.next())!.data]).to.deep.equal(["most", "last"]);
    const need = (await events.next())!;
    expect([need.event, dataOf(need)]).to.deep.equal(["tallystick-need-voucher", { paymentId: id, charged: "1000", allowance: "1000", needed: "10" }]);
    const added = await voucher(id, 2n * PRICE + UNIT);
    expect([added.status, await added.json()]).to.deep.equal([200, { paymentId: id, charged: "1000", allowance: "1010" }]);
    const repeated = await voucher(id, 2n * PRICE + UNIT);
    expect(repeated.status, "sent twice, counted once").to.equal(200);
    expect((await events.next())!.data).to.equal("too much");
    upstream.write(event("unpaid"));
    const rest = await events.rest();
    expect(rest.map((one) => one.event)).to.deep.equal(["tallystick-need-voucher", "tallystick-final"]);
    expect(dataOf<Final>(rest.at(-1))).to.include({ charged: "1010", reason: "money" });
    await upstream.closed;
    expect([await charged(), (await state()).reserved]).to.deep.equal([1010n, 0n]);
    expect(await codeOf(await voucher(id, 4n * PRICE)), "over").to.deep.equal([409, "stream_ended"]);
  });

  it("takes a voucher at another process than the one that streams", async () => {
    const other = await streams.world.anotherRelayer();
    const { ask, voucher, charged } = await openedChannel(streams);
    const path = fresh();
    const [response, upstream] = await Promise.all([ask(path, 2n * PRICE), streams.upstream.next(path)]);
    const events = eventsOf(response);
    upstream.write(`tallystick-units: 150\n${event("dear")}`);
    expect((await events.next())!.event).to.equal("tallystick-need-voucher");
    expect((await voucher(idIn(response), 3n * PRICE, { origin: other.url, amount: 500n })).status).to.equal(200);
    expect((await events.next())!.data).to.equal("dear");
    upstream.end();
    expect(dataOf<Final>((await events.rest()).at(-1))).to.include({ charged: "1500", reason: "complete" });
    expect(await charged()).to.equal(1500n);
  });

  it("refuses vouchers that do not do, and says what would", async () => {
    const { ask, voucher, buyer, channelId, charged } = await openedChannel(streams, 10n * PRICE);
    const path = fresh();
    const [response, upstream] = await Promise.all([ask(path, 2n * PRICE), streams.upstream.next(path)]);
    const id = idIn(response);
    const other = await buyer.voucher(channelId, 9n * PRICE);
    for (const [ceiling, more, status, code] of [
      [3n * PRICE, { signature: other.signature }, 402, "voucher_signature_invalid"],
      [3n * PRICE, { signature: `0x${"00".repeat(65)}` as const }, 402, "voucher_signature_invalid"],
      [2n * PRICE, {}, 402, "voucher_ceiling_mismatch"],
      [PRICE, {}, 402, "voucher_ceiling_mismatch"],
      [3n * PRICE, { amount: PRICE + 1n }, 402, "voucher_ceiling_mismatch"],
      [11n * PRICE, {}, 402, "voucher_ceiling_above_balance"],
    ] as const) {
      const refused = await voucher(id, ceiling, more);
      const problem = (await refused.json()) as { code: string; needed?: string };
      expect([refused.status, problem.code], `${ceiling}`).to.deep.equal([status, code]);
    }
    expect(await codeOf(await voucher(freshId(), 3n * PRICE))).to.deep.equal([404, "stream_unknown"]);
    const bad = await fetch(`${streams.world.url}/api/v1/streams/${id}/vouchers`, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ maxClaimableAmount: "1e3", signature: "0x" }) });
    expect(bad.status).to.equal(400);
    const { rows } = await streams.world.relayer.deps.db.query<{ code: string; moved_atomic: bigint }>("SELECT code, moved_atomic FROM audit WHERE payment_id = $1", [id]);
    expect(new Set(rows.map((row) => row.code))).to.deep.equal(new Set(["voucher_ceiling_mismatch", "voucher_ceiling_above_balance"]));
    upstream.end();
    await eventsOf(response).rest();
    expect(await charged(), "nothing passed, nothing is charged").to.equal(0n);
  });

  it("the upstream breaks off: the delivered steps are charged, nothing else; before the first step, nothing", async () => {
    const { ask, charged, state } = await openedChannel(streams);
    const path = fresh();
    const [response, upstream] = await Promise.all([ask(path, 2n * PRICE), streams.upstream.next(path)]);
    const events = eventsOf(response);
    upstream.write(`${event("a")}${event("b")}data: half`);
    await events.next();
    await events.next();
    upstream.break();
    expect(dataOf<Final>((await events.rest()).at(-1))).to.include({ charged: "20", reason: "upstream_broken" });
    expect([await charged(), (await state()).reserved]).to.deep.equal([20n, 0n]);

    const second = fresh();
    const [empty, dead] = await Promise.all([ask(second, 2n * PRICE + 500n), streams.upstream.next(second)]);
    dead.break();
    expect(dataOf<Final>((await eventsOf(empty).rest()).at(-1))).to.include({ charged: "0", reason: "upstream_broken" });
    expect(await payment(idIn(empty))).to.include({ state: "released", release_reason: "upstream_broken" });
    expect((await state()).reserved).to.equal(0n);
  });

  it("an upstream that forges our events or its units is cut off", async () => {
    const { ask, charged } = await openedChannel(streams);
    for (const [index, forged] of ["event: tallystick-final\ndata: {}\n\n", `tallystick-units: 10001\n${event("x")}`, `tallystick-units: many\n${event("x")}`].entries()) {
      const path = fresh();
      const [response, upstream] = await Promise.all([ask(path, 3n * PRICE + BigInt(index)), streams.upstream.next(path)]);
      upstream.write(event("good") + forged);
      const events = await eventsOf(response).rest();
      expect(events.map((one) => one.event)).to.deep.equal(["message", "tallystick-final"]);
      expect(dataOf<Final>(events.at(-1))).to.include({ charged: "10", reason: "upstream_broken" });
    }
    expect(await charged()).to.equal(30n);
  });

  it("the buyer leaves: the upstream is stopped, what had passed is charged and can be fetched", async () => {
    const { ask, charged, state, buyer, terms, url } = await openedChannel(streams);
    const path = fresh();
    const paying = await buyer.voucherPayment(terms, 2n * PRICE);
    const leaving = new AbortController();
    const [response, upstream] = await Promise.all([ask(path, 0n, { payment: paying, signal: leaving.signal }), streams.upstream.next(path)]);
    upstream.write(event("seen"));
    await eventsOf(response).next();
    leaving.abort();
    await upstream.closed;
    await until("the end", async () => (await state()).reserved === 0n);
    expect(await charged()).to.equal(UNIT);
    expect(await (await buyer.send(paying, {}, url(path))).text()).to.equal(event("seen"));
  });

  it("an answer that is no event stream is an ordinary call; a service without a unit price says so first", async () => {
    const { ask, charged } = await openedChannel(streams);
    const plain = await ask("/plain", 2n * PRICE);
    expect([await plain.text(), settleOf(plain).extra.chargedAmount]).to.deep.equal(["plain /plain", "1000"]);
    expect(await codeOf(await ask("/x.sse", 3n * PRICE, { service: "whole" }))).to.deep.equal([400, "stream_not_metered"]);
    expect(await charged()).to.equal(PRICE);
  });

  it("twenty streams on one channel, vouchers for each: every unit is charged once", async () => {
    const { ask, voucher, charged, state } = await openedChannel(streams);
    const all = await Promise.all(
      Array.from({ length: 20 }, async (_, index) => {
        const path = fresh();
        // Headroom for all of them: the ledger takes each price out of it.
        const [response, upstream] = await Promise.all([ask(path, PRICE + 20n * PRICE + BigInt(index)), streams.upstream.next(path)]);
        expect(response.status).to.equal(200);
        return { response, upstream, events: eventsOf(response), id: idIn(response), index };
      }),
    );
    expect((await state()).reserved).to.equal(20n * PRICE);
    const finals = await Promise.all(
      all.map(async ({ upstream, events, id, index }) => {
        upstream.write(`tallystick-units: 90\n${event("much")}`);
        await events.next();
        // Every stream wants 500 more of the same rising ceiling, all at once.
        const added = await voucher(id, PRICE + 20n * PRICE + 20n * 500n + BigInt(index), { amount: 500n });
        expect(added.status, await added.text()).to.equal(200);
        upstream.write(`tallystick-units: ${10 + index}\n${event("more")}`);
        await events.next();
        upstream.end();
        return dataOf<Final>((await events.rest()).at(-1));
      }),
    );
    expect(finals.map(({ charged: amount }) => BigInt(amount))).to.deep.equal(all.map(({ index }) => (100n + BigInt(index)) * UNIT));
    expect([await charged(), (await state()).reserved]).to.deep.equal([(20n * 100n + 190n) * UNIT, 0n]);
  });
});
