// Two relayer processes look after the same deadlines: silence, expiry, a panel that says nothing. One transaction each, however often both believe
// that it is theirs to send.
import { expect } from "chai";
import { setTimeout as sleep } from "node:timers/promises";
import { encodeFunctionData, parseEventLogs, type Hex } from "viem";
import { disputeEvaluatorAbi } from "../../sdk/src/abi/dispute-evaluator.ts";
import { jobEscrowAbi } from "../../sdk/src/abi/job-escrow.ts";
import { LOCAL_DISPUTE_EVALUATOR, LOCAL_JOB_ESCROW } from "../../sdk/src/constants.ts";
import { jobsClient } from "../../sdk/src/jobs/client.ts";
import { agentAt, balanceOf, bondVerifiers, delivered, hireBody, JOBS_ENV, newKey, posting, stateReached, viewWhere, type Hired, type Json } from "../support/jobs.ts";
import { relayerProcess, type RelayerProcess } from "../support/mandated.ts";
import { startTestWorld, type TestWorld } from "../support/relayer.ts";

const BUDGET = 1_000_000n;
const EACH = 2;

describe("two processes on one deadline", function () {
  this.timeout(240_000);
  let world: TestWorld;
  let other: RelayerProcess | undefined;
  let over = false;
  let stalling: Promise<void> | undefined;
  before(async () => {
    world = await startTestWorld({ env: JOBS_ENV });
    other = await relayerProcess(world, { env: JOBS_ENV });
    await bondVerifiers(world, 12);
    stalling = stallEverybody();
  });
  after(async () => {
    over = true;
    await stalling;
    await other?.stop();
    await world?.stop();
  });

  /** Leases run out under whoever holds them, as when a process stands still: both look at every job all the time. */
  async function stallEverybody(): Promise<void> {
    const { db } = world.relayer.deps;
    while (!over) {
      const { rows } = await db.query<{ job_id: string }>("SELECT job_id FROM job WHERE NOT over AND hired_at IS NOT NULL");
      // One by one: whoever holds several rows may wait for somebody who holds others.
      for (const { job_id } of rows) await db.query("UPDATE job SET leased_until = '-infinity', due_at = least(due_at, now()) WHERE job_id = $1 AND NOT over", [job_id]);
      await sleep(5);
    }
  }

  async function expiring(): Promise<Hired> {
    const [client, provider] = [await agentAt(world.url), await agentAt(world.url)];
    await world.chain.mintUSDC(client.address, BUDGET);
    const validator = { address: newKey().address, url: "http://127.0.0.1:9/none" };
    const { body: draft } = await client.ask("POST", "/jobs", posting(provider.address, { releaseCondition: { type: "outcome", outcomeValidator: validator } }));
    const { timestamp } = await world.chain.client.getBlock();
    const hire = await client.ask("POST", `/jobs/${draft["jobId"]}/hire`, await hireBody(client, draft, { expiredAt: Number(timestamp) + 15 }));
    expect(hire.status, JSON.stringify(hire.body)).lessThan(300);
    const job = { client, provider, jobId: draft["jobId"] as string };
    const view = await viewWhere(job, "on the chain", ({ chainJobId }) => chainJobId !== null);
    return { ...job, chainJobId: view["chainJobId"] as string, view };
  }

  /** Nobody of the panel says anything: half each, as was agreed at hire. */
  async function disputed(): Promise<Hired> {
    const job = await delivered(world, { rules: { reviewWindow: 60, commitWindow: 8, revealWindow: 1, escalationWindow: 1, defaultBps: 5_000 } });
    await jobsClient({ relayerUrl: world.url, account: job.client.account }).dispute(job.jobId, { description: "Half of it is missing." });
    return job;
  }

  /** Transactions of that call that any block holds, those that came to nothing too. */
  async function timesSent(to: Hex, data: Hex): Promise<number> {
    const { client } = world.chain;
    const head = Number(await client.getBlockNumber());
    const blocks = await Promise.all(Array.from({ length: head }, (_, index) => client.getBlock({ blockNumber: BigInt(index + 1), includeTransactions: true })));
    return blocks.flatMap(({ transactions }) => transactions).filter((one) => one.to?.toLowerCase() === to.toLowerCase() && one.input === data).length;
  }
  const several = (make: () => Promise<Hired>) => Promise.all(Array.from({ length: EACH }, make));
  const paidOnce = async (jobs: readonly Hired[]) => {
    const logs = await world.chain.client.getLogs({ address: LOCAL_JOB_ESCROW, fromBlock: 0n });
    const ended = parseEventLogs({ abi: jobEscrowAbi, logs, eventName: ["JobCompleted", "JobExpired"] }).map(({ args }) => String(args.jobId));
    return jobs.map(({ chainJobId }) => ended.filter((id) => id === chainJobId).length);
  };

  it("finalize, claimRefund and the ruling of a silent panel are each sent once", async () => {
    const [silent, expired, contested] = await Promise.all([several(() => delivered(world)), several(expiring), several(disputed)]);
    await Promise.all([...silent.map((job) => stateReached(job, "completed")), ...expired.map((job) => stateReached(job, "refunded")), ...contested.map((job) => stateReached(job, "split"))]);
    const on = (jobs: readonly Hired[], to: Hex, encode: (id: bigint) => Hex) => Promise.all(jobs.map(({ chainJobId }) => timesSent(to, encode(BigInt(chainJobId)))));
    const once = Array.from({ length: EACH }, () => 1);
    expect(await on(silent, LOCAL_DISPUTE_EVALUATOR, (id) => encodeFunctionData({ abi: disputeEvaluatorAbi, functionName: "finalize", args: [id] })), "finalize").deep.equal(once);
    expect(await on(expired, LOCAL_JOB_ESCROW, (id) => encodeFunctionData({ abi: jobEscrowAbi, functionName: "claimRefund", args: [id] })), "claimRefund").deep.equal(once);
    expect(await on(contested, LOCAL_DISPUTE_EVALUATOR, (id) => encodeFunctionData({ abi: disputeEvaluatorAbi, functionName: "resolve", args: [id] })), "resolve").deep.equal(once);
    expect(await paidOnce([...silent, ...expired, ...contested])).deep.equal([...once, ...once, ...once]);
    expect(await Promise.all(silent.map(({ provider }) => balanceOf(world, provider.address)))).deep.equal(silent.map(() => BUDGET));
    expect(await Promise.all(expired.map(({ client }) => balanceOf(world, client.address)))).deep.equal(expired.map(() => BUDGET));
    const { rows } = await world.relayer.deps.db.query<Json>("SELECT job_id, verb, key, count(*) AS times FROM job_action WHERE verb IN ('finalize', 'refund', 'resolve') GROUP BY 1, 2, 3 HAVING count(*) > 1");
    expect(rows).deep.equal([]);
    expect(await balanceOf(world, LOCAL_JOB_ESCROW), "nothing stays in escrow").equal(0n);
  });
});
