// The published cost of a verdict is what the simulation says today, and is of the size that arithmetic expects.
import { expect } from "chai";
import { readFileSync } from "node:fs";
import { markdown, simulate, simulateAll } from "../../bench/verdict-cost.ts";

describe("what buying a verdict costs", () => {
  it("docs/JOBS.md shows the simulation", () => {
    expect(readFileSync(new URL("../../docs/JOBS.md", import.meta.url), "utf8")).contain(markdown(simulateAll()));
  });

  it("one seat of one is the share of the stake, and a larger panel is harder to buy with less than half of it", () => {
    expect(simulate(1, 33).firstPanel).within(0.31, 0.35);
    const [small, large] = [simulate(3, 20), simulate(9, 20)];
    expect(large.firstPanel).lessThan(small.firstPanel);
    expect(large.afterEscalation).lessThan(small.afterEscalation);
  });
});
