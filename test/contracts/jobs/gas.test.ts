// Gas of jobs is compared to the unit with bench/results/job-gas.json, and the page with the snapshot: a change is either wanted,
// and then rewritten by `npm run -s bench -- job-gas --update` and seen in review, or it is a mistake.
import { expect } from "chai";
import { measureJobGas, readJobGas, readJobPage, withJobTable } from "../../../bench/job-gas.ts";

describe("gas of jobs", function () {
  this.timeout(300_000);

  it("is exactly the committed snapshot", async () => {
    expect(await measureJobGas()).to.deep.equal(readJobGas());
  });

  it("is what docs/JOBS.md says", () => {
    expect(readJobPage()).to.equal(withJobTable(readJobPage(), readJobGas()));
  });
});
