// Invoices: terms that change, standing orders, payments that race or crash, and providers that do not pay.
import { expect } from "chai";
import { applyTerms, keepBooks } from "../../relayer/src/capabilities/fees/booking.ts";
import { closePaid, issueInvoices } from "../../relayer/src/capabilities/fees/invoices.ts";
import { sweepFees } from "../../relayer/src/capabilities/fees/sweep.ts";
import type { GatewayDeps } from "../../relayer/src/capabilities/gateway/rail.ts";
import { signFeeVouchers } from "../../sdk/src/provider/fee-vouchers.ts";
import type { ChannelConfig } from "../../sdk/src/typed-data.ts";
import { manualBuyer, settleOf, stockBuyer } from "../support/buyer.ts";
import { addressOf, ROLE } from "../support/config.ts";
import { callerAs, type Caller } from "../support/provider-world.ts";
import { startTestWorld, type TestWorld } from "../support/relayer.ts";
import { idOf, Sessions } from "../support/session.ts";

const [BUYER, PROVIDER, OTHER] = [1, ROLE.receiver, 5];
const DAY_MS = 86_400_000;

describe("invoices", function () {
  this.timeout(180_000);
  let world: TestWorld;
  let provider: Caller;
  let deps: GatewayDeps;
  before(async () => {
    world = await startTestWorld({ env: { RELAYER_ROLE: "server", RELAYER_FEE_BPS: "1000", RELAYER_INVOICE_THRESHOLD: "100", RELAYER_INVOICE_PERIOD: "day", RELAYER_INVOICE_DUE_S: "3600", RELAYER_FEE_GRACE_S: "86400" } });
    deps = world.relayer.deps;
    for (const index of [BUYER, PROVIDER, OTHER]) await world.chain.mintUSDC(addressOf(index), 10_000_000n);
    provider = await callerAs(world, PROVIDER);
  });
  after(() => world.stop());

  let bought = 0;
  /** Another path each time: else it would be the same payment again. */
  const buy = (path = `/x/${bought++}`) => stockBuyer(world.chain.account(BUYER), world.chain.url).fetch(`${world.url}/s/echo${path}`);
  const sell = async (calls = 1) => {
    for (let call = 0; call < calls; call++) expect((await buy()).status).equal(200);
  };
  const invoices = async () => (await provider("GET", "/invoices")).body["invoices"] as Record<string, string>[];
  const codeOf = async (answer: Response) => [answer.status, ((await answer.json()) as { code: string }).code];
  /** Sells for one invoice of 100 and issues it. */
  const invoiced = async () => {
    await sell();
    await keepBooks(deps);
    await issueInvoices(deps);
    return (await invoices())[0]!;
  };
  const feeConfig = async (index: number, change: Partial<ChannelConfig> = {}): Promise<ChannelConfig> => {
    const { body } = await provider("GET", "/fees");
    const { address } = world.chain.account(index);
    return { payer: address, payerAuthorizer: address, receiver: body["receiver"], receiverAuthorizer: body["terms"].receiverAuthorizer, token: body["terms"].asset, withdrawDelay: body["terms"].withdrawDelay, salt: `0x${"0".repeat(63)}7`, ...change };
  };
  const vouchers = async (config: ChannelConfig, index: number, ceiling: bigint, invoices = 1) => (await signFeeVouchers({ account: world.chain.account(index), chainId: 84532, channelConfig: config, ceiling, invoices })).vouchers;

  it("takes each payment by the terms of its time, whenever it is booked", async () => {
    await sell(2);
    const fee = (bps: number, overrides: GatewayDeps["config"]["fee"]["overrides"] = []) => ({ ...deps, config: { ...deps.config, fee: { ...deps.config.fee, bps, overrides } } });
    await applyTerms(fee(100));
    await sell();
    await applyTerms(fee(100, [{ receiver: addressOf(PROVIDER), bps: 50 }]));
    await sell();
    expect((await provider("GET", "/fees")).body).include({ feeBps: 50 });
    await applyTerms(fee(1000));
    await applyTerms(fee(1000));
    await sell();
    await keepBooks(deps);
    const { rows } = await deps.db.query("SELECT fee_bps, count(*)::int AS calls, sum(fee_atomic)::int AS fee FROM fee_line GROUP BY fee_bps ORDER BY fee_bps");
    expect(rows).deep.equal([{ fee_bps: 50, calls: 1, fee: 5 }, { fee_bps: 100, calls: 1, fee: 10 }, { fee_bps: 1000, calls: 3, fee: 300 }]);
    expect((await deps.db.query("SELECT 1 FROM fee_terms")).rowCount).equal(5);
    await issueInvoices(deps);
    expect((await invoices())[0]).include({ state: "open", feeAtomic: "315", calls: "5" });
  });

  it("two payments of one invoice at once: one is charged, the other is given back", async () => {
    const [{ payUrl, invoiceId }] = (await invoices()) as [{ payUrl: string; invoiceId: string }];
    const hands = await Promise.all([PROVIDER, OTHER].map(async (index) => manualBuyer(world.chain.account(index), payUrl)));
    const payments: unknown[] = [];
    for (const hand of hands) {
      const response = await fetch(payUrl, { method: "POST" });
      expect(response.status).equal(402);
      const required = JSON.parse(Buffer.from(response.headers.get("payment-required")!, "base64").toString()) as Awaited<ReturnType<(typeof hands)[number]["terms"]>>;
      payments.push(await hand.depositPayment(required, 1_000n, 315n));
    }
    const answers = await Promise.all(hands.map((hand, at) => hand.send(payments[at], { method: "POST" })));
    expect(answers.map(({ status }) => status).filter((status) => status === 200)).lengthOf(1);
    const lost = answers.find(({ status }) => status !== 200)!;
    expect(["invoice_paid", "invoice_being_paid"]).include((await codeOf(lost))[1]);
    const { rows } = await deps.db.query("SELECT state, count(*)::int AS n FROM payment WHERE service = 'relayer.fees' AND resource LIKE $1 GROUP BY state ORDER BY state", [`%${invoiceId}%`]);
    expect(rows).deep.equal([{ state: "charged", n: 1 }, { state: "released", n: 1 }]);
    // The same payment again: the same answer, and nothing is charged again.
    const winner = answers.findIndex(({ status }) => status === 200);
    const again = await hands[winner]!.send(payments[winner], { method: "POST" });
    expect([again.status, await again.text()]).deep.equal([200, await answers[winner]!.text()]);
    expect((await invoices())[0]).include({ invoiceId, state: "paid" });
  });

  it("a crash after the charge loses nothing: the next pass closes the invoice", async () => {
    const { invoiceId, payUrl } = await invoiced();
    // The process dies before it can close: its last durable step is the charge.
    await deps.db.query("CREATE FUNCTION dies() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'dies'; END $$");
    await deps.db.query("CREATE TRIGGER dies BEFORE UPDATE ON invoice FOR EACH ROW WHEN (NEW.state = 'paid') EXECUTE FUNCTION dies()");
    const paid = await stockBuyer(world.chain.account(OTHER), world.chain.url).fetch(payUrl!, { method: "POST" });
    expect(paid.status).equal(500);
    await deps.db.query("DROP TRIGGER dies ON invoice");
    expect((await provider("GET", `/invoices/${invoiceId}`)).body["state"]).equal("open");
    expect(await codeOf(await manualBuyer(world.chain.account(PROVIDER), payUrl!).send(await unpaidVoucher(payUrl!), { method: "POST" }))).deep.equal([503, "invoice_being_paid"]);
    await closePaid(deps);
    expect((await provider("GET", `/invoices/${invoiceId}`)).body["state"]).equal("paid");
  });

  /** The provider's next voucher on the channel it paid by before, or a first deposit. */
  async function unpaidVoucher(payUrl: string) {
    const hand = manualBuyer(world.chain.account(PROVIDER), payUrl, `0x${"0".repeat(63)}9`);
    const response = await fetch(payUrl, { method: "POST" });
    const required = JSON.parse(Buffer.from(response.headers.get("payment-required")!, "base64").toString()) as Awaited<ReturnType<typeof hand.terms>>;
    return hand.depositPayment(required, 1_000n, BigInt(required.accepts[0].amount));
  }

  it("a standing order pays each invoice once, never above its ceiling, and says which voucher paid what", async () => {
    const config = await feeConfig(PROVIDER);
    await new Sessions(world.chain).deposit(config, world.chain.account(PROVIDER), 250n, { sender: world.chain.account(OTHER) });
    const left = await provider("PUT", "/fees/authorization", { channelConfig: config, vouchers: await vouchers(config, PROVIDER, 250n, 3) });
    expect([left.status, left.body["vouchers"].length]).deep.equal([200, 3]);
    const { relayer: another } = await world.anotherRelayer({ RELAYER_ROLE: "server", RELAYER_FEE_BPS: "1000" });
    for (const paid of [1, 2]) {
      const { invoiceId } = await invoiced();
      // Both workers try at the same time, and again.
      await Promise.all([sweepFees(deps), sweepFees(another.deps), sweepFees(deps)]);
      await sweepFees(another.deps);
      await sweepFees(deps);
      expect((await provider("GET", `/invoices/${invoiceId}`)).body["state"], `invoice ${paid}`).equal("paid");
    }
    const third = await invoiced();
    await sweepFees(deps);
    expect((await invoices())[0]).include({ invoiceId: third["invoiceId"]!, state: "open" });
    const { rows } = await deps.db.query("SELECT charged::int AS charged FROM channel WHERE channel_id = $1", [Buffer.from(idOf(config).slice(2), "hex")]);
    expect(rows).deep.equal([{ charged: 200 }]);
    const { body } = await provider("GET", "/fees");
    expect((body["vouchers"] as { invoiceId?: string }[]).filter(({ invoiceId }) => invoiceId !== undefined)).lengthOf(2);
    expect((await provider("DELETE", "/fees/authorization")).body["vouchers"]).lengthOf(2);
  });

  it("another's vouchers, foreign channels and wrong signatures pay nobody's invoices", async () => {
    const other = await callerAs(world, OTHER);
    const mine = await feeConfig(PROVIDER);
    const leave = async (call: Caller, config: ChannelConfig, signed: Awaited<ReturnType<typeof vouchers>>) => {
      const { status, body } = await call("PUT", "/fees/authorization", { channelConfig: config, vouchers: signed });
      return [status, body["code"]];
    };
    expect(await leave(other, mine, await vouchers(mine, PROVIDER, 10n))).deep.equal([400, "channel_not_yours"]);
    expect(await leave(provider, mine, await vouchers(mine, OTHER, 10n))).deep.equal([400, "voucher_malformed"]);
    const elsewhere = await feeConfig(PROVIDER, { receiver: addressOf(OTHER) });
    expect(await leave(provider, elsewhere, await vouchers(elsewhere, PROVIDER, 10n))).deep.equal([402, "receiver_mismatch"]);
    const ours = await feeConfig(PROVIDER, { receiverAuthorizer: addressOf(OTHER) });
    expect(await leave(provider, ours, await vouchers(ours, PROVIDER, 10n))).deep.equal([402, "receiver_authorizer_mismatch"]);
    expect(await leave(provider, { ...mine, salt: `0x${"1".repeat(64)}` }, await vouchers(mine, PROVIDER, 10n))).deep.equal([400, "voucher_malformed"]);
    expect(await leave(provider, mine, [])).deep.equal([400, "request_malformed"]);
    expect((await other("GET", "/fees")).body["vouchers"]).deep.equal([]);
    expect((await deps.db.query("SELECT 1 FROM fee_voucher WHERE invoice_id IS NULL")).rowCount).equal(0);
  });

  it("an invoice that stays unpaid beyond the grace pauses the services, and paying it resumes them; what was paid can be fetched", async () => {
    const kept = manualBuyer(world.chain.account(BUYER), `${world.url}/s/echo/kept`, `0x${"0".repeat(63)}3`);
    const payment = await kept.depositPayment(await kept.terms(), 100_000n, 1_000n);
    const first = await (await kept.send(payment)).text();
    const [{ invoiceId, payUrl }] = (await invoices()) as [{ invoiceId: string; payUrl: string }];
    const later = { ...deps, now: () => new Date(Date.now() + 3_600_000 + DAY_MS + 1_000) };
    await sweepFees(deps);
    expect((await fetch(`${world.url}/s/echo/new`)).status).equal(402);
    await sweepFees(later);
    deps.catalog.changed("echo");
    const paused = await fetch(`${world.url}/s/echo/new`);
    expect([paused.headers.get("retry-after"), ...(await codeOf(paused))]).deep.equal(["3600", 503, "service_paused"]);
    const voucher = await kept.voucherPayment(await termsBefore(payment), 2_000n);
    expect(await codeOf(await kept.send(voucher, {}, `${world.url}/s/echo/other`))).deep.equal([503, "service_paused"]);
    expect(await (await kept.send(payment)).text()).equal(first);
    const { rows } = await deps.db.query("SELECT sum(reserved)::int AS reserved FROM channel");
    expect(rows).deep.equal([{ reserved: 0 }]);

    expect((await fetch(payUrl, { method: "POST" })).status).equal(402); // fees can be paid all the same
    for (const open of (await invoices()).filter(({ state }) => state === "open" || state === "overdue")) {
      const paid = await stockBuyer(world.chain.account(OTHER), world.chain.url).fetch(open["payUrl"]!, { method: "POST" });
      expect([paid.status, settleOf(paid).extra.chargedAmount]).deep.equal([200, open["feeAtomic"]]);
    }
    await sweepFees(later);
    deps.catalog.changed("echo");
    expect((await provider("GET", `/invoices/${invoiceId}`)).body["state"]).equal("paid");
    expect((await fetch(`${world.url}/s/echo/new`)).status).equal(402);
  });

  /** The terms that a payment was made to, as its client keeps them. */
  async function termsBefore(payment: { accepted: unknown; resource: unknown }) {
    return { x402Version: 2, error: "", resource: payment.resource, accepts: [payment.accepted], extensions: {} } as Awaited<ReturnType<ReturnType<typeof manualBuyer>["terms"]>>;
  }

  it("a period that is over and booked is invoiced however small; one that came to nothing is settled at once", async () => {
    const config = { ...deps.config, fee: { ...deps.config.fee, invoiceThreshold: 0n } };
    expect((await buy("/charge/19")).status).equal(200);
    await keepBooks(deps);
    await issueInvoices({ ...deps, config });
    expect((await invoices())[0]).include({ state: "draft" });
    const tomorrow = new Date(Date.now() + DAY_MS);
    await issueInvoices({ ...deps, config, now: () => tomorrow }); // over, but the books are of today
    expect((await invoices())[0]).include({ state: "draft" });
    await deps.db.query("UPDATE fee_cursor SET booked_at = $1", [tomorrow]);
    await issueInvoices({ ...deps, config, now: () => tomorrow });
    expect((await invoices())[0]).not.include({ state: "draft" });
    expect((await deps.db.query("SELECT 1 FROM invoice WHERE state = 'open' AND fee_atomic = 0")).rowCount).equal(0);
  });
});
