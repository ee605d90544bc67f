// The relayer's fee: what is booked, invoiced and paid, with real payments, by several processes, and for dishonest callers.
import { expect } from "chai";
import fc from "fast-check";
import { feeOf } from "../../relayer/src/capabilities/fees/logic.ts";
import { keepBooks } from "../../relayer/src/capabilities/fees/booking.ts";
import { sweepFees } from "../../relayer/src/capabilities/fees/sweep.ts";
import { inTransaction } from "../../relayer/src/db/pool.ts";
import { settleOf, stockBuyer } from "../support/buyer.ts";
import { addressOf, ROLE } from "../support/config.ts";
import { callerAs, type Caller } from "../support/provider-world.ts";
import { startTestWorld, type TestWorld } from "../support/relayer.ts";

const [BUYER, PROVIDER_KEY, STRANGER] = [1, ROLE.receiver, 5];

describe("fees", function () {
  this.timeout(180_000);
  let world: TestWorld;
  let provider: Caller;
  /** No sweep of its own: the test says when books are kept. */
  const env = { RELAYER_ROLE: "server", RELAYER_FEE_BPS: "250", RELAYER_INVOICE_THRESHOLD: "100" };
  before(async () => {
    world = await startTestWorld({ env });
    await world.chain.mintUSDC(addressOf(BUYER), 10_000_000n);
    await world.chain.mintUSDC(addressOf(PROVIDER_KEY), 10_000_000n);
    provider = await callerAs(world, PROVIDER_KEY);
  });
  after(() => world.stop());

  const sweep = () => sweepFees(world.relayer.deps);
  const rows = async <T>(sql: string): Promise<T[]> => (await world.relayer.deps.db.query(sql)).rows as T[];
  const buy = async (paths: string[]) => {
    const { fetch: pay } = stockBuyer(world.chain.account(BUYER), world.chain.url);
    for (const path of paths) expect((await pay(`${world.url}/s/echo${path}`)).status).equal(200);
  };
  const openInvoice = async () => {
    const { body } = await provider("GET", "/invoices");
    return (body["invoices"] as Record<string, string>[]).find(({ state }) => state === "open")!;
  };

  it("is rounded down for each payment: never above its share, nothing of nothing, never off by a unit", () => {
    fc.assert(
      fc.property(fc.bigInt({ min: 0n, max: (1n << 128n) - 1n }), fc.integer({ min: 0, max: 1_000 }), (charged, bps) => {
        const fee = feeOf(charged, bps);
        return fee * 10_000n <= charged * BigInt(bps) && (fee + 1n) * 10_000n > charged * BigInt(bps) && fee <= charged;
      }),
    );
  });

  it("books each payment's own fee, zero charges at nothing, and issues an invoice when it is worth one", async () => {
    await buy(["/a", "/charge/999", "/charge/39", "/charge/0"]);
    await sweep();
    const lines = await rows<{ charged_atomic: bigint; fee_atomic: bigint }>("SELECT charged_atomic, fee_atomic FROM fee_line ORDER BY charged_atomic");
    expect(lines.map((line) => [line.charged_atomic, line.fee_atomic])).deep.equal([[0n, 0n], [39n, 0n], [999n, 24n], [1000n, 25n]]);
    const { body } = await provider("GET", "/invoices");
    expect(body["invoices"]).lengthOf(1);
    expect(body["invoices"][0]).include({ state: "draft", calls: "4", grossAtomic: "2038", feeAtomic: "49", receiver: addressOf(PROVIDER_KEY) });
    expect(body["invoices"][0].payUrl).equal(undefined);
    expect((await provider("POST", `/invoices/${body["invoices"][0].invoiceId}/pay`)).body).include({ code: "invoice_not_issued" });
    await buy(["/b", "/c", "/d"]);
    await sweep();
    await sweep();
    expect(await openInvoice()).include({ state: "open", calls: "7", grossAtomic: "5038", feeAtomic: "124" });
  });

  it("any split into batches, by two processes at once, with a crash in between, books every payment once", async () => {
    await buy(Array.from({ length: 12 }, (_, at) => `/charge/${100 + at}`));
    const { relayer: other } = await world.anotherRelayer(env);
    // A process that dies before its commit: nothing of it stands.
    await inTransaction(world.relayer.deps.db, async (client) => {
      await client.query("SELECT * FROM fee_cursor FOR UPDATE");
      expect(await keepBooks(other.deps)).equal(undefined);
      throw new Error("dies");
    }).catch(() => {});
    const passes = await Promise.all(Array.from({ length: 8 }, (_, at) => keepBooks(at % 2 === 0 ? world.relayer.deps : other.deps, 1 + (at % 3))));
    expect(passes.some((booked) => booked === undefined)).equal(true);
    await keepBooks(world.relayer.deps);
    const [missing] = await rows<{ n: bigint }>("SELECT count(*) AS n FROM payment p LEFT JOIN fee_line l USING (payment_id) WHERE p.state = 'charged' AND l.payment_id IS NULL");
    const [sums] = await rows<Record<string, bigint>>(
      `SELECT (SELECT sum(charged_atomic) FROM payment) AS charged, (SELECT sum(charged_atomic) FROM fee_line) AS lines, (SELECT sum(gross_atomic) FROM booked_day) AS days, (SELECT sum(gross_atomic) FROM invoice) AS invoices,
         (SELECT sum(fee_atomic) FROM fee_line) AS line_fees, (SELECT sum(fee_atomic) FROM booked_day) AS day_fees, (SELECT sum(fee_atomic) FROM invoice) AS invoice_fees, (SELECT sum(calls) FROM booked_day)::bigint AS calls, (SELECT count(*) FROM payment WHERE state = 'charged') AS payments`,
    );
    expect(missing!.n).equal(0n);
    expect([sums!["lines"], sums!["days"], sums!["invoices"]]).deep.equal([sums!["charged"], sums!["charged"], sums!["charged"]]);
    expect([sums!["day_fees"], sums!["invoice_fees"]]).deep.equal([sums!["line_fees"], sums!["line_fees"]]);
    expect(sums!["calls"]).equal(sums!["payments"]);
  });

  it("waits for a slow transaction instead of passing it by", async () => {
    const { db } = world.relayer.deps;
    await keepBooks(world.relayer.deps);
    const before = await rows("SELECT 1 FROM fee_line");
    const slow = await db.connect();
    try {
      await slow.query("BEGIN");
      await slow.query("SELECT pg_current_xact_id()");
      await buy(["/while-slow"]);
      await keepBooks(world.relayer.deps);
      expect(await rows("SELECT 1 FROM fee_line")).lengthOf(before.length);
      await slow.query("COMMIT");
      await keepBooks(world.relayer.deps);
      expect(await rows("SELECT 1 FROM fee_line")).lengthOf(before.length + 1);
    } finally {
      slow.release();
    }
  });

  it("is paid by a stock x402 client, once, and the same payment again gets the same answer", async () => {
    const { invoiceId, feeAtomic, payUrl } = await openInvoice();
    const unpaid = await fetch(payUrl!, { method: "POST" });
    expect([unpaid.status, ((await unpaid.json()) as { code: string }).code]).deep.equal([402, "payment_required"]);
    const { fetch: pay } = stockBuyer(world.chain.account(PROVIDER_KEY), world.chain.url);
    const paid = await pay(payUrl!, { method: "POST" });
    expect(paid.status).equal(200);
    expect(settleOf(paid).extra.chargedAmount).equal(feeAtomic);
    const told = (await paid.json()) as Record<string, string>;
    expect(told).include({ invoiceId, state: "paid", feeAtomic });
    expect((await provider("GET", `/invoices/${invoiceId}`)).body).include({ state: "paid", paymentId: told["paymentId"] });
    const again = await fetch(payUrl!, { method: "POST" });
    expect([again.status, ((await again.json()) as { code: string }).code]).deep.equal([409, "invoice_paid"]);
    const [books] = await rows<{ n: bigint }>("SELECT count(*) AS n FROM payment WHERE service = 'relayer.fees' AND state = 'charged'");
    expect(books!.n).equal(1n);
    // The relayer owes itself no fee for what it was paid.
    await sweep();
    const own = await rows<{ fee_atomic: bigint; gross_atomic: bigint }>("SELECT gross_atomic, fee_atomic FROM booked_day WHERE service = 'relayer.fees'");
    expect(own.map((row) => [row.gross_atomic, row.fee_atomic])).deep.equal([[BigInt(feeAtomic!), 0n]]);
  });

  it("is seen by whoever owes it alone", async () => {
    const stranger = await callerAs(world, STRANGER);
    const { body } = await provider("GET", "/invoices");
    const { invoiceId } = body["invoices"][0];
    expect((await stranger("GET", `/invoices/${invoiceId}`)).status).equal(404);
    expect((await stranger("GET", `/invoices/${invoiceId}/lines`)).status).equal(404);
    expect((await stranger("GET", "/invoices")).body["invoices"]).deep.equal([]);
    for (const path of ["/invoices", `/invoices/${invoiceId}`, "/fees"]) expect((await fetch(`${world.url}/api/v1${path}`)).status).equal(401);
    const lines = (await provider("GET", `/invoices/${invoiceId}/lines`)).body["lines"] as { feeAtomic: string }[];
    expect(String(lines.reduce((sum, { feeAtomic }) => sum + BigInt(feeAtomic), 0n))).equal(body["invoices"][0].feeAtomic);
  });
});
