// `npm run -s bench -- paid` as a stranger runs it, small: the shape of its JSON, and that the money adds up. Never speed.
import { expect } from "chai";
import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import type { ComparisonReport } from "../../bench/load/comparison.ts";

const root = fileURLToPath(new URL("../../", import.meta.url));
const run = promisify(execFile);
const bench = (...args: string[]) => run(process.execPath, ["--disable-warning=ExperimentalWarning", "bench/run.ts", ...args], { cwd: root, maxBuffer: 1 << 26 });

describe("bench paid", function () {
  this.timeout(240_000);
  let stdout: string;
  let report: ComparisonReport;

  before(async () => {
    ({ stdout } = await bench("paid", "--quick", "--json"));
    report = JSON.parse(stdout) as ComparisonReport;
  });

  it("prints one JSON object and nothing else", () => {
    expect(stdout.trim().split("\n")).lengthOf(1);
    expect(report.bench).equal("paid");
  });

  it("names machine, commit, versions, command and how the cores were divided", () => {
    expect(report.machine).to.include.all.keys("processor", "cores", "memoryGiB", "node", "fsyncMs", "loadAverage1Minute");
    expect(report.commit).match(/^([0-9a-f]{7,}\+?|unknown)$/);
    expect(Object.entries(report.versions).filter(([, version]) => !/^\d/.test(version))).deep.equal([]);
    expect(report.command).equal("npm run -s bench -- paid --quick");
    expect(report.pinning).match(/core|taskset/);
  });

  it("has a row for each server at 1, 8 and 64 in flight, with every figure", () => {
    const paid = report.rows.filter((row) => row.route === "paid");
    for (const server of ["tallystick", "stock"]) {
      expect(paid.filter((row) => row.server === server).map((row) => row.inFlight), server).deep.equal([1, 8, 64]);
      expect(report.rows.filter((row) => row.server === server && row.route === "free"), server).lengthOf(1);
    }
    for (const row of report.rows) {
      for (const figure of ["n", "rps", "p50Ms", "p99Ms", "cpuMsPerRequest", "rssMiB"] as const) expect(row[figure], `${row.server} ${row.inFlight} ${figure}`).greaterThan(0);
      expect(row.p50Ms).at.most(row.p99Ms);
    }
  });

  it("the ratio is ours to the peer's at 64 in flight", () => {
    const rps = (server: string) => report.rows.find((row) => row.server === server && row.route === "paid" && row.inFlight === 64)!.rps;
    expect(report.ratio).closeTo(rps("tallystick") / rps("stock"), 0.01);
  });

  it("signed = charged = claimed on chain = paid out, for both", () => {
    expect(report.sums.map(({ server }) => server)).deep.equal(["tallystick", "stock"]);
    for (const { signedAtomic, chargedAtomic, claimedAtomic, paidOutAtomic, agree } of report.sums) {
      expect(agree).equal(true);
      expect([chargedAtomic, claimedAtomic, paidOutAtomic]).deep.equal([signedAtomic, signedAtomic, signedAtomic]);
    }
    const served = report.rounds.filter((row) => row.server === "tallystick" && row.route === "paid").reduce((sum, row) => sum + row.n, 0);
    const [ours] = report.sums;
    expect(ours!.chargedPayments).greaterThan(served); // warm-ups are paid too
  });

  it("receipts of ours were checked, the peer has none", () => {
    const checked = (server: string) => report.rows.filter((row) => row.server === server).reduce((sum, row) => sum + row.receiptsChecked, 0);
    expect([checked("tallystick") > 10, checked("stock")]).deep.equal([true, 0]);
  });

  it("refuses an option that it does not know", async () => {
    const error = await bench("paid", "--quik").catch((failed: { stderr: string }) => failed);
    expect(error.stderr).match(/unknown option --quik/);
  });
});
