// Jobs over HTTP: posted, quoted, hired by one signature, delivered, and ended by silence, acceptance, schema, validator or time.
import { expect } from "chai";
import { LOCAL_JOB_ESCROW } from "../../sdk/src/constants.ts";
import { startTestWorld, type TestWorld } from "../support/relayer.ts";
import { agentAt, balanceOf, bondVerifiers, concedeBody, delivered, hireBody, hired, JOBS_ENV, posting, startValidator, stateReached, submitBody, verdictBody, type Json } from "../support/jobs.ts";

describe("jobs", function () {
  this.timeout(180_000);
  let world: TestWorld;
  before(async () => {
    world = await startTestWorld({ env: JOBS_ENV });
    await bondVerifiers(world, 3);
  });
  after(() => world.stop());

  it("an open job is quoted by two, hired by one signature, delivered, and paid by silence; its parties alone read the deliverable", async () => {
    const [client, provider, other] = await Promise.all([agentAt(world.url), agentAt(world.url), agentAt(world.url)]);
    await world.chain.mintUSDC(client.address, 5_000_000n);
    const { budgetAtomic: _none, ...open } = posting(undefined);
    const posted = await client.ask("POST", "/jobs", open, { "idempotency-key": "one" });
    expect([posted.status, posted.body["state"], (await client.ask("POST", "/jobs", open, { "idempotency-key": "one" })).body["jobId"]]).deep.equal([201, "requested", posted.body["jobId"]]);
    const path = `/jobs/${posted.body["jobId"]}`;
    expect((await other.ask("GET", "/jobs?role=open")).body["jobs"].map(({ jobId }: Json) => jobId)).include(posted.body["jobId"]);
    await provider.ask("POST", `${path}/quote`, { budgetAtomic: "700000", deliverWithinS: 60 });
    const rival = await other.ask("POST", `${path}/quote`, { budgetAtomic: "900000", deliverWithinS: 60 });
    expect(rival.body["quotes"].map((quote: Json) => quote["provider"]), "a rival's view").deep.equal([other.address]);
    const body = await hireBody(client, posted.body, { provider: provider.address, budget: 700_000n });
    const [first, again] = await Promise.all([client.ask("POST", `${path}/hire`, body), client.ask("POST", `${path}/hire`, body)]);
    expect([first.status, again.status, again.body["transaction"].hash], JSON.stringify(first.body)).deep.equal([200, 200, first.body["transaction"].hash]);
    expect(first.body["job"]).nested.include({ state: "funded", "escrow.status": "holding", "escrow.amountAtomic": "700000" });
    expect(await balanceOf(world, client.address)).equal(4_300_000n);
    const submission = await submitBody(provider, first.body["job"].chainJobId, "Bonjour");
    const submitted = await provider.ask("POST", `${path}/submit`, submission);
    expect([submitted.status, submitted.body["job"]?.state], JSON.stringify(submitted.body)).deep.equal([200, "submitted"]);
    const file = `${path}/files/${submitted.body["job"].deliverable}`;
    expect(await client.ask("GET", file)).deep.equal({ status: 200, body: { text: "Bonjour" } });
    expect([(await other.ask("GET", file)).status, (await other.ask("GET", path)).status]).deep.equal([404, 404]);
    const done = await stateReached({ client, jobId: posted.body["jobId"] }, "completed");
    expect(done["escrow"]).include({ status: "released", providerAmountAtomic: "700000", clientAmountAtomic: "0" });
    expect(await balanceOf(world, provider.address)).equal(700_000n);
    const { events } = (await client.ask("GET", `${path}/history`)).body;
    expect(events.map(({ kind }: Json) => kind)).include.members(["posted", "quoted", "hire_sent", "created", "funded", "submitted", "accepted_by_silence", "payment_released", "completed"]);
  });

  it("the client accepts before the window ends; a provider gives up and the client is refunded", async () => {
    const rules = { reviewWindow: 600, commitWindow: 20, revealWindow: 20, escalationWindow: 2 };
    const [accepted, given] = [await delivered(world, { rules }), await hired(world, { rules })];
    const yes = await accepted.client.ask("POST", `/jobs/${accepted.jobId}/accept`, await concedeBody(accepted.client, accepted.chainJobId));
    expect([yes.status, yes.body["job"]?.state, yes.body["job"]?.escrow.status], JSON.stringify(yes.body)).deep.equal([200, "completed", "released"]);
    const no = await given.provider.ask("POST", `/jobs/${given.jobId}/reject`, await concedeBody(given.provider, given.chainJobId));
    expect([no.status, no.body["job"]?.state, await balanceOf(world, given.client.address)], JSON.stringify(no.body)).deep.equal([200, "refunded", 10_000_000n]);
  });

  it("a deliverable that conforms to the schema is paid at once; one that does not is not taken", async () => {
    const schema = { type: "object", required: ["text"], properties: { text: { type: "string", minLength: 2 } }, additionalProperties: false };
    const job = await hired(world, { releaseCondition: { type: "automatic", schema }, rules: { reviewWindow: 3_000 } , deliverWithinS: 60 });
    const wrong = await job.provider.ask("POST", `/jobs/${job.jobId}/submit`, await submitBody(job.provider, job.chainJobId, JSON.stringify({ text: "x" })));
    expect([wrong.status, wrong.body["code"], wrong.body["moved"]]).deep.equal([422, "deliverable_refused", "0"]);
    const right = await job.provider.ask("POST", `/jobs/${job.jobId}/submit`, await submitBody(job.provider, job.chainJobId, JSON.stringify({ text: "Bonjour" })));
    expect(right.status, JSON.stringify(right.body)).equal(200);
    expect((await stateReached(job, "completed"))["escrow"]).include({ status: "released", providerAmountAtomic: "1000000" });
  });

  it("a validator's signed verdict pays, or refunds", async () => {
    const validator = await startValidator(async (question, account, response) => {
      const good = Buffer.from(question["content"].base64, "base64").toString() === "right";
      response.end(JSON.stringify(await verdictBody(account, question["chainJobId"], good ? "complete" : "reject")));
    });
    const condition = { releaseCondition: { type: "outcome", outcomeValidator: { address: validator.account.address, url: validator.url } } };
    const [good, bad] = [await delivered(world, condition, "right"), await delivered(world, condition, "wrong")];
    await stateReached(good, "completed");
    await stateReached(bad, "refunded");
    expect([await balanceOf(world, good.provider.address), await balanceOf(world, bad.client.address)]).deep.equal([1_000_000n, 10_000_000n]);
    await validator.stop();
  });

  it("what expires is refunded without anybody asking, and the escrow holds exactly the open budgets", async () => {
    const [client, provider] = await Promise.all([agentAt(world.url), agentAt(world.url)]);
    await world.chain.mintUSDC(client.address, 1_000_000n);
    const validator = { address: (await agentAt(world.url)).address, url: "http://127.0.0.1:9/none" };
    const { body: view } = await client.ask("POST", "/jobs", posting(provider.address, { releaseCondition: { type: "outcome", outcomeValidator: validator } }));
    const { timestamp } = await world.chain.client.getBlock();
    const hire = await client.ask("POST", `/jobs/${view["jobId"]}/hire`, await hireBody(client, view, { expiredAt: Number(timestamp) + 4 }));
    expect(hire.status, JSON.stringify(hire.body)).equal(200);
    await stateReached({ client, jobId: view["jobId"] }, "refunded");
    expect(await balanceOf(world, client.address)).equal(1_000_000n);
    const { rows } = await world.relayer.deps.db.query<{ open: bigint }>("SELECT coalesce(sum((chain ->> 'budgetAtomic')::numeric), 0) AS open FROM job WHERE (chain ->> 'status')::integer IN (1, 2)");
    expect(await balanceOf(world, LOCAL_JOB_ESCROW)).equal(rows[0]!.open);
  });
});
