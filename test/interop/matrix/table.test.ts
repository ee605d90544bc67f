// docs/INTEROP.md says what the matrix runs, no more and no less.
import { expect } from "chai";
import { COMBINATIONS, PAIRINGS } from "./pairings.ts";
import { documentedText, pairingsText } from "./table.ts";

describe("docs/INTEROP.md", () => {
  it("has the matrix's own table; after a change: node test/interop/matrix/table.ts", () => {
    expect(documentedText()).to.equal(pairingsText());
  });

  it("every combination is either run or has its reason", () => {
    const key = ({ client, server, facilitator, scheme }: (typeof PAIRINGS)[number]) => `${client} ${server} ${facilitator} ${scheme}`;
    const run = PAIRINGS.map(key);
    expect(new Set(run).size).to.equal(run.length);
    expect(COMBINATIONS.filter(({ impossible }) => impossible === undefined).map(key)).to.have.members(run);
  });
});
