// docs/INTEROP.md says what the matrix runs, no more and no less.
import { expect } from "chai";
import { CLIENTS, COMBINATIONS, FACILITATORS, SCHEMES, SERVERS } from "./pairings.ts";
import { documentedText, pairingsText } from "./table.ts";

describe("docs/INTEROP.md", () => {
  it("has the matrix's own table; after a change: npm run exec test/interop/matrix/table.ts", () => {
    expect(documentedText()).to.equal(pairingsText());
  });

  it("counts every combination once", () => {
    const keys = COMBINATIONS.map(({ client, server, facilitator, scheme }) => `${client} ${server} ${facilitator} ${scheme}`);
    expect(new Set(keys).size).to.equal(keys.length);
    expect(keys.length).to.equal([CLIENTS, SERVERS, FACILITATORS, SCHEMES].reduce((count, parts) => count * Object.keys(parts).length, 1));
  });
});
