import { expect } from "chai";
import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { parseUnits } from "viem";
import { generatePrivateKey, privateKeyToAccount } from "viem/accounts";
import { startTestWorld, type TestWorld } from "../support/relayer.ts";

const root = fileURLToPath(new URL("../../", import.meta.url));

describe("the agent of docs/examples", function () {
  this.timeout(60_000);
  let world: TestWorld;
  before(async () => void (world = await startTestWorld()));
  after(() => world.stop());

  it("buys three answers with one deposit and gets the rest back", async () => {
    const key = generatePrivateKey();
    await world.chain.mintUSDC(privateKeyToAccount(key).address, parseUnits("1", 6));
    const said = await new Promise<string>((done, failed) => {
      const child = execFile(process.execPath, ["docs/examples/agent.ts", `${world.url}/s/echo/`, world.chain.url], { cwd: root }, (error, stdout, stderr) => (error === null ? done(stdout) : failed(new Error(stderr))));
      child.stdin!.end(key);
    });
    expect(said.match(/^paid 1000 for pay_[0-9a-f]{32}, receipt of \d+ ms$/gm)).lengthOf(3);
    expect(said.match(/^200 \{/gm)).lengthOf(3);
    // The service asks for a deposit of at least 100 calls.
    expect(said).contain("wallet 900000, in channels 97000 free").and.match(/^refunded 97000$/m);
  });
});
