// Gas of the bazaar is compared to the unit with bench/results/bazaar-gas.json, and the page with the snapshot: a change is either
// wanted, and then rewritten by `npm run -s bench -- bazaar-gas --update` and seen in review, or it is a mistake.
import { expect } from "chai";
import { measureBazaarGas, readBazaarGas, readBazaarPage, withBazaarTable } from "../../../bench/bazaar-gas.ts";

describe("gas of the bazaar", function () {
  this.timeout(300_000);

  it("is exactly the committed snapshot", async () => {
    expect(await measureBazaarGas()).to.deep.equal(readBazaarGas());
  });

  it("is what docs/BAZAAR.md says", () => {
    expect(readBazaarPage()).to.equal(withBazaarTable(readBazaarPage(), readBazaarGas()));
  });
});
