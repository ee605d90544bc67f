// Hires under a mandate over HTTP: the agent grants the escrow a mandate that names one job, the principal pays and is the client. And every
// way in which such an order can be wrong: refused with its reason, nothing moved.
import { expect } from "chai";
import { zeroHash, type Hex, type PrivateKeyAccount } from "viem";
import { mandateRegistryAbi } from "../../sdk/src/abi/mandate-registry.ts";
import { LOCAL_JOB_ESCROW, LOCAL_MANDATE_REGISTRY } from "../../sdk/src/constants.ts";
import { JOB_CAPABILITY } from "../../sdk/src/jobs/brief.ts";
import { jobsClient, type JobView } from "../../sdk/src/jobs/client.ts";
import { grantHire } from "../../sdk/src/jobs/mandate.ts";
import { jobMandateOrder } from "../../sdk/src/job-messages.ts";
import type { Grant, Lineage } from "../../sdk/src/lineage.ts";
import type { Mandate } from "../../sdk/src/mandate.ts";
import { spendOrder } from "../../sdk/src/mandate-messages.ts";
import { capabilityHash, revokeMandate } from "../../sdk/src/mandates.ts";
import { agentAt, balanceOf, bondVerifiers, concedeBody, inS, JOBS_ENV, newKey, posting, stateReached, submitBody, termsOf, type Agent, type Json } from "../support/jobs.ts";
import { asking, wireGrant } from "../support/mandated.ts";
import { AT, grant, newPrincipal, type Principal } from "../support/mandates.ts";
import { startTestWorld, type TestWorld } from "../support/relayer.ts";
import { idOfMandate, mandateOf, signMandate } from "../support/signed-mandates.ts";

const BUDGET = 1_000_000n;

describe("jobs under a mandate", function () {
  this.timeout(240_000);
  let world: TestWorld;
  let principal: Principal;
  before(async () => {
    world = await startTestWorld({ env: JOBS_ENV });
    principal = await newPrincipal(world.chain.url);
    await bondVerifiers(world, 3);
  });
  after(() => world.stop());

  const person = () => principal.account.address;
  const held = () => balanceOf(world, LOCAL_JOB_ESCROW);
  const owned = () => balanceOf(world, person());
  const spentOf = async (mandate: Mandate) => (await world.chain.client.readContract({ address: LOCAL_MANDATE_REGISTRY, abi: mandateRegistryAbi, functionName: "mandates", args: [idOfMandate(mandate)] })).spent;
  const answer = ({ status, body }: { status: number; body: Json }) => [status, body["code"], body["contractError"]].filter((part) => part !== undefined);

  type Employed = { agent: Agent; provider: Agent; root: Grant; view: Json; path: string };
  /** An agent with a mandate of its own, and a job of its principal's that it has posted. */
  async function employed(change: Partial<Mandate> = {}): Promise<Employed> {
    const [agent, provider] = [await agentAt(world.url), await agentAt(world.url)];
    const mandate = mandateOf(person(), agent.address, { limit: 5_000_000n, ...change });
    const root = { mandate, signature: await signMandate(principal.account, mandate) };
    const { body: view } = await agent.ask("POST", "/jobs", posting(provider.address, { client: person(), rules: { reviewWindow: 600 } }));
    return { agent, provider, root, view, path: `/jobs/${view["jobId"]}/hire` };
  }

  type Wrong = { expiredAt?: number; signer?: PrivateKeyAccount; named?: Partial<Mandate>; order?: { amount?: bigint; payee?: Hex }; lineage?: Grant[] };
  /** What an agent sends to hire; `wrong` says what is not as it should be. */
  async function hiring({ agent, root, view }: Employed, { expiredAt = inS(3_600), signer, named = {}, order = {}, lineage = [root] }: Wrong = {}): Promise<Json> {
    const [above] = lineage;
    const { digest } = termsOf(view, { client: person(), expiredAt });
    const mandate = { ...above!.mandate, delegate: LOCAL_JOB_ESCROW, limit: BUDGET, paymentLimit: BUDGET, terms: digest, parent: idOfMandate(above!.mandate), ...named };
    const own = { mandate, signature: await signMandate(signer ?? (agent.account as PrivateKeyAccount), mandate) };
    const whole = [own, ...lineage];
    const encoded = jobMandateOrder(spendOrder({ lineage: whole.map((one) => one.mandate), approvals: whole.map(({ signature }) => signature), payee: LOCAL_JOB_ESCROW, amount: BUDGET, ...order }));
    return { expiredAt, budgetAtomic: String(BUDGET), order: encoded };
  }
  const refused = async (job: Employed, wrong: Wrong) => answer(await job.agent.ask("POST", job.path, await hiring(job, wrong)));

  it("the SDK hires with the principal's money: the agent accepts, or the principal is refunded", async () => {
    const agent = newKey();
    const provider = await agentAt(world.url);
    const lineage: Lineage = await grant(principal, agent.address, { limit: "3", payees: [LOCAL_JOB_ESCROW, newKey().address], capability: "job" });
    const jobs = jobsClient({ relayerUrl: world.url, account: agent });
    const before = await owned();
    const hire = async (): Promise<JobView> => {
      const { jobId } = await jobs.post({ provider: provider.address, client: person(), title: "Two pages", description: "In French", budget: BUDGET, deliverWithinS: 600, rules: { reviewWindow: 600 } });
      return (await jobs.hire(jobId, { most: BUDGET, mandate: { lineage, registry: AT.registry } })).job;
    };
    const [good, given] = [await hire(), await hire()];
    expect(good).include({ state: "funded", client: person(), postedBy: agent.address, clientAgent: agent.address });
    expect([good["escrow"].amountAtomic, await owned(), await spentOf(lineage[0].mandate)]).deep.equal([String(BUDGET), before - 2n * BUDGET, 2n * BUDGET]);
    await provider.ask("POST", `/jobs/${good.jobId}/submit`, await submitBody(provider, good.chainJobId!, "Bonjour"));
    expect((await jobs.accept(good.jobId)).job.state).equal("completed");
    expect(await balanceOf(world, provider.address)).equal(BUDGET);
    await provider.ask("POST", `/jobs/${given.jobId}/reject`, await concedeBody(provider, given.chainJobId!));
    await stateReached({ client: await agentAt(world.url, agent), jobId: given.jobId }, "refunded");
    expect(await owned(), "the refund is the principal's").equal(before - BUDGET);
  });

  it("the SDK signs nothing beyond the mandate", async () => {
    const agent = newKey();
    const contracts = { chainId: AT.chainId, jobEscrow: LOCAL_JOB_ESCROW, disputeEvaluator: newKey().address, token: { address: newKey().address, name: "USDC", version: "2" }, minWindow: 1 } as const;
    const choice = { client: person(), clientAgent: agent.address, provider: newKey().address, budget: BUDGET, deliverWithinS: 60, brief: { title: "a", description: "b", releaseCondition: { type: "manual" } }, rules: { reviewWindow: 1, commitWindow: 1, revealWindow: 1, escalationWindow: 1, panelSize: 1, quorum: 1, defaultBps: 0, disputeBond: 0n, arbitrator: newKey().address } } as const;
    const signing = (lineage: Lineage, change: { client?: Hex; nowS?: number } = {}, signer = agent) =>
      grantHire(signer, contracts, { ...choice, ...(change.client === undefined ? {} : { client: change.client }) }, { expiredAt: inS(60), nowS: change.nowS ?? inS(0), signedForS: 60, mandate: { lineage, registry: AT.registry } })
        .then(() => "signed", (error: Json) => error["code"]);
    const enough = await grant(principal, agent.address, { limit: BUDGET });
    expect(await Promise.all([
      signing(enough), signing(enough, { client: newKey().address }), signing(enough, { nowS: inS(200_000) }), signing(enough, {}, newKey()), signing(await grant(principal, agent.address, { limit: BUDGET - 1n })),
      signing(await grant(principal, agent.address, { limit: "3", paymentLimit: BUDGET - 1n })), signing(await grant(principal, agent.address, { payees: [newKey().address] })),
    ])).deep.equal(["signed", "mandate_principal", "mandate_expired", "mandate_invalid", "mandate_too_wide", "mandate_too_wide", "payee_not_allowed"]);
  });

  it("an order for another delegate, other terms, another limit, payee or sum, or that somebody else signed, hires nobody", async () => {
    const job = await employed();
    const before = [await owned(), await held()];
    const forged = await hiring(job);
    expect(await refused(job, { named: { delegate: job.agent.address } })).deep.equal([422, "job_refused", "WrongMandate"]);
    expect(await refused(job, { named: { terms: zeroHash } })).deep.equal([422, "job_refused", "WrongMandate"]);
    expect(await refused(job, { named: { limit: BUDGET + 1n } })).deep.equal([422, "job_refused", "WrongMandate"]);
    expect(await refused(job, { named: { limit: BUDGET - 1n, paymentLimit: BUDGET - 1n } })).deep.equal([422, "job_refused", "WrongMandate"]);
    expect(await refused(job, { order: { amount: BUDGET - 1n } })).deep.equal([422, "job_refused", "WrongMandate"]);
    expect(await refused(job, { order: { payee: job.provider.address } })).deep.equal([422, "job_refused", "WrongMandate"]);
    expect(await refused(job, { named: { principal: job.agent.address } })).deep.equal([422, "job_refused", "WrongMandate"]);
    expect(await refused(job, { signer: newKey() })).deep.equal([422, "job_refused", "InvalidSignature"]);
    expect(answer(await job.agent.ask("POST", job.path, { ...forged, expiredAt: forged["expiredAt"] + 1 })), "another expiry than was signed").deep.equal([422, "job_refused", "WrongMandate"]);
    expect(answer(await job.agent.ask("POST", job.path, { ...forged, order: "0x1234" })).slice(0, 2)).deep.equal([422, "job_refused"]);
    expect(answer(await job.provider.ask("POST", job.path, forged))).deep.equal([403, "job_forbidden"]);
    const poor = await employed({ limit: BUDGET - 1n });
    expect(await refused(poor, {})).deep.equal([422, "job_refused", "PaymentLimitExceeded"]);
    const { body: shown } = await job.agent.ask("GET", `/jobs/${job.view["jobId"]}`);
    expect([shown["state"], shown["transactions"], await owned(), await held()]).deep.equal(["requested", [], ...before]);
  });

  it("an order hires once: again it is the same hire, and a twin of the job gets nothing for it", async () => {
    const job = await employed();
    const order = await hiring(job);
    const first = await job.agent.ask("POST", job.path, order);
    expect([first.status, first.body["job"]?.state], JSON.stringify(first.body)).deep.equal([200, "funded"]);
    const before = [await owned(), await held()];
    const again = await job.agent.ask("POST", job.path, order);
    expect([again.status, again.body["transaction"].hash]).deep.equal([200, first.body["transaction"].hash]);
    const { body: twin } = await job.agent.ask("POST", "/jobs", posting(job.provider.address, { client: person(), rules: { reviewWindow: 600 } }));
    expect(answer(await job.agent.ask("POST", `/jobs/${twin["jobId"]}/hire`, order))).deep.equal([422, "job_refused", "LimitExceeded"]);
    expect([await owned(), await held(), await spentOf(job.root.mandate)]).deep.equal([...before, BUDGET]);
  });

  it("a mandate that was revoked, on the chain or here alone, hires nobody; nor does one for something else", async () => {
    const job = await employed();
    const before = [await owned(), await held()];
    const ask = await asking(world.url, principal.account);
    expect((await ask("POST", "", { lineage: [await wireGrant(principal.account, job.root.mandate)] })).status).equal(201);
    expect((await ask("DELETE", `/${idOfMandate(job.root.mandate)}`)).status).equal(200);
    const here = await job.agent.ask("POST", job.path, await hiring(job));
    expect([here.status, here.body["code"], here.body["mandateId"], here.body["moved"]]).deep.equal([403, "mandate_revoked", idOfMandate(job.root.mandate), "0"]);

    const ended = await employed();
    await revokeMandate(principal.writer, principal.reader, AT, [ended.root]);
    expect(await refused(ended, {})).deep.equal([422, "job_refused", "MandateIsRevoked"]);

    const translator = await employed({ capability: capabilityHash("translate") });
    expect(await refused(translator, {})).deep.equal([403, "mandate_capability"]);
    const states = await Promise.all([job, ended, translator].map(async ({ agent, view }) => (await agent.ask("GET", `/jobs/${view["jobId"]}`)).body["state"]));
    expect([states, await owned(), await held()]).deep.equal([["requested", "requested", "requested"], ...before]);
    const employer = await employed({ capability: JOB_CAPABILITY });
    expect(await refused(employer, {})).deep.equal([200]);
  });
});
