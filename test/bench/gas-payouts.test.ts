// The kept gas figures: chart and table are what they say, and the advice about forms that docs/PERFORMANCE.md gives holds for them.
// (That the figures are the contracts' is test/contracts/gas.test.ts.)
import { expect } from "chai";
import { readFile } from "node:fs/promises";
import { chartSvg } from "../../bench/chart.ts";
import { FORMS, MIXED_FROM } from "../../bench/gas-batches.ts";
import { gasChart, payoutsOf, payoutTable, readChart, readKept } from "../../bench/gas-payouts.ts";

const kept = await readKept();
const payouts = payoutsOf(kept);
const gasOf = (rows: number, receivers: number, form: (typeof FORMS)[number]) => payouts.find((shape) => shape.rows === rows && shape.receivers === receivers)!.forms.get(form)!.gas;

describe("the kept gas of payouts", () => {
  it("has every size over every number of receivers it can have, in every form", () => {
    for (const rows of [1, 10, 25, 100, 500]) {
      for (const receivers of [1, 10, 100].filter((count) => count <= rows)) {
        const shape = payouts.find((one) => one.rows === rows && one.receivers === receivers && !one.skewed);
        expect([...shape!.forms.keys()], `${rows} over ${receivers}`).to.have.members([...FORMS]);
        for (const figures of shape!.forms.values()) for (const value of Object.values(figures)) expect(value).to.be.above(0);
      }
    }
  });

  it("is what the chart and the table show", async () => {
    expect(await readChart()).to.equal(chartSvg(gasChart(kept)));
    const page = await readFile(new URL("../../docs/PERFORMANCE.md", import.meta.url), "utf8");
    expect(page).to.include(payoutTable(kept).join("\n"));
  });

  it("bears out how a form is chosen", () => {
    for (const { rows, forms } of payouts) {
      const least = Math.min(...[...forms.values()].map(({ gas }) => gas));
      expect(forms.get("mixed")!.gas, `${rows} rows`).to.be.at.most(least * 1.01);
    }
    for (const [rows, receivers] of [[1, 1], [2, 1], [3, 1], [10, 10], [20, 10], [30, 10], [40, 10], [100, 100]] as const) {
      const packs = gasOf(rows, receivers, "packed, multicall") < gasOf(rows, receivers, "claimAndSettle");
      expect(packs, `${rows} over ${receivers}`).to.equal(rows / receivers >= MIXED_FROM);
    }
  });

  it("shows where batching loses", () => {
    const alone = gasOf(1, 1, "claimAndSettle");
    for (const count of [10, 100]) expect(gasOf(count, count, "packed, a transaction a group")).to.be.above(count * alone);
    expect(payoutTable(kept).filter((line) => line.includes("(loses)"))).to.have.lengthOf(3);
  });
});
