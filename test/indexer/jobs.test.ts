// Jobs indexed from a real chain, every way in which one ends; and what the provider's service is held to for it.
import { expect } from "chai";
import pg from "pg";
import { encodeFunctionData, erc20Abi, maxUint256, toHex, zeroAddress, zeroHash, type Address, type Hex, type LocalAccount } from "viem";
import { reconcile } from "../../indexer/reconcile/reconcile.ts";
import { jobFactsOf, outcomeOf, type EndedJob } from "../../indexer/reputation/jobs.ts";
import { until } from "../../scripts/local/process.ts";
import { disputeEvaluatorAbi } from "../../sdk/src/abi/dispute-evaluator.ts";
import { jobEscrowAbi } from "../../sdk/src/abi/job-escrow.ts";
import { BASE_SEPOLIA, LOCAL_DISPUTE_EVALUATOR, LOCAL_JOB_ESCROW, SESSION_CHANNELS } from "../../sdk/src/constants.ts";
import { disputeTermsData, type HireTerms } from "../../sdk/src/job-messages.ts";
import { bazaarOf, metadataOf } from "../support/bazaar-chain.ts";
import { graphql, startIndexedWorld, type IndexedWorld } from "../support/indexer.ts";

const USDC = BASE_SEPOLIA.usdc.address;
const BUDGET = 20_000_000n;

describe("indexed jobs", function () {
  this.timeout(240_000);
  let world: IndexedWorld;
  let indexer: Awaited<ReturnType<IndexedWorld["index"]>>;
  let [client, provider, evaluator, arbitrator] = [] as unknown as LocalAccount[];
  let serviceId: Hex;
  let jobs = 0n;

  const escrow = (who: LocalAccount, functionName: "hire" | "submit" | "complete" | "completeSplit" | "reject" | "claimRefund" | "createJob", args: readonly unknown[]) =>
    world.sessions.sendTo(who, LOCAL_JOB_ESCROW, encodeFunctionData({ abi: jobEscrowAbi, functionName, args } as Parameters<typeof encodeFunctionData>[0]));
  const judge = (who: LocalAccount, functionName: "dispute" | "rule" | "concede", args: readonly unknown[]) =>
    world.sessions.sendTo(who, LOCAL_DISPUTE_EVALUATOR, encodeFunctionData({ abi: disputeEvaluatorAbi, functionName, args } as Parameters<typeof encodeFunctionData>[0]));
  async function hire(terms: Partial<HireTerms> = {}): Promise<bigint> {
    const expiredAt = (await world.chain.client.getBlock()).timestamp + 86_400n;
    await escrow(client!, "hire", [{ provider: provider!.address, evaluator: evaluator!.address, hook: zeroAddress as Address, expiredAt, budget: BUDGET, description: "work", optParams: "0x", ...terms }]);
    return ++jobs;
  }
  const delivered = async (terms: Partial<HireTerms> = {}): Promise<bigint> => {
    const id = await hire(terms);
    await escrow(provider!, "submit", [id, toHex("done", { size: 32 }), "0x"]);
    return id;
  };
  const judged = (): Partial<HireTerms> => ({
    evaluator: LOCAL_DISPUTE_EVALUATOR, hook: LOCAL_DISPUTE_EVALUATOR,
    optParams: disputeTermsData({ reviewWindow: 1_000, commitWindow: 500, revealWindow: 400, escalationWindow: 0, panelSize: 0, quorum: 0, defaultBps: 5_000, disputeBond: 1_000_000n, arbitrator: arbitrator!.address, clientAgent: zeroAddress }),
  });
  const check = async () => (await reconcile({ rpcUrl: world.chain.url, graphqlUrl: indexer.graphqlUrl, address: SESSION_CHANNELS, fromBlock: 0n })).differences;

  before(async () => {
    world = await startIndexedWorld();
    [client, provider, evaluator, arbitrator] = [1, 2, 3, 4].map((n) => world.chain.account(n)) as LocalAccount[];
    await world.chain.mintUSDC(client!.address, 100n * BUDGET);
    for (const spender of [LOCAL_JOB_ESCROW, LOCAL_DISPUTE_EVALUATOR]) await world.sessions.sendTo(client!, USDC, encodeFunctionData({ abi: erc20Abi, functionName: "approve", args: [spender, maxUint256] }));
    ({ serviceId } = await bazaarOf(world.chain).list(provider!, metadataOf()));
    await escrow(evaluator!, "complete", [await delivered(), zeroHash, "0x"]);
    await escrow(evaluator!, "completeSplit", [await delivered(), 2_500, zeroHash, "0x"]);
    await escrow(evaluator!, "reject", [await delivered(), zeroHash, "0x"]);
    await escrow(evaluator!, "reject", [await hire(), zeroHash, "0x"]);
    const disputed = await delivered(judged());
    await judge(client!, "dispute", [disputed, zeroHash]);
    await judge(provider!, "concede", [disputed]);
    await hire();
    indexer = await world.index();
  });
  after(() => world.stop());

  it("each is a row, as the escrow and the logs have it", async () => {
    await indexer.waitForBlock(await world.chain.client.getBlockNumber());
    const { jobs: rows } = await graphql<{ jobs: { items: unknown[] } }>(indexer, "{ jobs(orderBy: \"id\") { items { id status paid refunded splitBps disputed } } }");
    const row = (id: number, status: string, paid: bigint, refunded: bigint, splitBps: number | null = null, disputed = false) => ({ id: String(id), status, paid: String(paid), refunded: String(refunded), splitBps, disputed });
    expect(rows.items).to.deep.equal([
      row(1, "completed", BUDGET, 0n), row(2, "completed", BUDGET / 4n, (BUDGET * 3n) / 4n, 2_500), row(3, "rejected", 0n, BUDGET), row(4, "rejected", 0n, BUDGET), row(5, "rejected", 0n, BUDGET, null, true), row(6, "funded", 0n, 0n),
    ]);
    expect(await check()).to.deep.equal([]);
  });

  it("and the provider's service is held to them", async () => {
    const evidence = await until("a score with jobs in it", async () => {
      await world.chain.mintUSDC(client!.address, 1n);
      const { reputation } = await graphql<{ reputation: { evidence: string } | null }>(indexer, "query ($id: String!) { reputation(serviceId: $id) { evidence } }", { id: serviceId });
      const all = JSON.parse(reputation?.evidence ?? "[]") as { factor: string; name: string; value: number }[];
      return all.some(({ name }) => name === "jobs") ? all : undefined;
    }, 60_000, 250);
    const value = (factor: string, name: string) => evidence.find((one) => one.factor === factor && one.name === name)!.value;
    // Done, a quarter of one, one refused, one lost over a dispute; the one that was given up before anything was delivered is not counted.
    expect(value("reliability", "jobs")).to.be.above(0).and.below(0.5);
    expect(value("honesty", "disputes")).to.be.above(0).and.below(1);
  });

  it("what says nothing of the provider is no outcome, and nobody takes another's jobs by naming its address", () => {
    const ended = { submitted: true, splitBps: null, disputed: false };
    const outcomes = [
      outcomeOf({ ...ended, status: "completed" }), outcomeOf({ ...ended, status: "completed", disputed: true }), outcomeOf({ ...ended, status: "completed", disputed: true, splitBps: 1 }), outcomeOf({ ...ended, status: "rejected" }),
      outcomeOf({ ...ended, status: "rejected", disputed: true }), outcomeOf({ ...ended, status: "expired" }), outcomeOf({ ...ended, status: "rejected", submitted: false }), outcomeOf({ ...ended, status: "submitted" }),
    ];
    expect(outcomes).to.deep.equal(["completed", "disputed_won", "split", "rejected", "disputed_lost", undefined, undefined, undefined]);
    const job: EndedJob = { id: 1n, client: "c", provider: "p", status: "completed", paidAtomic: 1n, endedAtS: 1, ...ended };
    const services = [{ serviceId: "mine", owner: "p" }, { serviceId: "thief", owner: "t" }, { serviceId: "other", owner: "o" }];
    const of = (change: Partial<EndedJob>, byReceiver: [string, string[]][] = []) => jobFactsOf([{ ...job, ...change }], services, new Map(byReceiver)).map(({ serviceId: id }) => id);
    expect(of({})).to.deep.equal(["mine"]);
    expect(of({}, [["p", ["mine", "second"]]])).to.deep.equal(["mine", "second"]);
    expect(of({ provider: "nobody" })).to.deep.equal([]);
    expect(of({ client: "p" })).to.deep.equal([]);
    expect(of({ provider: null })).to.deep.equal([]);
  });

  it("a wrong row is found", async () => {
    const db = new pg.Client({ connectionString: indexer.databaseUrl });
    await db.connect();
    try {
      await db.query("SET search_path = indexer; SET session_replication_role = replica"); // past Ponder's own triggers
      await db.query("UPDATE job SET paid = paid + 1, client = $1 WHERE id = 1", [provider!.address.toLowerCase()]);
      const found = (await check()).map(({ what }) => what);
      expect(found).to.include.members(["jobs 1.paid", "jobs 1.client", "stateOf(1).client"]);
    } finally {
      await db.end();
    }
  });
});
