// docs/examples/stream-*.ts as their reader would run them: a provider, our relayer in front of it, a buyer with a budget.
import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { expect } from "chai";
import { parseUnits } from "viem";
import { addressOf, keyOf, ROLE } from "../support/config.ts";
import { startTestWorld, type TestWorld } from "../support/relayer.ts";
import { listChannels } from "../support/stream-world.ts";

describe("example: a streamed answer by the token", function () {
  this.timeout(180_000);
  let world: TestWorld;
  let provider: ChildProcess;

  before(async () => {
    provider = spawn(process.execPath, ["docs/examples/stream-provider.ts"], { stdio: ["ignore", "pipe", "inherit"] });
    const [origin] = (await once(provider.stdout!.setEncoding("utf8"), "data")) as [string];
    const service = { name: "summary", origin: origin.trim(), receiver: addressOf(ROLE.receiver), priceAtomic: "200", streamUnit: "token", streamPriceAtomic: "10" };
    world = await startTestWorld({ env: { RELAYER_SERVICES: JSON.stringify([service]) } });
    for (const index of [2, 3]) await world.chain.mintUSDC(world.chain.account(index).address, parseUnits("1", 6));
  });
  after(async () => {
    provider.kill();
    await world.stop();
  });

  async function buy(index: number, tokens: number, budget: number): Promise<{ words: string[]; told: string }> {
    const child = spawn(process.execPath, ["docs/examples/stream-buyer.ts", `${world.url}/s/summary/`, world.chain.url, "README.md", String(tokens), String(budget)], { stdio: ["pipe", "pipe", "inherit"] });
    child.stdin!.end(keyOf(index));
    let said = "";
    child.stdout!.setEncoding("utf8").on("data", (text: string) => (said += text));
    const [code] = (await once(child, "close")) as [number];
    expect(code, said).to.equal(0);
    const [words, told] = said.trim().split("\n") as [string, string];
    return { words: words.trim().split(" "), told };
  }
  const charged = async (index: number) => (await listChannels(world, addressOf(index)))[0]!;

  it("stops when the buyer has enough", async () => {
    const { words, told } = await buy(2, 25, 5_000);
    expect(words.length).to.equal(25);
    const ledger = await charged(2);
    expect(told).to.contain(`${ledger.charged} atomic units, stopped`);
    expect(ledger.charged >= 250n && ledger.charged % 10n === 0n && ledger.charged <= 5_000n, String(ledger.charged)).to.equal(true);
  });

  it("stops when the budget is spent", async () => {
    const { words, told } = await buy(3, 100_000, 300);
    expect(words.length).to.equal(30);
    expect(told).to.match(/^30 tokens, 300 atomic units, money, receipt pay_[0-9a-f]{32}$/);
    expect((await charged(3)).charged).to.equal(300n);
  });
});
