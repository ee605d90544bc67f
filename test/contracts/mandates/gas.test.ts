// Gas of mandates is compared to the unit with bench/results/mandate-gas.json, and the page with the snapshot: a change is either
// wanted, and then rewritten by `npm run -s bench -- mandate-gas --update` and seen in review, or it is a mistake.
import { expect } from "chai";
import { measureMandateGas, readMandateGas, readMandatePage, withMandateTable } from "../../../bench/mandate-gas.ts";

describe("gas of mandates", function () {
  this.timeout(300_000);

  it("is exactly the committed snapshot", async () => {
    expect(await measureMandateGas()).to.deep.equal(readMandateGas());
  });

  it("is what docs/MANDATES.md says", () => {
    expect(readMandatePage()).to.equal(withMandateTable(readMandatePage(), readMandateGas()));
  });
});
