// The bench checks what it measures (a good voucher, both sides' work); how fast is not a test's to say.
import { expect } from "chai";
import { run, table, type CryptoReport } from "../../bench/crypto.ts";

describe("bench crypto", () => {
  it("measures every step on both sides and says on what", async function () {
    this.timeout(60_000);
    const report: CryptoReport = await run(["--batches", "2"]);
    expect(report).to.include({ bench: "crypto" });
    expect(report.machine).to.match(/cores/);
    expect(report.commit).to.match(/^([0-9a-f]{7,}\+?|unknown)$/);
    expect(report.rows.map(({ name }) => name.trim())).to.include.members(["channel id, first time", "voucher check", "sign our receipt", "decode PAYMENT-SIGNATURE", "all of one paid call"]);
    for (const { name, ours, stock, ratio, operations } of report.rows) {
      for (const value of [ours.p50Ns, ours.p99Ns, stock.p50Ns, stock.p99Ns, operations]) expect(value, name).to.be.above(0);
      expect(ours.p99Ns, name).to.be.at.least(ours.p50Ns);
      expect(ratio, name).to.be.closeTo(stock.p50Ns / ours.p50Ns, 0.06);
    }
    for (const { name } of report.rows) expect(table(report)).to.include(name);
  });

  it("refuses a number of batches that is none", async () => {
    for (const wrong of ["0", "x", "1.5"]) expect(await run(["--batches", wrong]).catch((error: Error) => error)).to.be.an("error");
  });
});
