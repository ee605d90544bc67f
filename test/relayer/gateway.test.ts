// The gateway as buyers and providers meet it: real HTTP, real ledger, real chain; charges, replays, refusals, aborts.
import { expect } from "chai";
import fastJsonStringify from "fast-json-stringify";
import fc from "fast-check";
import { setTimeout as sleep } from "node:timers/promises";
import { pad, parseUnits, toHex } from "viem";
import * as channels from "../../relayer/src/capabilities/channels/service.ts";
import { findChannel } from "../../relayer/src/capabilities/channels/store.ts";
import { sessionChannelsDomain } from "../../sdk/src/typed-data.ts";
import { encodeHeader, manualBuyer, requiredOf, settleOf, type Required } from "../support/buyer.ts";
import { startTestWorld, type TestWorld } from "../support/relayer.ts";

const PRICE = 1000n;
const USDC = (amount: string) => parseUnits(amount, 6);
type Problem = { code: string; field?: string; status: number; retry: string };

describe("gateway", function () {
  this.timeout(120_000);
  let world: TestWorld;
  let salts = 0;
  const lines: string[] = [];

  before(async () => {
    world = await startTestWorld({ log: { write: (line) => void lines.push(line) } });
    await Promise.all([1, 2, 3].map((index) => world.chain.mintUSDC(world.chain.account(index).address, USDC("100"))));
  });
  after(() => world.stop());

  const service = (path = "/") => `${world.url}/s/echo${path}`;
  /** A buyer with a channel of its own, opened by a first paid call. */
  async function opened(deposit = 100n * PRICE, index = 1) {
    const buyer = manualBuyer(world.chain.account(index), service(), pad(toHex(++salts)));
    const terms = await buyer.terms();
    const channelId = buyer.channelId(terms);
    const response = await buyer.send(await buyer.depositPayment(terms, deposit, PRICE));
    expect(response.status, await response.clone().text()).to.equal(200);
    return { buyer, terms, channelId, response, state: async () => (await findChannel(world.relayer.deps.db, channelId))! };
  }
  const problemOf = async (response: Response) => (await response.json()) as Problem;
  const audits = async (channelId: string) => (await world.relayer.deps.db.query("SELECT code, moved_atomic FROM audit WHERE channel_id = $1 ORDER BY at", [Buffer.from(channelId.slice(2), "hex")])).rows;

  it("answers an unpaid call with terms a stock client understands, and runs nothing", async () => {
    const before = world.provider.seen.length;
    const response = await fetch(service("/a?b=1"), { method: "POST", body: "x" });
    expect([response.status, response.headers.get("cache-control")]).to.deep.equal([402, "no-store"]);
    const required = requiredOf(response);
    expect(required).to.include({ x402Version: 2, error: "Payment required" });
    expect(required.resource.url).to.equal(`${world.relayer.deps.config.publicUrl}/s/echo/a?b=1`);
    expect(required.accepts[0]).to.include({ scheme: "batch-settlement", network: "eip155:84532", amount: "1000" });
    expect(await problemOf(response)).to.include({ code: "payment_required", status: 402 });
    expect(world.provider.seen.length).to.equal(before);
  });

  it("sells a call: deposit, charge, answer and receipt of it", async () => {
    const { response, state, channelId } = await opened();
    const settle = settleOf(response);
    expect(settle).to.include({ success: true, amount: "100000" });
    expect(settle.transaction).to.match(/^0x[0-9a-f]{64}$/);
    expect(settle.extra).to.include({ chargedAmount: "1000" });
    expect(settle.extra.channelState).to.include({ channelId, balance: "100000", chargedCumulativeAmount: "1000" });
    expect(response.headers.get("cache-control")).to.contain("private");
    expect(await state()).to.include({ charged: PRICE, reserved: 0n, balance: 100_000n });
  });

  it("hides payment from the provider and the provider's payment headers from the buyer", async () => {
    const { buyer, terms } = await opened();
    const response = await buyer.send(await buyer.voucherPayment(terms, 2n * PRICE), { method: "POST", body: "héllo", headers: { "content-type": "text/plain", "x-api": "kept" } });
    expect(settleOf(response).success).to.equal(true);
    const last = world.provider.seen.at(-1)!;
    expect(last).to.include({ method: "POST", url: "/", body: "héllo" });
    expect(last.headers).to.include({ "x-api": "kept", "content-type": "text/plain" });
    expect(Object.keys(last.headers).filter((name) => /payment-(sig|req|resp)|x-payment/.test(name))).to.deep.equal([]);
  });

  it("replays the same payment for the same request, from any process, and charges once", async () => {
    const { buyer, terms, state } = await opened();
    const payment = await buyer.voucherPayment(terms, 2n * PRICE);
    const first = await buyer.send(payment, { method: "POST", body: "one" });
    const runs = world.provider.seen.length;
    const second = await world.anotherRelayer();
    const again = await buyer.send(payment, { method: "POST", body: "one" }, `${second.url}/s/echo/`);
    expect([again.status, await again.text()]).to.deep.equal([200, await first.text()]);
    expect(settleOf(again)).to.deep.equal(settleOf(first));
    const other = await buyer.send(payment, { method: "POST", body: "two" });
    expect([other.status, (await problemOf(other)).code]).to.deep.equal([402, "voucher_used"]);
    expect(requiredOf(other)).to.include({ error: "invalid_batch_settlement_evm_cumulative_amount_mismatch" });
    expect(world.provider.seen.length).to.equal(runs);
    expect((await state()).charged).to.equal(2n * PRICE);
  });

  it("does not charge for a failing, broken, late, oversized or paid-elsewhere upstream", async () => {
    const { buyer, terms, state } = await opened();
    const cases: [string, number, string | undefined][] = [
      ["/status/500", 500, undefined], ["/status/404", 404, undefined], ["/status/402", 502, "upstream_payment_required"], ["/break", 502, "upstream_unreachable"],
      ["/slow/4000", 504, "upstream_timeout"], [`/large/${20_000_000}`, 502, "upstream_too_large"],
    ];
    for (const [path, status, code] of cases) {
      const response = await buyer.send(await buyer.voucherPayment(terms, 2n * PRICE), {}, service(path));
      expect(response.status, path).to.equal(status);
      expect(response.headers.get("payment-response"), path).to.equal(null);
      if (code !== undefined) expect(await problemOf(response)).to.include({ code });
    }
    expect(await state()).to.include({ charged: PRICE, reserved: 0n });
  });

  it("tells the buyer of a deposit that stands although the call failed", async () => {
    const buyer = manualBuyer(world.chain.account(1), service("/status/503"), pad(toHex(++salts)));
    const terms = await buyer.terms();
    const response = await buyer.send(await buyer.depositPayment(terms, 50n * PRICE, PRICE));
    expect(response.status).to.equal(503);
    expect(settleOf(response)).to.include({ success: true, amount: "50000" });
    expect(settleOf(response).extra).to.include({ chargedAmount: "0" });
    expect(settleOf(response).extra.channelState).to.include({ balance: "50000", chargedCumulativeAmount: "0" });
  });

  it("does not charge a client that left before the commit", async () => {
    const { buyer, terms, state } = await opened();
    const gone = await buyer.send(await buyer.voucherPayment(terms, 2n * PRICE), { signal: AbortSignal.timeout(150) }, service("/slow/600")).catch((error: Error) => error.name);
    expect(gone).to.equal("TimeoutError");
    await sleep(900);
    expect(await state()).to.include({ charged: PRICE, reserved: 0n });
    const { rows } = await world.relayer.deps.db.query("SELECT release_reason FROM payment WHERE state = 'released' ORDER BY resolved_at DESC LIMIT 1");
    expect(rows[0].release_reason).to.equal("client_gone");
  });

  it("carries a deposit once, however often its payment is sent", async () => {
    const buyer = manualBuyer(world.chain.account(2), service(), pad(toHex(++salts)));
    const terms = await buyer.terms();
    const payment = await buyer.depositPayment(terms, 10n * PRICE, PRICE);
    const responses = await Promise.all(Array.from({ length: 8 }, () => buyer.send(payment)));
    expect(responses.map((response) => response.status)).to.deep.equal(Array(8).fill(200));
    const bodies = await Promise.all(responses.map((response) => response.text()));
    expect(new Set(bodies).size, "one run, one answer").to.equal(1);
    const channel = (await findChannel(world.relayer.deps.db, buyer.channelId(terms)))!;
    expect(channel).to.include({ charged: PRICE, reserved: 0n, balance: 10n * PRICE });
  });

  it("serves 64 requests of one channel side by side when they carry headroom", async () => {
    const { buyer, terms, state } = await opened(200n * PRICE);
    const payments = await Promise.all(Array.from({ length: 64 }, (_, i) => buyer.voucherPayment(terms, 200n * PRICE - BigInt(i))));
    const responses = await Promise.all(payments.map((payment, i) => buyer.send(payment, { method: "POST", body: `${i}` })));
    expect(responses.every((response) => response.status === 200)).to.equal(true);
    expect(await state()).to.include({ charged: 65n * PRICE, reserved: 0n, requestCount: 65n });
  });

  describe("bad payments change nothing and name the field", () => {
    let sale: Awaited<ReturnType<typeof opened>>;
    before(async () => {
      sale = await opened();
    });

    type Case = [title: string, make: (terms: Required) => Promise<unknown>, status: number, code: string, field: string];
    const buyerOf = () => sale.buyer;
    const changed = async (terms: Required, path: string, value: unknown) => {
      const payment = structuredClone(await buyerOf().voucherPayment(terms, 2n * PRICE)) as Record<string, any>;
      const keys = path.split(".");
      const parent = keys.slice(0, -1).reduce((object, key) => object[key], payment);
      parent[keys.at(-1)!] = value;
      return payment;
    };
    const signedFor = async (terms: Required, domain: Parameters<ReturnType<typeof buyerOf>["voucher"]>[2]) => {
      const payment = await buyerOf().voucherPayment(terms, 2n * PRICE);
      return { ...payment, payload: { ...payment.payload, voucher: await buyerOf().voucher(sale.channelId, 2n * PRICE, domain) } };
    };
    const stranger = `0x${"9".repeat(40)}`;
    const CASES: Case[] = [
      ["another chain's terms", (t) => changed(t, "accepted.network", "eip155:1"), 402, "network_mismatch", "accepted.network"],
      ["another scheme", (t) => changed(t, "accepted.scheme", "upto"), 402, "scheme_mismatch", "accepted.scheme"],
      ["a lower price", (t) => changed(t, "accepted.amount", "1"), 402, "amount_mismatch", "accepted.amount"],
      ["another asset", (t) => changed(t, "accepted.asset", stranger), 402, "asset_mismatch", "accepted.asset"],
      ["another payee", (t) => changed(t, "accepted.payTo", stranger), 402, "pay_to_mismatch", "accepted.payTo"],
      ["a channel to somebody else", (t) => changed(t, "payload.channelConfig.receiver", stranger), 402, "receiver_mismatch", "payload.channelConfig.receiver"],
      ["a channel under another authorizer", (t) => changed(t, "payload.channelConfig.receiverAuthorizer", stranger), 402, "receiver_authorizer_mismatch", "payload.channelConfig.receiverAuthorizer"],
      ["a channel of another token", (t) => changed(t, "payload.channelConfig.token", stranger), 402, "token_mismatch", "payload.channelConfig.token"],
      ["a shorter withdrawal delay", (t) => changed(t, "payload.channelConfig.withdrawDelay", 900), 402, "withdraw_delay_mismatch", "payload.channelConfig.withdrawDelay"],
      ["another channel's id", (t) => changed(t, "payload.voucher.channelId", pad("0x1")), 402, "channel_id_mismatch", "payload.voucher.channelId"],
      ["a ceiling that was not signed", (t) => changed(t, "payload.voucher.maxClaimableAmount", "2001"), 402, "voucher_signature_invalid", "payload.voucher.signature"],
      ["a signature for another chain", (t) => signedFor(t, sessionChannelsDomain(1, world.relayer.deps.config.sessionChannels) as never), 402, "voucher_signature_invalid", "payload.voucher.signature"],
      ["a signature for another contract", (t) => signedFor(t, sessionChannelsDomain(84532, stranger as `0x${string}`) as never), 402, "voucher_signature_invalid", "payload.voucher.signature"],
      ["a truncated signature", (t) => changed(t, "payload.voucher.signature", "0x1234"), 402, "voucher_signature_invalid", "payload.voucher.signature"],
      ["a ceiling above the balance", (t) => buyerOf().voucherPayment(t, 101n * PRICE), 402, "voucher_ceiling_above_balance", "payload.voucher.maxClaimableAmount"],
      ["a ceiling below what is owed", (t) => buyerOf().voucherPayment(t, PRICE + 1n), 402, "voucher_ceiling_mismatch", "payload.voucher.maxClaimableAmount"],
      ["a ceiling that the deposit does not reach", (t) => buyerOf().depositPayment(t, PRICE, 500n * PRICE), 402, "voucher_ceiling_above_balance", "payload.voucher.maxClaimableAmount"],
      ["a deposit under an old ceiling", (t) => buyerOf().depositPayment(t, PRICE, PRICE + 1n), 402, "voucher_ceiling_mismatch", "payload.voucher.maxClaimableAmount"],
      ["no authorizer", (t) => changed(t, "payload.channelConfig.payerAuthorizer", `0x${"0".repeat(40)}`), 402, "channel_id_mismatch", "payload.voucher.channelId"],
      ["version 1", (t) => changed(t, "x402Version", 1), 400, "payment_malformed", "x402Version"],
      ["an amount that is a number", (t) => changed(t, "payload.voucher.maxClaimableAmount", 2000), 400, "payment_malformed", "payload.voucher.maxClaimableAmount"],
      ["an expired deposit", (t) => buyerOf().depositPayment(t, PRICE, 2n * PRICE, { validBefore: 1n }), 402, "deposit_expired", "payload.deposit.authorization.erc3009Authorization.validBefore"],
      ["a deposit not valid yet", (t) => buyerOf().depositPayment(t, PRICE, 2n * PRICE, { validAfter: 4_000_000_000n, validBefore: 4_100_000_000n }), 402, "deposit_not_yet_valid", "payload.deposit.authorization.erc3009Authorization.validAfter"],
      ["a deposit above the wallet", (t) => buyerOf().depositPayment(t, USDC("1000000"), 2n * PRICE), 402, "deposit_insufficient_balance", "payload.deposit.amount"],
    ];
    for (const [title, make, status, code, field] of CASES) {
      it(title, async () => {
        const before = await sale.state();
        const runs = world.provider.seen.length;
        const response = await sale.buyer.send(await make(sale.terms));
        expect(await problemOf(response)).to.include({ status, code, field });
        expect(response.status).to.equal(status);
        if (status === 402) expect(requiredOf(response).accepts[0].amount).to.equal("1000");
        // The follower may have read the chain meanwhile; what it found must be the same.
        const seen = { syncedBlock: 0n, countedBlock: 0n };
        expect({ ...(await sale.state()), ...seen }).to.deep.equal({ ...before, ...seen });
        expect(world.provider.seen.length).to.equal(runs);
      });
    }

    it("a refusal after a valid signature leaves an audit row that says nothing moved", async () => {
      const rows = await audits(sale.channelId);
      expect(rows.map((row) => row.code)).to.include.members(["voucher_ceiling_above_balance", "voucher_ceiling_mismatch"]);
      expect(rows.every((row) => row.moved_atomic === 0n)).to.equal(true);
    });

    it("a voucher on a channel that was never funded", async () => {
      const buyer = manualBuyer(world.chain.account(3), service(), pad(toHex(++salts)));
      const response = await buyer.send(await buyer.voucherPayment(sale.terms, PRICE));
      expect(await problemOf(response)).to.include({ status: 402, code: "channel_not_found", field: "payload.voucher.channelId" });
    });

    it("a first deposit that could not pay: nothing is deposited", async () => {
      const buyer = manualBuyer(world.chain.account(3), service(), pad(toHex(++salts)));
      const response = await buyer.send(await buyer.depositPayment(sale.terms, PRICE, 2n * PRICE));
      expect(await problemOf(response)).to.include({ status: 402, code: "voucher_ceiling_above_balance" });
      expect(await findChannel(world.relayer.deps.db, buyer.channelId(sale.terms))).to.equal(undefined);
      expect((await channels.readOne(world.relayer.deps, buyer.channelId(sale.terms))).balance).to.equal(0n);
    });

    it("a truncated, empty or doubled header", async () => {
      const header = encodeHeader(await sale.buyer.voucherPayment(sale.terms, 2n * PRICE));
      for (const bad of [header.slice(0, 401), `${header}!`, "e30=", "bnVsbA==", "W10="]) {
        const response = await fetch(service(), { headers: { "payment-signature": bad } });
        expect([response.status, (await problemOf(response)).code], bad.slice(0, 12)).to.deep.equal([400, "payment_malformed"]);
      }
      const oversized = await fetch(service(), { headers: { "payment-signature": "A".repeat(17_000) } });
      expect([400, 431]).to.include(oversized.status);
    });

    it("an oversized body, an unknown service, a refused path", async () => {
      const large = await fetch(service(), { method: "POST", body: Buffer.alloc(5_000_000) });
      expect([large.status, (await problemOf(large)).code]).to.deep.equal([413, "body_too_large"]);
      const unknown = await fetch(`${world.url}/s/nothing`);
      expect([unknown.status, (await problemOf(unknown)).code]).to.deep.equal([404, "service_unknown"]);
      const path = await fetch(service("/a%2fb"));
      expect([path.status, (await problemOf(path)).code]).to.deep.equal([400, "path_refused"]);
    });

    it("random headers and bodies never give a 5xx", async () => {
      const payment = await sale.buyer.voucherPayment(sale.terms, 2n * PRICE);
      const paths = ["accepted", "payload", "payload.voucher", "payload.channelConfig", "payload.voucher.signature", "payload.type", "payload.channelConfig.salt", "extensions", "resource"];
      const mutation = fc.tuple(fc.constantFrom(...paths), fc.oneof(fc.string(), fc.bigInt().map(String), fc.integer(), fc.constant(null), fc.object()));
      await fc.assert(
        fc.asyncProperty(fc.oneof(mutation, fc.string().map((text) => ["raw", text] as const)), fc.string(), async ([path, value], body) => {
          const mutated = structuredClone(payment) as Record<string, any>;
          const keys = path.split(".");
          keys.slice(0, -1).reduce((object, key) => object[key], mutated)[keys.at(-1)!] = value;
          const header = path === "raw" ? encodeURIComponent(String(value)) : encodeHeader(mutated);
          const response = await fetch(service(), { method: "POST", body, headers: { "payment-signature": header } });
          expect(response.status, header).to.be.lessThan(500);
        }),
        { numRuns: 150 },
      );
      expect((await sale.state()).charged <= 2n * PRICE).to.equal(true);
    });
  });

  it("leaves one trail a payment, from the 402 to the transaction, and no signature in it", async () => {
    const { buyer } = await opened();
    const terms = await buyer.terms();
    const paymentId = String(terms.accepts[0].extra["paymentId"]);
    const payment = await buyer.voucherPayment(terms, 2n * PRICE);
    const response = await buyer.send(payment);
    expect([response.headers.get("tallystick-payment-id"), settleOf(response).extra.paymentId]).to.deep.equal([paymentId, paymentId]);
    expect(await world.relayer.settlement.flush()).to.equal(true);
    const trail = lines.filter((line) => line.includes(paymentId)).map((line) => JSON.parse(line) as { event: string; txHash?: string });
    expect(trail.map(({ event }) => event)).to.deep.equal(["payment.required", "payment.reserved", "payment.charged", "payment.settled"]);
    const receipt = await world.chain.client.getTransactionReceipt({ hash: trail.at(-1)!.txHash as `0x${string}` });
    expect(receipt.status).to.equal("success");
    expect(lines.join("")).to.not.contain(String(JSON.stringify(payment).match(/"signature":"0x([0-9a-f]+)"/)![1]).slice(0, 60));
  });

  it("gives every operator's page: health, readiness, metrics, OpenAPI and its reference", async () => {
    const get = async (path: string) => fetch(world.url + path);
    expect((await get("/healthz")).status).to.equal(200);
    const ready = await get("/readyz");
    expect([ready.status, ((await ready.json()) as { ready: boolean }).ready]).to.deep.equal([200, true]);
    expect(await (await get("/metrics")).text()).to.match(/tallystick_payments_total\{outcome="charged"\} \d+/);
    const openapi = (await (await get("/openapi.json")).json()) as { openapi: string; paths: object };
    expect(openapi.openapi).to.match(/^3\.1/);
    expect(Object.keys(openapi.paths)).to.include.members(["/healthz", "/readyz", "/api/v1/services", "/s/{service}"]);
    expect(await (await get("/reference/")).text()).to.contain("swagger");
    const missing = await get("/nothing");
    expect([missing.status, missing.headers.get("content-type")]).to.deep.equal([404, "application/problem+json; charset=utf-8"]);
  });

  it("has a serializer for every answer that it describes, though each is made for the first that needs it", async () => {
    type Answer = { content?: Record<string, { schema?: object }> };
    const { paths } = (await (await fetch(`${world.url}/openapi.json`)).json()) as { paths: Record<string, Record<string, { responses: Record<string, Answer> }>> };
    const answers = Object.values(paths).flatMap((methods) => Object.values(methods)).flatMap(({ responses }) => Object.values(responses));
    const schemas = answers.flatMap(({ content = {} }) => Object.values(content)).flatMap(({ schema }) => (schema === undefined ? [] : [schema]));
    expect(schemas.length).greaterThan(100);
    for (const schema of schemas) expect(fastJsonStringify(schema), JSON.stringify(schema)).a("function");
  });
});
