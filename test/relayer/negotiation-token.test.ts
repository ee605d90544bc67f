// A client that sends a session's id and token and no payment: charged against the voucher its agent left, each call at the agreed price, never
// above voucher, offer or number of calls; and nobody buys by a part of that.
import { expect } from "chai";
import { generatePrivateKey, privateKeyToAccount } from "viem/accounts";
import { requiredOf } from "../support/buyer.ts";
import { EASY_SLA, policyOf, publishPolicy, sessionBuyer } from "../support/negotiation.ts";
import { startTestWorld, type TestWorld } from "../support/relayer.ts";
import { callByToken, leave as leaveIn, openSession, PRICE, usedOf, type OpenSession } from "../support/session-token.ts";

describe("calls by a session's token", function () {
  this.timeout(300_000);
  let world: TestWorld;
  before(async () => {
    world = await startTestWorld();
    await publishPolicy(world.url, policyOf({ sla: EASY_SLA }));
  });
  after(() => world.stop());

  const open = (calls: bigint) => openSession(world, calls);
  const leave = async ({ buyer, channelId, config, session }: OpenSession, ceiling: bigint, token: string = session.sessionToken, signer = buyer) =>
    leaveIn(world, { session }, { channelConfig: config, voucher: await signer.buyer.voucher(channelId, ceiling) }, token);
  const call = (opened: OpenSession, { url = world.url, ...request }: { path?: string; headers?: Record<string, string>; url?: string } = {}) => callByToken(opened, url, request);
  const used = (opened: OpenSession) => usedOf(world, opened);

  it("each call costs the agreed price, and the last of the budget is the last", async () => {
    const opened = await open(4n);
    expect((await leave(opened, 4n * PRICE)).body).include({ ceilingAtomic: "32000", callsLeft: 3 });
    const paid = [await call(opened), await call(opened), await call(opened, { path: "/other" })];
    expect(paid.map(({ status, receipt }) => [status, receipt?.amount, receipt?.cumulative, receipt?.session])).deep.equal(
      [2n, 3n, 4n].map((n) => [200, "8000", (n * PRICE).toString(), opened.session.sessionId]),
    );
    const over = await call(opened);
    expect([over.status, over.body.code]).deep.equal([402, "session_exhausted"]);
    expect((requiredOf(over.response).extensions["tallystick-negotiation"] as any).info.offer.message.pricePerRequest).equal("0.008");
    expect(await used(opened)).deep.equal({ calls_taken: 4n, calls_charged: 4n, charged_atomic: 4n * PRICE });
    const { rows } = await world.relayer.deps.db.query("SELECT charged, signed_ceiling, reserved FROM channel WHERE channel_id = $1", [Buffer.from(opened.channelId.slice(2), "hex")]);
    expect(rows[0]).deep.equal({ charged: 4n * PRICE, signed_ceiling: 4n * PRICE, reserved: 0n });
  });

  it("an Idempotency-Key makes a repetition one: the same answer, charged once; the key with another request is refused", async () => {
    const opened = await open(5n);
    await leave(opened, 5n * PRICE);
    const headers = { "idempotency-key": `call-${"1".repeat(20)}` };
    const twice = await Promise.all([call(opened, { headers }), call(opened, { headers })]);
    expect(twice.map(({ status }) => status)).deep.equal([200, 200]);
    expect(twice[0]!.body).deep.equal(twice[1]!.body);
    expect((await used(opened)).charged_atomic).equal(2n * PRICE);
    const other = await call(opened, { headers, path: "/other" });
    expect([other.status, other.body.code]).deep.equal([409, "payment_identifier_conflict"]);
    const short = await call(opened, { headers: { "idempotency-key": "short" } });
    expect([short.status, short.body.field]).deep.equal([400, "Idempotency-Key"]);
    // Without one each request is a call.
    await call(opened);
    await call(opened);
    await call(opened);
    expect((await call(opened)).body.code).equal("session_exhausted");
    // And what was sold is handed out when the session has no call left.
    const again = await call(opened, { headers });
    expect([again.status, again.body]).deep.equal([200, twice[0]!.body]);
    expect((await used(opened)).charged_atomic).equal(5n * PRICE);
  });

  it("the last call, asked for many times at once of two processes: sold once; what a failed one took can be taken again", async () => {
    const opened = await open(4n);
    await leave(opened, 4n * PRICE);
    expect((await call(opened, { path: "/status/500" })).status).equal(500);
    expect(await used(opened)).include({ calls_taken: 1n, charged_atomic: PRICE });
    const second = await world.anotherRelayer();
    const answers = await Promise.all(Array.from({ length: 10 }, (_, index) => call(opened, { url: index % 2 === 0 ? world.url : second.url })));
    const codes = answers.map(({ status, body }) => (status === 200 ? "paid" : body.code));
    expect(codes.filter((code) => code === "paid"), codes.join()).lengthOf(3);
    expect(new Set(codes)).deep.equal(new Set(["paid", "session_exhausted"]));
    // The failed call is credited with half a price, by the offer's refund policy.
    expect((await used(opened)).charged_atomic).equal(4n * PRICE - PRICE / 2n);
  });

  it("a voucher below the budget is the limit, and a higher one takes over", async () => {
    const opened = await open(5n);
    expect((await leave(opened, 2n * PRICE)).status).equal(200);
    expect((await call(opened)).status).equal(200);
    const beyond = await call(opened);
    expect([beyond.status, beyond.body.code]).deep.equal([402, "voucher_ceiling_mismatch"]);
    expect((await leave(opened, 3n * PRICE)).status).equal(200);
    expect((await call(opened)).status).equal(200);
    expect((await used(opened)).charged_atomic).equal(3n * PRICE);
  });

  it("no token, another's, no voucher: 402 with the offer; the token reaches no provider", async () => {
    const opened = await open(3n);
    const stranger = await open(3n);
    const none = await call(opened);
    expect([none.status, none.body.code]).deep.equal([402, "session_voucher_missing"]);
    await leave(opened, 3n * PRICE);
    const wrong = await call(opened, { headers: { "x-402-session-token": stranger.session.sessionToken } });
    expect([wrong.status, wrong.body.code]).deep.equal([402, "session_token"]);
    expect((requiredOf(wrong.response).extensions["tallystick-negotiation"] as any).info.sessionId).equal(opened.session.sessionId);
    const alone = await fetch(`${world.url}/s/echo/hello`, { headers: { "x-402-session-id": opened.session.sessionId } });
    expect([alone.status, ((await alone.json()) as any).code]).deep.equal([402, "payment_required"]);
    const bearer = await fetch(`${world.url}/s/echo/bearer`, { headers: { "x-402-session-id": opened.session.sessionId, authorization: `Bearer ${opened.session.sessionToken}` } });
    expect(bearer.status).equal(200);
    const seen = world.provider.seen.at(-1)!;
    expect([seen.url, JSON.stringify(seen.headers).includes("tsn_")]).deep.equal(["/bearer", false]);
    expect((await used(opened)).charged_atomic).equal(2n * PRICE);
  });

  it("a voucher above the budget or the balance, for nothing, of another key, or without the token is not kept", async () => {
    const opened = await open(3n);
    const told = ({ status, body }: { status: number; body: any }) => [status, body.code];
    expect(told(await leave(opened, 3n * PRICE + 1n))).deep.equal([409, "session_voucher_above_budget"]);
    expect(told(await leave(opened, 1_000_001n))).deep.equal([409, "session_voucher_above_balance"]);
    expect(told(await leave(opened, 2n * PRICE - 1n))).deep.equal([409, "session_voucher_below"]);
    expect(told(await leave(opened, 3n * PRICE, `tsn_${"0".repeat(64)}`))).deep.equal([403, "session_token"]);
    const thief = sessionBuyer(`${world.url}/s/echo`, privateKeyToAccount(generatePrivateKey()), undefined, opened.config.salt);
    expect(told(await leave(opened, 3n * PRICE, opened.session.sessionToken, thief))).deep.equal([403, "voucher_signature_invalid"]);
    expect((await call(opened)).body.code).equal("session_voucher_missing");
  });

  it("whoever sees the voucher on chain buys nothing with it", async () => {
    const opened = await open(3n);
    await leave(opened, 3n * PRICE);
    for (const headers of [{}, opened.buyer.headers] as Record<string, string>[]) {
      const payment = await opened.buyer.buyer.voucherPayment(opened.required, 3n * PRICE);
      const plain = { ...payment, accepted: requiredOf(await fetch(`${world.url}/s/echo`, { headers })).accepts[0] };
      const taken = await opened.buyer.buyer.send(plain, { headers });
      expect([taken.status, ((await taken.json()) as { code: string }).code]).deep.equal([402, "session_voucher"]);
    }
    expect((await used(opened)).charged_atomic).equal(PRICE);
    expect((await call(opened)).status).equal(200);
    // The agent itself goes on paying by vouchers of its own.
    const own = await opened.buyer.buyer.voucherPayment(await opened.buyer.terms(), 3n * PRICE + 1n);
    expect((await opened.buyer.paid(own, "/hello")).status).equal(200);
    expect((await used(opened)).charged_atomic).equal(3n * PRICE);
  });
});
