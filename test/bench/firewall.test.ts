// The bench passes the gate that it measures; how fast is not a test's to say.
import { expect } from "chai";
import { run, table, type FirewallReport } from "../../bench/firewall.ts";

describe("bench firewall", () => {
  it("measures every kind of policy, and says on what", async function () {
    this.timeout(180_000);
    const report: FirewallReport = await run(["--calls", "40"]);
    expect(report).to.include({ bench: "firewall", goalP50Us: 50 });
    expect(report.machine).to.match(/cores/);
    expect(report.commit).to.match(/^([0-9a-f]{7,}\+?|unknown)$/);
    expect(report.rows.map(({ policies }) => policies)).to.deep.equal(["none", "typical", "1,000-entry lists", "typical, under a mandate", "1,000-entry lists, under a mandate"]);
    for (const { policies, p50Us, p99Us, ratePerSecond, n } of report.rows) {
      expect(p50Us, policies).to.be.at.least(0);
      expect(p99Us, policies).to.be.at.least(p50Us);
      expect(ratePerSecond, policies).to.be.above(0);
      expect(n).to.equal(40);
      expect(table(report)).to.include(policies);
    }
    const last = report.rows.at(-1)!;
    expect([report.p50Us, report.p99Us, report.ratePerSecond]).to.deep.equal([last.p50Us, last.p99Us, last.ratePerSecond]);
    expect(report.auditWriterUsAnEntry).to.be.above(0);
  });

  it("refuses a number of calls that is none", async () => {
    for (const wrong of ["0", "x", "1.5"]) expect(await run(["--calls", wrong]).catch((error: Error) => error)).to.be.an("error");
  });
});
