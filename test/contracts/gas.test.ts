// Gas is compared to the unit with bench/results/gas.json: a change is either wanted, and then rewritten by
// `npm run -s bench -- gas --update` and seen in review, or it is a mistake.
import { expect } from "chai";
import { measureGas, readSnapshot, snapshotOf } from "../../bench/gas.ts";

describe("gas", () => {
  it("is exactly the committed snapshot", async function () {
    this.timeout(600_000);
    const measured = JSON.parse(snapshotOf(await measureGas())) as object;
    expect(measured).to.deep.equal(JSON.parse(readSnapshot()));
  });
});
