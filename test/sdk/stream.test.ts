// The agent's metered streams: against a real relayer, and against sellers that lie.
import { expect } from "chai";
import { pad, toHex } from "viem";
import { createAgent, type Agent, type AgentOptions } from "../../sdk/src/agent/agent.ts";
import { paidStream, type StreamPayer } from "../../sdk/src/agent/stream.ts";
import { SseSplitter, writeEvent, type SseEvent } from "../../sdk/src/sse.ts";
import { TallystickError } from "../../sdk/src/errors.ts";
import fc from "fast-check";
import { listChannels, PRICE, startStreamWorld, UNIT, until, type StreamWorld } from "../support/stream-world.ts";

const event = (text: string) => `data: ${text}\n\n`;
const codeOf = (promise: Promise<unknown>) => promise.then(() => "fine", (error: unknown) => (error instanceof TallystickError ? error.code : String(error)));

describe("event stream splitting", () => {
  it("gives the same events and every byte, however the bytes are cut and lines end", () => {
    const line = fc.constantFrom("data: x", "data:", ": comment", "event: e", "tallystick-units: 7", "id: 1", "data: ü€");
    const block = fc.array(line, { minLength: 1, maxLength: 4 });
    fc.assert(
      fc.property(fc.array(block, { maxLength: 6 }), fc.constantFrom("\n", "\r\n", "\r"), fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 1 }), (blocks, end, cuts) => {
        const bytes = new TextEncoder().encode(blocks.map((lines) => lines.map((text) => text + end).join("") + end).join("") + ": end");
        const whole = new SseSplitter().push(bytes);
        const cut = new SseSplitter();
        const pieces: SseEvent[] = [];
        for (let at = 0, index = 0; at < bytes.length; index++) {
          const size = cuts[index % cuts.length]!;
          pieces.push(...cut.push(bytes.subarray(at, at + size)));
          at += size;
        }
        expect(pieces).to.deep.equal(whole);
        expect(whole.length).to.equal(blocks.length);
        expect(Buffer.concat([...whole.map(({ raw }) => raw), Buffer.from(": end")]).equals(bytes)).to.equal(true);
      }),
    );
  });

  it("reads fields as the standard says", () => {
    const [one, two, three] = new SseSplitter().push(new TextEncoder().encode("event: a\ndata: x\ndata:y\ntallystick-units: 3\n\n: alive\n\ndata: z\ntallystick-units: -1\n\n"));
    expect([one!.event, one!.data, one!.units]).to.deep.equal(["a", "x\ny", 3]);
    expect([two!.event, two!.data, two!.units]).to.deep.equal(["message", undefined, undefined]);
    expect(three!.units).to.be.NaN;
    expect(() => new SseSplitter().push(new Uint8Array(1024 * 1024 + 1).fill(97))).to.throw(RangeError);
  });
});

describe("agent.stream", function () {
  this.timeout(180_000);
  let streams: StreamWorld;
  let paths = 0;
  const agents: Agent[] = [];
  const fresh = () => `/${++paths}.sse`;
  const url = (path: string, service = "words") => `${streams.world.url}/s/${service}${path}`;

  before(async () => {
    streams = await startStreamWorld();
  });
  after(async () => {
    await Promise.all(agents.map((agent) => agent.close()));
    await streams.stop();
  });

  /** An agent with a channel of its own: its account was not used before. */
  async function newAgent(index: number, options: Partial<AgentOptions> = {}): Promise<Agent> {
    const account = streams.world.chain.account(index);
    await streams.world.chain.mintUSDC(account.address, 10_000_000n);
    const agent = createAgent({ account, rpcUrl: streams.world.chain.url, ...options });
    agents.push(agent);
    return agent;
  }
  const channelOf = async (agent: Agent) => (await listChannels(streams.world, agent.address))[0]!;

  it("pays ahead as events come, so that the seller never waits, and checks charge and receipt at the end", async () => {
    const agent = await newAgent(2);
    const path = fresh();
    const [stream, upstream] = await Promise.all([agent.stream(url(path), { maxTotal: 5n * PRICE, unitsAhead: 50 }), streams.upstream.next(path)]);
    const seen: string[] = [];
    upstream.write(event("0"));
    for await (const one of stream) {
      seen.push(one.data!);
      // Three calls' worth: the first payment covers 100 units, vouchers the rest.
      if (seen.length < 300) upstream.write(event(String(seen.length)));
      else upstream.end();
    }
    expect(seen.length).to.equal(300);
    expect(stream.end).to.include({ charged: 300n * UNIT, reason: "complete" });
    expect(stream.end!.receipt!.payload.amount).to.equal(String(300n * UNIT));
    const channel = await channelOf(agent);
    expect([channel.charged, channel.reserved]).to.deep.equal([300n * UNIT, 0n]);
    expect(await agent.spent()).to.be.at.least(300n * UNIT);
    expect((await agent.spent()) <= 5n * PRICE, "not the whole budget was signed away").to.equal(true);
    const next = await agent.fetch(url("/plain"));
    expect([next.status, await next.text()], "ordinary calls go on").to.deep.equal([200, "plain /plain"]);
    expect((await channelOf(agent)).charged).to.equal(300n * UNIT + PRICE);
  });

  it("stops at its budget, and what was charged is within it", async () => {
    const agent = await newAgent(3);
    const path = fresh();
    const [stream, upstream] = await Promise.all([agent.stream(url(path), { maxTotal: PRICE + 55n }), streams.upstream.next(path)]);
    upstream.write(event("x").repeat(200));
    let count = 0;
    for await (const _one of stream) count += 1;
    expect(count).to.equal(105);
    expect(stream.end).to.include({ charged: 1050n, reason: "money" });
    expect((await channelOf(agent)).charged).to.equal(1050n);
  });

  it("a reader that stops pays for what came and knows what it was", async () => {
    const agent = await newAgent(4);
    const path = fresh();
    const [stream, upstream] = await Promise.all([agent.stream(url(path), { maxTotal: 2n * PRICE }), streams.upstream.next(path)]);
    upstream.write(event("a"));
    let count = 0;
    for await (const _one of stream) {
      upstream.write(event("b"));
      if (++count === 5) break;
    }
    await upstream.closed;
    const channel = await channelOf(agent);
    expect(stream.end).to.include({ reason: "stopped", charged: channel.charged });
    expect(channel.charged === 5n * UNIT || channel.charged === 6n * UNIT, String(channel.charged)).to.equal(true);
    expect(channel.reserved).to.equal(0n);
    expect((await agent.fetch(url("/plain"))).status).to.equal(200);
  });

  it("twenty streams of one agent on one channel", async () => {
    const agent = await newAgent(5);
    await (await agent.fetch(url("/plain"))).text();
    const ends = await Promise.all(
      Array.from({ length: 20 }, async (_, index) => {
        const path = fresh();
        const [stream, upstream] = await Promise.all([agent.stream(url(path), { maxTotal: 3n * PRICE }), streams.upstream.next(path)]);
        upstream.write(event("x").repeat(150 + index));
        upstream.end();
        for await (const one of stream) expect(one.data).to.equal("x");
        return stream.end!.charged;
      }),
    );
    expect(ends).to.deep.equal(Array.from({ length: 20 }, (_, index) => BigInt(150 + index) * UNIT));
    const channel = await channelOf(agent);
    expect([channel.charged, channel.reserved]).to.deep.equal([PRICE + ends.reduce((a, b) => a + b), 0n]);
  });

  it("keeps its own limits, and says so when a seller sells no streams", async () => {
    const agent = await newAgent(6, { limits: { perCall: 2n * PRICE } });
    expect(await codeOf(agent.stream(url("/x.sse"), { maxTotal: 3n * PRICE }))).to.equal("limit_exceeded");
    expect(await codeOf(agent.stream(url("/x.sse"), { maxTotal: PRICE - 1n }))).to.equal("limit_exceeded");
    expect(await codeOf(agent.stream(url("/x.sse", "whole"), { maxTotal: PRICE }))).to.equal("stream_unsupported");
  });

  describe("a seller that lies", () => {
    const account = () => streams.world.chain.account(7).address;
    const payer = (more: Partial<StreamPayer> = {}): StreamPayer => ({
      chainId: 84532, contract: account(), payer: account(), receiver: account(), token: account(), channelId: pad("0x1"), signer: account(), inputHash: pad(toHex(1)),
      unitPrice: UNIT, firstAllowance: PRICE, maxTotal: 2n * PRICE, extend: async () => 2n * PRICE, refetch: async () => undefined, settle: () => {}, lose: () => {}, ...more,
    });
    const read = async (text: string, more: Partial<StreamPayer> = {}) => {
      const stream = paidStream(new Response(text, { headers: { "content-type": "text/event-stream" } }), "pay_x", payer(more));
      for await (const one of stream) void one;
      return stream;
    };
    const final = (charged: string, more = {}) => new TextDecoder().decode(writeEvent("tallystick-final", JSON.stringify({ paymentId: "pay_x", charged, cumulative: charged, reason: "complete", ...more })));

    it("charges more than came", async () => expect(await codeOf(read(event("a") + final("20")))).to.equal("server_overcharged"));
    it("says nothing at the end", async () => {
      let lost = false;
      expect(await codeOf(read(event("a"), { lose: () => (lost = true) }))).to.equal("stream_broken");
      expect(lost).to.equal(true);
    });
    it("keeps asking for more: the budget is the end of it", async () => {
      const asked: bigint[] = [];
      const need = new TextDecoder().decode(writeEvent("tallystick-need-voucher", JSON.stringify({ needed: "900" })));
      const greedy = new TextDecoder().decode(writeEvent("tallystick-need-voucher", JSON.stringify({ needed: "99999" })));
      await read(event("a") + need + need + greedy + final("10"), { extend: async (_id, amount) => (asked.push(amount), PRICE) });
      expect(asked.reduce((sum, amount) => sum + amount, 0n) <= PRICE, String(asked)).to.equal(true);
    });
    it("gives a receipt of something else", async () => {
      const receipt = { format: "eip712", domain: { name: "Tallystick Receipt", version: "1", chainId: 84532, verifyingContract: account() }, payload: { amount: "10", scheme: "exact" }, signature: "0x" };
      expect(await codeOf(read(event("a") + final("10", { receipt })))).to.equal("receipt_invalid");
    });
  });

  it("gives back what it set aside when nothing came", async () => {
    const agent = await newAgent(7);
    const path = fresh();
    const [stream, upstream] = await Promise.all([agent.stream(url(path), { maxTotal: 2n * PRICE }), streams.upstream.next(path)]);
    upstream.break();
    for await (const one of stream) throw new Error(one.event);
    expect(stream.end).to.include({ charged: 0n, reason: "upstream_broken" });
    await until("the release", async () => (await channelOf(agent)).reserved === 0n);
    expect((await agent.fetch(url("/plain"))).status).to.equal(200);
  });
});
