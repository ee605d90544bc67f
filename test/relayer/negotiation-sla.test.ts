// What is credited when a promise is missed, and what the database refuses whoever writes.
import { expect } from "chai";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { generatePrivateKey, privateKeyToAccount } from "viem/accounts";
import { findReceipt } from "../../relayer/src/capabilities/gateway/receipt-store.ts";
import { violatedConstraint } from "../../relayer/src/db/pool.ts";
import { signIn } from "../../sdk/src/access.ts";
import { priceOfCall } from "../../sdk/src/negotiation/terms.ts";
import { agreed, policyOf, PROVIDER, publishPolicy } from "../support/negotiation.ts";
import { startTestWorld, type TestWorld } from "../support/relayer.ts";

const bytes = (hex: string) => Buffer.from(hex.slice(2), "hex");

describe("negotiated sessions: SLA and what the ledger refuses", function () {
  this.timeout(60_000);
  let world: TestWorld;
  let streaming: Server;
  before(async () => {
    world = await startTestWorld();
    await publishPolicy(world.url, policyOf({ sla: { maxLatencyMs: 150, minUptimePercent: 99 } }));
    streaming = createServer((_request, response) => {
      response.writeHead(200, { "content-type": "text/event-stream" });
      response.write("data: 1\n\n");
      setTimeout(() => response.end("data: 2\n\n"), 400);
    });
    await new Promise<void>((done) => streaming.listen(0, "127.0.0.1", done));
  });
  after(async () => {
    await world.stop();
    streaming.close();
  });

  async function session(budget = 80_000n, service = "echo") {
    const agent = privateKeyToAccount(generatePrivateKey());
    await world.chain.mintUSDC(agent.address, 1_000_000n);
    return agreed(world.url, agent, budget, { service });
  }
  const rowOf = async (sessionId: string) => (await world.relayer.deps.db.query("SELECT * FROM negotiated_session WHERE session_id = $1", [bytes(sessionId)])).rows[0];

  it("a late answer costs less by the refund policy, and its receipt says so", async () => {
    const { session: agreement, buyer } = await session();
    const late = await buyer.open(500_000n, "/slow/400");
    expect(late.receipt!.payload).include({ amount: "6000", slaMet: 2, offer: agreement.offerHash });
    expect((await rowOf(agreement.sessionId)).charged_atomic).equal(6_000n);
  });

  it("a failed call below the promised uptime is credited off the next charge, never more than was paid", async () => {
    const { session: agreement, buyer } = await session();
    // Nothing was paid yet, so nothing is owed: failing calls on purpose earns nothing.
    expect((await buyer.open(500_000n, "/status/500")).status).equal(500);
    expect(await rowOf(agreement.sessionId)).deep.include({ calls_failed: 1n, calls_taken: 0n, credit_atomic: 0n });
    const paid = await buyer.call();
    expect(BigInt(paid.receipt!.payload.amount)).equal(8_000n);
    for (let failed = 0; failed < 3; failed++) expect((await buyer.call("/status/503")).status).equal(503);
    expect(await rowOf(agreement.sessionId)).deep.include({ credit_atomic: 8_000n, credited_atomic: 8_000n, calls_failed: 4n });
    expect((await buyer.call("/status/404")).status).equal(404);
    expect((await rowOf(agreement.sessionId)).calls_failed).equal(4n); // the buyer's own fault
    const free = await buyer.call();
    expect([free.receipt!.payload.amount, (await buyer.call()).receipt!.payload.amount]).deep.equal(["0", "8000"]);
    expect(await rowOf(agreement.sessionId)).deep.include({ credit_atomic: 0n, credited_atomic: 8_000n, charged_atomic: 16_000n, calls_charged: 3n });
  });

  it("a stream is measured to its last byte; its credit comes off the next charge", async () => {
    const { token } = await signIn({ relayerUrl: world.url, account: PROVIDER });
    const origin = `http://127.0.0.1:${(streaming.address() as AddressInfo).port}`;
    const listed = await fetch(`${world.url}/api/v1/services`, { method: "POST", headers: { authorization: `Bearer ${token}`, "content-type": "application/json" }, body: JSON.stringify({ name: "drip", origin, priceAtomic: "9000", minDepositCalls: 1 }) });
    expect(listed.status, await listed.text()).equal(201);
    await publishPolicy(world.url, policyOf({ service: "drip", sla: { maxLatencyMs: 150, minUptimePercent: 0 } }));
    const { session: agreement, buyer } = await session(80_000n, "drip");
    const required = await buyer.terms();
    const first = await buyer.buyer.send(await buyer.buyer.depositPayment(required, 500_000n, 8_000n), { headers: buyer.headers }, `${world.url}/s/drip/`);
    expect([first.status, await first.text()]).deep.equal([200, "data: 1\n\ndata: 2\n\n"]);
    const paymentId = first.headers.get("tallystick-payment-id")!;
    for (let tries = 0; (await findReceipt(world.relayer.deps.db, paymentId)) === undefined && tries < 500; tries++) await new Promise((next) => setTimeout(next, 10));
    const { receipt } = (await findReceipt(world.relayer.deps.db, paymentId))!;
    expect([receipt.amount, receipt.slaMet, receipt.session]).deep.equal([8_000n, 2, agreement.sessionId]);
    expect(await rowOf(agreement.sessionId)).deep.include({ credit_atomic: 2_000n, calls_charged: 1n, charged_atomic: 8_000n });
  });

  it("whoever writes to the database: no charge above what is agreed, no other terms, no way out of the session", async () => {
    const { session: agreement, buyer } = await session();
    const { receipt } = await buyer.open(500_000n);
    const { db } = world.relayer.deps;
    const id = receipt!.payload.paymentId;
    const sessionId = bytes(agreement.sessionId);
    const attempts: [string, string, unknown[]][] = [
      ["payment_above_agreed", "UPDATE payment SET price_atomic = 20000, charged_atomic = 8001 WHERE payment_id = $1", [id]],
      ["payment_session_stays", "UPDATE payment SET session_id = NULL, offer_hash = NULL, session_call = NULL, charged_atomic = 9000 WHERE payment_id = $1", [id]],
      ["payment_session_stays", "UPDATE payment SET sla_met = 2 WHERE payment_id = $1", [id]],
      ["session_is_final", "UPDATE negotiated_session SET price_atomic = 9000 WHERE session_id = $1", [sessionId]],
      ["session_is_final", "UPDATE negotiated_session SET expires_at = now() + interval '1 year' WHERE session_id = $1", [sessionId]],
      ["session_is_final", "UPDATE negotiated_session SET calls_charged = 0, charged_atomic = 0 WHERE session_id = $1", [sessionId]],
      ["session_is_final", "DELETE FROM negotiated_session WHERE session_id = $1", [sessionId]],
      ["session_budget", "UPDATE negotiated_session SET charged_atomic = 80001 WHERE session_id = $1", [sessionId]],
      ["session_calls", "UPDATE negotiated_session SET calls_taken = calls + 1 WHERE session_id = $1", [sessionId]],
      ["channel_in_session", "UPDATE channel SET reserved = reserved + 1 WHERE channel_id = $1", [bytes(receipt!.payload.channelId)]],
      ["payment_above_agreed", `INSERT INTO payment (payment_id, channel_id, payer, ceiling, signature, service, request_hash, price_atomic, reserved_until, resource, session_id, offer_hash, session_call)
        SELECT 'pay_x', channel_id, payer, ceiling + 1, signature, service, request_hash, 8001, now(), resource, session_id, offer_hash, 2 FROM payment WHERE payment_id = $1`, [id]],
    ];
    for (const [constraint, text, values] of attempts) {
      const error = await db.query(text, values).then(() => undefined, (refused: unknown) => refused);
      expect(violatedConstraint(error), text).equal(constraint);
    }
    expect((await rowOf(agreement.sessionId)).charged_atomic).equal(8_000n);
  });

  it("a price that goes up after acceptance changes nothing for the session", async () => {
    const { buyer } = await session();
    await buyer.open(500_000n);
    await world.relayer.deps.db.query("UPDATE service SET price_atomic = 50000 WHERE name = 'echo'");
    world.relayer.deps.catalog.changed("echo");
    try {
      expect((await buyer.call()).receipt!.payload.amount).equal("8000");
    } finally {
      await world.relayer.deps.db.query("UPDATE service SET price_atomic = 1000 WHERE name = 'echo'");
      world.relayer.deps.catalog.changed("echo");
    }
  });

  it("the database and the SDK name the same price for every call", async () => {
    const tiers = [{ minCalls: 3, pricePerRequest: 7_000n }, { minCalls: 9, pricePerRequest: 6_500n }];
    const { session: agreement } = await session();
    for (let nth = 1; nth <= 12; nth++) {
      const { rows } = await world.relayer.deps.db.query(
        "SELECT session_price(jsonb_populate_record(n, jsonb_build_object('tier_calls', ARRAY[3, 9], 'tier_prices', ARRAY[7000, 6500])), $2) AS price FROM negotiated_session n WHERE session_id = $1", [bytes(agreement.sessionId), nth]);
      expect(rows[0].price, String(nth)).equal(priceOfCall({ pricePerRequest: 8_000n, tiers }, nth));
    }
  });
});
