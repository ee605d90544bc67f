// Disputes over HTTP, through the SDK's client: a panel with a liar, escalation, an arbitrator, a silent panel; and who is refused.
import { expect } from "chai";
import { disputeEvaluatorAbi } from "../../sdk/src/abi/dispute-evaluator.ts";
import { LOCAL_DISPUTE_EVALUATOR } from "../../sdk/src/constants.ts";
import { jobsClient, type JobsClient } from "../../sdk/src/jobs/client.ts";
import { until } from "../../scripts/local/process.ts";
import { balanceOf, bondVerifiers, delivered, JOBS_ENV, newKey, stateReached, type Agent, type Hired, type Json } from "../support/jobs.ts";
import { startTestWorld, type TestWorld } from "../support/relayer.ts";

describe("disputes", function () {
  this.timeout(240_000);
  let world: TestWorld;
  let verifiers: Agent[];
  before(async () => {
    world = await startTestWorld({ env: JOBS_ENV });
    verifiers = await bondVerifiers(world, 10);
  });
  after(() => world.stop());

  const rules = { reviewWindow: 30, commitWindow: 25, revealWindow: 25, escalationWindow: 2 };
  const jobsOf = ({ account }: Pick<Agent, "account">): JobsClient => jobsClient({ relayerUrl: world.url, account });
  const disputed = async (change: Json = {}): Promise<Hired> => {
    const job = await delivered(world, { rules: { ...rules, ...(change["rules"] as Json) } });
    const { job: view } = await jobsOf(job.client).dispute(job.jobId, {
      description: "Half of it is missing.", attachments: [{ name: "page.txt", mediaType: "text/plain", content: Buffer.from("the page") }], logs: [{ name: "diff.log", mediaType: "text/plain", content: Buffer.from("- 3 lines") }],
    });
    expect([view.state, view["escrow"].status]).deep.equal(["disputed", "disputed"]);
    return job;
  };
  const panelOf = ({ client, jobId }: Hired, round: number): Promise<JobsClient[]> =>
    until(`panel of round ${round}`, async () => {
      const { body } = await client.ask("GET", `/jobs/${jobId}`);
      const drawn = body["dispute"]?.rounds[round - 1];
      if (drawn?.drawn !== true) return undefined;
      return drawn.panel.map(({ verifier }: { verifier: string }) => jobsOf(verifiers.find(({ address }) => address === verifier)!)) as JobsClient[];
    }, 60_000, 100);
  const voteAll = async (job: Hired, panel: JobsClient[], votes: number[]) => {
    const secrets = await Promise.all(panel.map((jobs, seat) => jobs.commit(job.jobId, { providerBps: votes[seat]!, reason: `seat ${seat}` })));
    await Promise.all(panel.map((jobs, seat) => jobs.reveal(job.jobId, secrets[seat]!)));
  };

  it("a panel of three with a liar splits; seats and bonds come back to those who revealed", async () => {
    const job = await disputed();
    const panel = await panelOf(job, 1);
    const open = await jobsOf(job.provider).showDispute(job.jobId);
    expect([open["dispute"].status, open["statements"][0].description, open["statements"][0].logs[0].name]).deep.equal(["under_review", "Half of it is missing.", "diff.log"]);
    const read = await panel[0]!.file(job.jobId, open["statements"][0].attachments[0].sha256);
    expect(Buffer.from(read.content).toString()).equal("the page");
    await jobsOf(job.provider).evidence(job.jobId, { description: "All of it is there." });
    await voteAll(job, panel, [4_000, 4_000, 10_000]);
    const view = await stateReached(job, "split");
    expect(view["escrow"]).include({ status: "released", providerAmountAtomic: "400000", clientAmountAtomic: "600000" });
    expect(view["dispute"]).nested.include({ status: "resolved", "outcome.refund": "partial", "outcome.refundAtomic": "600000" });
    await until("everybody is paid", async () => {
      const owed = await Promise.all(panel.map(({ address }) => world.chain.client.readContract({ address: LOCAL_DISPUTE_EVALUATOR, abi: disputeEvaluatorAbi, functionName: "owed", args: [address] })));
      return owed.every((amount) => amount === 0n) && (await balanceOf(world, panel[0]!.address)) > 0n ? true : undefined;
    }, 60_000, 200);
  });

  it("whoever escalates gets a larger panel, whose ruling is final", async () => {
    const job = await disputed({ rules: { escalationWindow: 20 } });
    await voteAll(job, await panelOf(job, 1), [0, 0, 0]);
    const escalated = await jobsOf(job.provider).escalate(job.jobId).catch((error: Error) => error);
    expect(escalated, "without a bond").instanceOf(Error);
    await world.chain.mintUSDC(job.provider.address, 1_000_000n);
    await jobsOf(job.provider).escalate(job.jobId);
    const panel = await panelOf(job, 2);
    expect(panel).length(7);
    await voteAll(job, panel, panel.map(() => 10_000));
    const view = await stateReached(job, "completed");
    expect(view["dispute"]).nested.include({ status: "resolved", "outcome.refund": "none" });
  });

  it("an arbitrator rules alone, and nobody else does", async () => {
    const arbitrator = newKey();
    const job = await disputed({ rules: { arbitrator: arbitrator.address, disputeBondAtomic: "1000" } });
    const refused = await jobsOf(job.provider).rule(job.jobId, { providerBps: 10_000, reason: "mine" }).catch((error: Json) => error);
    expect([(refused as Json)["code"], (refused as Json)["status"]]).deep.equal(["job_forbidden", 403]);
    await jobsOf({ account: arbitrator }).rule(job.jobId, { providerBps: 2_500, reason: "a quarter is there" });
    expect((await stateReached(job, "split"))["escrow"]).include({ providerAmountAtomic: "250000" });
  });

  it("a silent panel is overruled by the default, in time and by nobody's hand", async () => {
    const job = await disputed({ rules: { commitWindow: 8, revealWindow: 1, escalationWindow: 1, defaultBps: 7_000 } });
    await panelOf(job, 1);
    expect((await stateReached(job, "split"))["escrow"]).include({ providerAmountAtomic: "700000", clientAmountAtomic: "300000" });
  });
});
