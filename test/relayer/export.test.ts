// The export of vouchers: who reads it, that it is soon, and that nothing is left out, whatever order transactions commit in.
import { expect } from "chai";
import fc from "fast-check";
import { setTimeout as sleep } from "node:timers/promises";
import type { Hex } from "viem";
import { cursorOf, readCursor, stepAfter } from "../../relayer/src/capabilities/export/logic.ts";
import { toBytes } from "../../relayer/src/db/codec.ts";
import { SseSplitter, type SseEvent } from "../../sdk/src/sse.ts";
import { readVoucherLine, verifyVoucherLine, type VoucherLine } from "../../sdk/src/provider/voucher-line.ts";
import { signIn } from "../../sdk/src/access.ts";
import { BASE_SEPOLIA, SESSION_CHANNELS } from "../../sdk/src/constants.ts";
import { stockBuyer } from "../support/buyer.ts";
import { addressOf, ROLE } from "../support/config.ts";
import { callerAs, type Caller } from "../support/provider-world.ts";
import { startTestWorld, type TestWorld } from "../support/relayer.ts";

describe("voucher export", function () {
  this.timeout(180_000);
  let world: TestWorld;
  let receiver: Caller;
  let token: string;
  const buyers: ReturnType<typeof stockBuyer>[] = [];
  before(async () => {
    world = await startTestWorld();
    receiver = await callerAs(world, ROLE.receiver);
    ({ token } = await signIn({ relayerUrl: world.url, account: world.chain.account(ROLE.receiver) }));
    for (const index of [1, 2, 3]) {
      await world.chain.mintUSDC(world.chain.account(index).address, 10_000_000n);
      buyers.push(stockBuyer(world.chain.account(index), world.chain.url));
    }
  });
  after(() => world.stop());

  const buy = async (index: number) => expect((await buyers[index]!.fetch(`${world.url}/s/echo/${index}`)).status).equal(200);
  const page = async (after?: string): Promise<{ vouchers: VoucherLine[]; cursor: string; more: boolean }> => {
    const { status, body } = await receiver("GET", `/vouchers/export${after === undefined ? "" : `?after=${after}`}`);
    expect(status, JSON.stringify(body)).equal(200);
    return body as { vouchers: VoucherLine[]; cursor: string; more: boolean };
  };

  /** Reads a stream in the background; stop() leaves it. */
  function following(url = world.url, lastId?: string) {
    const gone = new AbortController();
    const events: SseEvent[] = [];
    const done = (async () => {
      const headers = { authorization: `Bearer ${token}`, accept: "text/event-stream", ...(lastId === undefined ? {} : { "last-event-id": lastId }) };
      const response = await fetch(`${url}/api/v1/vouchers/export`, { headers, signal: gone.signal });
      expect(response.headers.get("content-type")).equal("text/event-stream");
      const splitter = new SseSplitter();
      for await (const bytes of response.body!) events.push(...splitter.push(bytes).filter(({ event }) => event === "voucher"));
    })().catch((error: unknown) => {
      if (!gone.signal.aborted) throw error;
    });
    const totals = () => Object.fromEntries(events.map(({ data }) => JSON.parse(data!) as VoucherLine).map(({ channelConfig, totalCharged }) => [channelConfig.payer, totalCharged]));
    const until = async (what: () => boolean) => {
      for (let tries = 0; !what(); tries++) {
        if (tries > 400) throw new Error(`not there after 20 s: ${JSON.stringify(totals())}`);
        await sleep(50);
      }
    };
    return { events, totals, until, stop: async () => (gone.abort(), done) };
  }

  it("one line a channel, complete for the contract, signed by the payer", async () => {
    for (const index of [0, 1, 0]) await buy(index);
    const { vouchers, more } = await page();
    expect(more).equal(false);
    expect(vouchers.map(({ channelConfig, totalCharged, requestCount }) => [channelConfig.payer, totalCharged, requestCount])).deep.equal([[addressOf(2), "1000", "1"], [addressOf(1), "2000", "2"]]);
    for (const line of vouchers) await verifyVoucherLine(readVoucherLine(line), { receiver: addressOf(ROLE.receiver), contract: SESSION_CHANNELS, chainId: BASE_SEPOLIA.chainId });
  });

  it("a cursor gives what changed since, and nothing else", async () => {
    const { cursor } = await page();
    expect((await page(cursor)).vouchers).deep.equal([]);
    await buy(1);
    const next = await page(cursor);
    expect(next.vouchers.map(({ totalCharged }) => totalCharged)).deep.equal(["2000"]);
    expect((await page(next.cursor)).vouchers).deep.equal([]);
  });

  it("is for the receiver alone", async () => {
    const stranger = await callerAs(world, 5);
    expect((await stranger("GET", "/vouchers/export")).body["vouchers"]).deep.equal([]);
    const asked = await stranger("GET", `/vouchers/export?receiver=${addressOf(ROLE.receiver)}`);
    expect([asked.status, asked.body["code"]]).deep.equal([403, "vouchers_not_yours"]);
    const payer = await callerAs(world, 1);
    expect((await payer("GET", "/vouchers/export")).body["vouchers"]).deep.equal([]);
    for (const accept of ["application/json", "text/event-stream"]) expect((await fetch(`${world.url}/api/v1/vouchers/export`, { headers: { accept } })).status).equal(401);
    for (const cursor of ["x", "1-2", "-1", "1-0x00", "99999999999999999999"]) expect((await receiver("GET", `/vouchers/export?after=${encodeURIComponent(cursor)}`)).status, cursor).equal(400);
  });

  it("a stream begins with everything, follows charges made in another process, and resumes there by its last id", async () => {
    const another = await world.anotherRelayer();
    const first = following();
    await first.until(() => Object.keys(first.totals()).length === 2);
    await buyers[2]!.fetch(`${another.url}/s/echo/`);
    await first.until(() => first.totals()[addressOf(3)] === "1000");
    await first.stop();
    const { id } = first.events.findLast((event) => event.id !== undefined)!;
    await buy(0);
    const second = following(another.url, id);
    await second.until(() => second.totals()[addressOf(1)] === "3000");
    await second.stop();
  });

  it("a transaction that began early and commits late is told, by page and by stream, and others do not wait for it", async () => {
    const { db } = world.relayer.deps;
    const early = await db.connect();
    const stream = following();
    try {
      const before = (await page()).vouchers;
      const slowId = before.find(({ channelConfig }) => channelConfig.payer === addressOf(1))!.channelId;
      await early.query("BEGIN");
      // Charged as the ledger would: takes its number now, is seen only when it commits.
      await early.query("UPDATE channel SET charged = charged + 1, signed_ceiling = signed_ceiling + 1 WHERE channel_id = $1", [toBytes(slowId)]);
      const fastTotal = (): number => Number(before.find(({ channelConfig }) => channelConfig.payer === addressOf(2))!.totalCharged) + 1000;
      await buy(1);
      await stream.until(() => Number(stream.totals()[addressOf(2)]) === fastTotal());
      const during = await page();
      expect(Number(during.vouchers.find(({ channelConfig }) => channelConfig.payer === addressOf(2))!.totalCharged), "by page too").equal(fastTotal());
      const slowTotal = Number(before.find(({ channelId }) => channelId === slowId)!.totalCharged) + 1;
      await early.query("COMMIT");
      await stream.until(() => Number(stream.totals()[addressOf(1)]) === slowTotal);
      const after = await page(during.cursor);
      expect(after.vouchers.map(({ channelId, totalCharged }) => [channelId, Number(totalCharged)])).deep.include([slowId, slowTotal]);
    } finally {
      await early.query("ROLLBACK");
      early.release();
      await stream.stop();
    }
  });

  it("a channel that changes all the time is told all the same, while an old transaction runs", async () => {
    const { db } = world.relayer.deps;
    const early = await db.connect();
    const stream = following();
    try {
      await early.query("BEGIN");
      await early.query("SELECT pg_current_xact_id()");
      for (let call = 0; call < 5; call++) await buy(2);
      await stream.until(() => stream.totals()[addressOf(3)] === "6000");
      const repeated = stream.events.map(({ data }) => data!.replace(/"at":.*/, ""));
      expect(new Set(repeated).size, "a connection is told each state once").equal(repeated.length);
    } finally {
      await early.query("ROLLBACK");
      early.release();
      await stream.stop();
    }
  });

  it("a cursor of a database that is gone begins anew", async () => {
    const { vouchers } = await page("9000000000000000000");
    expect(vouchers).lengthOf(3);
  });

  it("more channels than a page holds, all told once", async () => {
    const { db } = world.relayer.deps;
    const owner = await callerAs(world, 6);
    await db.query(
      `INSERT INTO channel (channel_id, payer, payer_authorizer, receiver, receiver_authorizer, token, withdraw_delay_s, salt, balance, total_claimed, withdraw_amount, withdraw_initiated_at, refund_nonce,
         synced_block, opening_charged, charged, signed_ceiling, signed_signature)
       SELECT sha256(n::text::bytea), payer, payer_authorizer, $1, receiver_authorizer, token, withdraw_delay_s, sha256(n::text::bytea), balance, 0, 0, 0, 0, synced_block, 0, n, n, signed_signature
       FROM generate_series(1, 1234) n, (SELECT * FROM channel LIMIT 1) one`,
      [toBytes(addressOf(6))],
    );
    const seen: string[] = [];
    let cursor = "0";
    for (let more = true; more; ) {
      const { body } = await owner("GET", `/vouchers/export?after=${cursor}`);
      seen.push(...(body["vouchers"] as VoucherLine[]).map(({ totalCharged }) => totalCharged));
      ({ cursor, more } = body as { cursor: string; more: boolean });
    }
    expect(seen.map(Number).sort((a, b) => a - b)).deep.equal(Array.from({ length: 1234 }, (_, n) => n + 1));
  });

  it("ends its streams when the relayer stops", async () => {
    const { relayer, url } = await world.anotherRelayer();
    const stream = following(url);
    await stream.until(() => stream.events.length >= 3);
    await relayer.app.close();
    await stream.stop();
  });

  describe("positions", () => {
    const hash = fc.uint8Array({ minLength: 32, maxLength: 32 }).map((bytes): Hex => `0x${Buffer.from(bytes).toString("hex")}`);
    it("a cursor reads back as it was written", () => {
      fc.assert(fc.property(fc.bigInt({ min: 0n, max: 2n ** 62n }), fc.option(hash, { nil: undefined }), (xid, channelId) => expect(readCursor(cursorOf({ xid, channelId }))).deep.equal({ xid, channelId }) !== undefined));
    });
    it("a reader never resumes above a transaction that may still commit", () => {
      fc.assert(
        fc.property(fc.array(fc.bigInt({ min: 1n, max: 40n }), { maxLength: 8 }), fc.bigInt({ min: 1n, max: 41n }), fc.option(fc.bigInt({ min: 1n, max: 40n }), { nil: undefined }), (xids, settledBelow, heldAt) => {
          const states = xids.sort((a, b) => Number(a - b)).map((xid) => ({ xid, channelId: `0x${"11".repeat(32)}` as Hex })) as never;
          const held = heldAt === undefined ? undefined : { xid: heldAt < settledBelow ? heldAt : settledBelow, channelId: undefined };
          const { resume } = stepAfter({ states, settledBelow, newest: 50n }, 4, held);
          expect(resume.channelId === undefined ? resume.xid <= settledBelow : resume.xid < settledBelow).equal(true);
          if (held !== undefined) expect(resume).equal(held);
        }),
      );
    });
  });
});
