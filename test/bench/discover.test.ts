// The bench asks every kind of question of a relayer that runs; how fast is not a test's to say.
import { expect } from "chai";
import { run, table } from "../../bench/discover.ts";

describe("bench discover", () => {
  it("asks in every form, alone and eight at once, and says on what", async function () {
    this.timeout(180_000);
    const report = await run(["--quick"]);
    expect(report).to.include({ bench: "discover", goalP99Ms: 50, services: 200, receipts: 1_000 });
    expect(report.machine).to.match(/cores/);
    expect(new Set(report.rows.map(({ question }) => question)).size).to.equal(9);
    for (const { question, inFlight, n, p50Ms, p99Ms, maxMs } of report.rows) {
      expect(inFlight, question).to.be.oneOf([1, 8]);
      expect(n, question).to.equal(20);
      expect(p50Ms <= p99Ms && p99Ms <= maxMs, question).to.equal(true);
      expect(table(report)).to.include(question);
    }
  });
});
