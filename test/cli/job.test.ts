// tallystick job and dispute from one end to the other: posted, hired, delivered, disputed, voted on by a panel of one, split.
import { expect } from "chai";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { encodeFunctionData, maxUint256, parseUnits } from "viem";
import { disputeEvaluatorAbi } from "../../sdk/src/abi/dispute-evaluator.ts";
import { testUSDCAbi } from "../../sdk/src/abi/test-usdc.ts";
import { BASE_SEPOLIA, LOCAL_DISPUTE_EVALUATOR, LOCAL_MANDATE_REGISTRY } from "../../sdk/src/constants.ts";
import { until } from "../../scripts/local/process.ts";
import { tallystick } from "../support/cli.ts";
import { addressOf, keyOf } from "../support/config.ts";
import { JOBS_ENV } from "../support/jobs.ts";
import { startTestWorld, type TestWorld } from "../support/relayer.ts";
import { Sessions } from "../support/session.ts";

const [CLIENT, PROVIDER, VERIFIER, AGENT] = [2, 3, 4, 5];

describe("tallystick job", function () {
  this.timeout(240_000);
  let world: TestWorld;
  let folder: string;
  before(async () => {
    [world, folder] = await Promise.all([startTestWorld({ env: JOBS_ENV }), mkdtemp(join(tmpdir(), "tallystick-job-"))]);
    const verifier = world.chain.account(VERIFIER);
    for (const index of [CLIENT, VERIFIER]) await world.chain.mintUSDC(world.chain.account(index).address, parseUnits("10", 6));
    const sessions = new Sessions(world.chain);
    await sessions.sendTo(verifier, BASE_SEPOLIA.usdc.address, encodeFunctionData({ abi: testUSDCAbi, functionName: "approve", args: [LOCAL_DISPUTE_EVALUATOR, maxUint256] }));
    await sessions.sendTo(verifier, LOCAL_DISPUTE_EVALUATOR, encodeFunctionData({ abi: disputeEvaluatorAbi, functionName: "bond", args: [1_000_000n] }));
  });
  after(async () => {
    await world.stop();
    await rm(folder, { recursive: true, force: true });
  });

  const run = (index: number, args: string[]) =>
    tallystick([...args, "--json"], { env: { TALLYSTICK_PRIVATE_KEY: keyOf(index), TALLYSTICK_RELAYER_URL: world.relayer.deps.config.publicUrl, TALLYSTICK_RPC_URL: world.chain.url, TALLYSTICK_REGISTRY: LOCAL_MANDATE_REGISTRY, TALLYSTICK_STATE: join(folder, String(index)) } });
  const well = async (index: number, args: string[]) => {
    const ended = await run(index, args);
    expect(ended.code, `${args.join(" ")}: ${ended.stderr}${ended.stdout}`).equal(0);
    return ended.json;
  };

  it("is posted, hired, delivered and disputed; a verifier votes, and its ruling can be read", async () => {
    const posted = await well(CLIENT, ["job", "post", "--provider", addressOf(PROVIDER), "--title", "Two pages", "--description", "In French", "--budget", "2", "--within", "600", "--review", "120", "--panel", "1"]);
    const jobId = posted["jobId"] as string;
    const tooDear = await run(CLIENT, ["job", "hire", jobId, "--max", "1"]);
    expect([tooDear.code === 0, (tooDear.json["error"] as { code: string }).code]).deep.equal([false, "budget_too_high"]);
    const hired = await well(CLIENT, ["job", "hire", jobId, "--max", "2"]);
    expect(hired).nested.include({ state: "funded", "escrow.amountAtomic": "2000000" });
    const page = join(folder, "page.txt");
    await writeFile(page, "Bonjour");
    expect((await run(CLIENT, ["job", "submit", jobId, page])).code, "the client delivers nothing").not.equal(0);
    expect(await well(PROVIDER, ["job", "submit", jobId, page])).include({ state: "submitted" });
    await well(CLIENT, ["job", "show", jobId, "--out", join(folder, "got.txt"), "--history"]);
    expect(await readFile(join(folder, "got.txt"), "utf8")).equal("Bonjour");
    expect(await well(CLIENT, ["dispute", "open", jobId, "--description", "One page of two", "--attach", page])).include({ state: "disputed" });
    await until("a panel", async () => (((await well(CLIENT, ["job", "show", jobId]))["dispute"] as { status: string }).status === "under_review" ? true : undefined), 60_000, 500);
    await well(VERIFIER, ["dispute", "vote", jobId, "--share", "50", "--reason", "one page of two"]);
    await well(VERIFIER, ["dispute", "reveal", jobId]);
    const shown = await well(PROVIDER, ["dispute", "show", jobId]);
    expect(shown).nested.include({ "dispute.rounds[0].panel[0].providerBps": 5_000, "statements[0].description": "One page of two" });
    expect((await well(VERIFIER, ["job", "list", "--role", "verifier"]))["jobs"]).length(1);
  });

  it("an agent hires with its principal's money, within its mandate and no further", async () => {
    const mandate = (await well(CLIENT, ["mandate", "create", "--agent", addressOf(AGENT), "--limit", "1.5", "--valid-for", "1d", "--allow"]))["file"] as string;
    const post = async () => (await well(AGENT, ["job", "post", "--client", addressOf(CLIENT), "--provider", addressOf(PROVIDER), "--title", "A page", "--description", "In French", "--budget", "1", "--within", "600", "--review", "120", "--arbitrator", addressOf(VERIFIER)]))["jobId"] as string;
    const hired = await well(AGENT, ["job", "hire", await post(), "--mandate", mandate]);
    expect(hired).nested.include({ state: "funded", client: addressOf(CLIENT), clientAgent: addressOf(AGENT), "escrow.amountAtomic": "1000000" });
    const beyond = await run(AGENT, ["job", "hire", await post(), "--mandate", mandate]);
    expect([beyond.code === 0, beyond.json["error"].code, beyond.json["error"].contractError]).deep.equal([false, "job_refused", "LimitExceeded"]);
  });
});
