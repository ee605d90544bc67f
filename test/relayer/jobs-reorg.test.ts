// A reorganisation undoes what was done about a job: views go back and forward again, what was sent stands again once and nothing is sent a second
// time, a number that another job took is not mistaken for ours, and deadlines are kept on the new chain.
import { expect } from "chai";
import { encodeFunctionData, parseEventLogs, zeroAddress, type Hex } from "viem";
import { jobEscrowAbi } from "../../sdk/src/abi/job-escrow.ts";
import { LOCAL_DISPUTE_EVALUATOR, LOCAL_JOB_ESCROW } from "../../sdk/src/constants.ts";
import { rpc } from "../../scripts/local/chain.ts";
import { agentAt, balanceOf, bondVerifiers, concedeBody, hireBody, hired, inS, JOBS_ENV, newKey, posting, stateReached, submitBody, viewWhere, type Agent, type Hired, type Json } from "../support/jobs.ts";
import { startTestWorld, type TestWorld } from "../support/relayer.ts";
import { startRpcProxy, type RpcProxy } from "../support/rpc-proxy.ts";
import { Sessions } from "../support/session.ts";
import { mineOther } from "../support/settlement-world.ts";

const BUDGET = 1_000_000n;
/** What was asked for and signed here; everything else happened on the chain. */
const OURS = ["posted", "hire_sent"];

describe("jobs and reorganisations", function () {
  this.timeout(240_000);
  let world: TestWorld;
  let proxy: RpcProxy;
  before(async () => {
    world = await startTestWorld({ env: JOBS_ENV, rpcUrl: async (chainUrl) => (proxy = await startRpcProxy(chainUrl)).url });
    await bondVerifiers(world, 3);
  });
  after(async () => {
    await world.stop();
    await proxy.stop();
  });
  afterEach(() => proxy.heal());

  const snapshot = () => rpc<Hex>(world.chain.url, "evm_snapshot");
  /** What came after the snapshot is gone, and the relayer's transactions do not come back while `held`. */
  async function undo(before: Hex, held: boolean): Promise<void> {
    if (held) proxy.fail({ method: "eth_sendRawTransaction", kind: "drop" });
    await rpc(world.chain.url, "evm_revert", [before]);
    await mineOther({ nodeUrl: world.chain.url }, 3);
  }
  const sentFor = async (jobId: string): Promise<string[]> => {
    const { rows } = await world.relayer.deps.db.query<{ hash: string }>("SELECT encode(hash, 'hex') AS hash FROM chain_tx WHERE payment_id = $1 ORDER BY tx_id", [jobId]);
    return rows.map(({ hash }) => hash);
  };
  const chainEventsOf = async ({ client, jobId }: Pick<Hired, "client" | "jobId">): Promise<string[]> =>
    ((await client.ask("GET", `/jobs/${jobId}/history`)).body["events"] as Json[]).filter(({ block }) => block !== null).map(({ kind }) => kind as string);
  /** How often the chain says so of a job, now. */
  const timesOnChain = async (eventName: "JobCreated" | "JobSubmitted" | "JobCompleted" | "PaymentReleased" | "Refunded", chainJobId: string): Promise<number> => {
    const logs = await world.chain.client.getLogs({ address: [LOCAL_JOB_ESCROW, LOCAL_DISPUTE_EVALUATOR], fromBlock: 0n });
    return parseEventLogs({ abi: jobEscrowAbi, logs, eventName }).filter(({ args }) => String((args as { jobId: bigint }).jobId) === chainJobId).length;
  };
  const balances = async ({ client, provider }: { client: Agent; provider: Agent }) => [await balanceOf(world, client.address), await balanceOf(world, provider.address)];

  type Draft = { client: Agent; provider: Agent; jobId: string; view: Json; held: bigint };
  async function draft(): Promise<Draft> {
    const [client, provider] = [await agentAt(world.url), await agentAt(world.url)];
    await world.chain.mintUSDC(client.address, BUDGET);
    const { body: view } = await client.ask("POST", "/jobs", posting(provider.address, { rules: { reviewWindow: 600 } }));
    return { client, provider, jobId: view["jobId"], view, held: await balanceOf(world, LOCAL_JOB_ESCROW) };
  }
  async function deliver({ provider, jobId }: Draft, chainJobId: string): Promise<void> {
    expect((await provider.ask("POST", `/jobs/${jobId}/submit`, await submitBody(provider, chainJobId, "Bonjour"))).status).lessThan(300);
  }
  async function accept({ client, jobId }: Draft, chainJobId: string): Promise<void> {
    expect((await client.ask("POST", `/jobs/${jobId}/accept`, await concedeBody(client, chainJobId))).status).lessThan(300);
  }
  async function completed(job: Draft): Promise<{ hire: Json; view: Json }> {
    const hire = await hireBody(job.client, job.view);
    expect((await job.client.ask("POST", `/jobs/${job.jobId}/hire`, hire)).status).lessThan(300);
    const { chainJobId } = await stateReached(job, "funded");
    await deliver(job, chainJobId);
    await stateReached(job, "submitted");
    await accept(job, chainJobId);
    return { hire, view: await stateReached(job, "completed") };
  }

  it("hire, submission and completion are undone, and stand again once: nothing is sent twice", async () => {
    const job = await draft();
    const before = await snapshot();
    const { hire, view } = await completed(job);
    const sent = await sentFor(job.jobId);
    expect([sent.length, await balances(job)]).deep.equal([3, [0n, BUDGET]]);
    await undo(before, true);
    const back = await stateReached(job, "hiring");
    expect([back["chainJobId"], back["escrow"], back["deliverable"], await chainEventsOf(job), await balances(job)]).deep.equal([null, null, null, [], [BUDGET, 0n]]);
    const kinds = ((await job.client.ask("GET", `/jobs/${job.jobId}/history`)).body["events"] as Json[]).map(({ kind }) => kind);
    expect(kinds).deep.equal(OURS);
    expect((await job.client.ask("GET", "/transactions?type=a2a")).body["transactions"][0]).include({ id: job.jobId, status: "pending" });
    const asked = job.client.ask("POST", `/jobs/${job.jobId}/hire`, hire);
    proxy.heal();
    const again = await asked;
    expect([again.status < 300, again.body["transaction"].hash], "the same hire again").deep.equal([true, `0x${sent[0]}`]);
    const after = await stateReached(job, "completed");
    expect(after["escrow"]).deep.include({ status: "released", providerAmountAtomic: String(BUDGET), clientAmountAtomic: "0" });
    expect([after["chainJobId"], await sentFor(job.jobId), await balances(job), await balanceOf(world, LOCAL_JOB_ESCROW)]).deep.equal([view["chainJobId"], sent, [0n, BUDGET], job.held]);
    const events = await chainEventsOf(job);
    for (const kind of ["created", "funded", "submitted", "completed", "payment_released"]) expect(events.filter((one) => one === kind), kind).length(1);
    for (const name of ["JobCreated", "JobSubmitted", "JobCompleted", "PaymentReleased"] as const) expect(await timesOnChain(name, after["chainJobId"]), name).equal(1);
  });

  it("on the new chain another job has the number: ours gets the next, and what was signed for the old number moves nothing", async () => {
    const job = await draft();
    const before = await snapshot();
    const { view } = await completed(job);
    await undo(before, true);
    await stateReached(job, "hiring");
    const stranger = world.chain.account(8);
    const data = encodeFunctionData({ abi: jobEscrowAbi, functionName: "createJob", args: [newKey().address, newKey().address, BigInt(inS(3_600)), "theirs", zeroAddress] });
    await new Sessions(world.chain).sendTo(stranger, LOCAL_JOB_ESCROW, data);
    proxy.heal();
    const funded = await stateReached(job, "funded");
    expect([BigInt(funded["chainJobId"]), funded["deliverable"], await balances(job)]).deep.equal([BigInt(view["chainJobId"]) + 1n, null, [0n, 0n]]);
    await viewWhere(job, "without what was signed for another", ({ transactions }) => transactions.every((one: Json) => one["verb"] === "hire" || one["state"] === "reverted"));
    expect([await balances(job), await timesOnChain("JobSubmitted", view["chainJobId"])]).deep.equal([[0n, 0n], 0]);
    await deliver(job, funded["chainJobId"]);
    await stateReached(job, "submitted");
    await accept(job, funded["chainJobId"]);
    await stateReached(job, "completed");
    expect([await balances(job), await timesOnChain("PaymentReleased", funded["chainJobId"]), await balanceOf(world, LOCAL_JOB_ESCROW)]).deep.equal([[0n, BUDGET], 1, job.held]);
  });

  it("deadlines are kept again: silence is finalized and an expired job refunded on the new chain too, each once", async () => {
    const silent = await hired(world, { rules: { reviewWindow: 3 } });
    const [client, provider] = [await agentAt(world.url), await agentAt(world.url)];
    await world.chain.mintUSDC(client.address, BUDGET);
    const validator = { address: newKey().address, url: "http://127.0.0.1:9/none" };
    const { body: draftView } = await client.ask("POST", "/jobs", posting(provider.address, { releaseCondition: { type: "outcome", outcomeValidator: validator } }));
    const { timestamp } = await world.chain.client.getBlock();
    expect((await client.ask("POST", `/jobs/${draftView["jobId"]}/hire`, await hireBody(client, draftView, { expiredAt: Number(timestamp) + 20 }))).status).lessThan(300);
    const expiring = { client, jobId: draftView["jobId"] as string };
    const { chainJobId } = await viewWhere(expiring, "on the chain", (view) => view["chainJobId"] !== null);
    const before = await snapshot();
    await silent.provider.ask("POST", `/jobs/${silent.jobId}/submit`, await submitBody(silent.provider, silent.chainJobId, "Bonjour"));
    await Promise.all([stateReached(silent, "completed"), stateReached(expiring, "refunded")]);
    await undo(before, true);
    await Promise.all([stateReached(silent, "funded"), stateReached(expiring, "funded")]);
    expect([await balanceOf(world, silent.provider.address), await balanceOf(world, client.address)]).deep.equal([0n, 0n]);
    proxy.heal();
    await Promise.all([stateReached(silent, "completed"), stateReached(expiring, "refunded")]);
    expect([await balanceOf(world, silent.provider.address), await balanceOf(world, client.address)]).deep.equal([BUDGET, BUDGET]);
    expect([await timesOnChain("PaymentReleased", silent.chainJobId), await timesOnChain("Refunded", chainJobId)]).deep.equal([1, 1]);
  });
});

