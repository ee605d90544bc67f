// Every file of docs/examples is run by some test: here, or where its surroundings are.
import { expect } from "chai";
import { readdirSync, readFileSync } from "node:fs";

const at = (path: string) => new URL(`../../${path}`, import.meta.url);

/** By example, the test that runs it. */
const RUN_BY: Record<string, string> = {
  "agent.ts": "test/sdk/agent-example.test.ts",
  "dapp.ts": "test/indexer/history.test.ts",
  "pay-by-transfer.ts": "test/relayer/transfers.test.ts",
  "provider.ts": "test/sdk/provider-loss.test.ts",
  "stream-buyer.ts": "test/sdk/stream-example.test.ts",
  "stream-provider.ts": "test/sdk/stream-example.test.ts",
};

describe("docs/examples", () => {
  it("each example is run by a test that names it", () => {
    const examples = readdirSync(at("docs/examples")).sort();
    expect(Object.keys(RUN_BY).sort()).to.deep.equal(examples);
    for (const [example, test] of Object.entries(RUN_BY)) expect(readFileSync(at(test), "utf8"), test).to.include(`docs/examples/${example}`);
  });
});
