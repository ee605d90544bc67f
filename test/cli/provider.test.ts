// tallystick statements, payouts and invoices: a provider's side of the money, with a real relayer and chain.
import { expect } from "chai";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { sweepFees } from "../../relayer/src/capabilities/fees/sweep.ts";
import { stockBuyer } from "../support/buyer.ts";
import { tallystick } from "../support/cli.ts";
import { addressOf, keyOf, ROLE } from "../support/config.ts";
import { startTestWorld, type TestWorld } from "../support/relayer.ts";

const [BUYER, PROVIDER] = [1, ROLE.receiver];

describe("tallystick statements, payouts, invoices", function () {
  this.timeout(180_000);
  let world: TestWorld;
  let folder: string;
  before(async () => {
    [world, folder] = await Promise.all([startTestWorld({ env: { RELAYER_ROLE: "server", RELAYER_FEE_BPS: "1000", RELAYER_INVOICE_THRESHOLD: "100" } }), mkdtemp(join(tmpdir(), "tallystick-provider-"))]);
    for (const index of [BUYER, PROVIDER]) await world.chain.mintUSDC(addressOf(index), 1_000_000n);
    expect((await stockBuyer(world.chain.account(BUYER), world.chain.url).fetch(`${world.url}/s/echo/x`)).status).equal(200);
    await sweepFees(world.relayer.deps);
  });
  after(async () => {
    await world.stop();
    await rm(folder, { recursive: true, force: true });
  });

  const run = (args: string[], index: number = PROVIDER) =>
    tallystick(args, { env: { TALLYSTICK_PRIVATE_KEY: keyOf(index), TALLYSTICK_RELAYER_URL: world.relayer.deps.config.publicUrl, TALLYSTICK_RPC_URL: world.chain.url, TALLYSTICK_STATE: join(folder, String(index)) } });

  it("statements: for people, as JSON, as CSV to stdout and into a file", async () => {
    const shown = await run(["statements"]);
    expect([shown.code, shown.stderr]).deep.equal([0, ""]);
    expect(shown.stdout).match(/echo +1 +0\.001 +0\.0001 +0 +0\.0009/);
    const { json } = await run(["statements", "--json"]);
    expect(json["totals"]).deep.equal({ calls: 1, grossAtomic: "1000", feesAtomic: "100", refundsAtomic: "0", netAtomic: "900" });
    const csv = await run(["statements", "--csv"]);
    expect(csv.stdout).match(/^record,at,service,/).include(",echo,1,1000,100,0,900,");
    const path = join(folder, "a.csv");
    expect((await run(["statements", "--csv", "-o", path])).code).equal(0);
    expect(await readFile(path, "utf8")).equal(csv.stdout);
    const other = await run(["statements", "--json"], BUYER);
    expect(other.json["lines"]).deep.equal([]);
    for (const wrong of [["--from", "yesterday"], ["-o", "x"], ["--from", "2026-02-30"]]) expect((await run(["statements", ...wrong])).code, wrong.join(" ")).not.equal(0);
  });

  it("payouts: schedule, ask, see it done", async () => {
    expect((await run(["payouts", "schedule", "threshold", "--threshold", "0.5", "--json"])).json["schedule"]).deep.equal({ kind: "threshold", thresholdAtomic: "500000" });
    expect((await run(["payouts", "schedule", "on-demand"])).stdout).include("on demand");
    expect(await world.relayer.settlement.flush()).equal(true);
    expect((await run(["payouts", "show", "--json"])).json).include({ owedAtomic: "1000", paidOutAtomic: "0" });
    expect((await run(["payouts", "now", "--json"])).json).include({ state: "open" });
    expect(await world.relayer.settlement.flush()).equal(true);
    expect(await world.relayer.settlement.flush()).equal(true);
    const { json } = await run(["payouts", "show", "--json"]);
    expect(json).include({ owedAtomic: "0", paidOutAtomic: "1000" });
    expect(json["requests"][0]).include({ state: "done", amountAtomic: "1000" });
    for (const wrong of [["weekly"], ["threshold"], ["daily"], ["daily", "--hour", "24"], ["immediate", "--hour", "1"]]) expect((await run(["payouts", "schedule", ...wrong])).code, wrong.join(" ")).equal(2);
  });

  it("invoices: list, pay exactly the fee, once", async () => {
    const { json } = await run(["invoices", "list", "--json"]);
    const [invoice] = json["invoices"];
    expect(invoice).include({ state: "open", feeAtomic: "100" });
    const paid = await run(["invoices", "pay", invoice.invoiceId, "--json"]);
    expect([paid.code, paid.stderr]).deep.equal([0, ""]);
    expect(paid.json).include({ invoiceId: invoice.invoiceId, state: "paid", feeAtomic: "100" });
    const again = await run(["invoices", "pay", invoice.invoiceId, "--json"]);
    expect([again.code, again.json["error"].code]).deep.equal([1, "invoice_paid"]);
    expect((await run(["invoices", "list"])).stdout).include("paid");
    const stranger = await run(["invoices", "pay", invoice.invoiceId, "--json"], BUYER);
    expect([stranger.code, stranger.json["error"].code]).deep.equal([1, "invoice_unknown"]);
    expect((await run(["invoices", "pay", "7"])).code).equal(2);
  });
});
