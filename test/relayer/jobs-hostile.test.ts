// Jobs under attack: bad input, replays, wrong roles, expired signatures, oversized deliverables, hostile validators and webhooks. Each is refused
// with its reason, and nothing moves.
import { expect } from "chai";
import { createHmac } from "node:crypto";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { LOCAL_JOB_ESCROW } from "../../sdk/src/constants.ts";
import { createOutbound } from "../../relayer/src/http/outbound.ts";
import { liveOr } from "../../relayer/src/capabilities/jobs/parties.ts";
import { findJob } from "../../relayer/src/capabilities/jobs/store.ts";
import { askValidator } from "../../relayer/src/capabilities/jobs/validator.ts";
import { until } from "../../scripts/local/process.ts";
import { startTestWorld, type TestWorld } from "../support/relayer.ts";
import { agentAt, balanceOf, bondVerifiers, concedeBody, delivered, hireBody, hired, inS, JOBS_ENV, newKey, posting, startValidator, stateReached, submitBody, verdictBody, type Agent, type Json } from "../support/jobs.ts";

describe("jobs under attack", function () {
  this.timeout(240_000);
  let world: TestWorld;
  before(async () => {
    world = await startTestWorld({ env: { ...JOBS_ENV, RELAYER_JOB_DELIVERABLE_BYTES: "1000", RELAYER_JOBS_PER_CLIENT: "2" } });
    await bondVerifiers(world, 3);
  });
  after(() => world.stop());

  const held = () => balanceOf(world, LOCAL_JOB_ESCROW);
  const answer = ({ status, body }: { status: number; body: Json }) => [status, body["code"], body["contractError"]].filter((part) => part !== undefined);

  it("malformed and foolish jobs are refused, each with its field", async () => {
    const client = await agentAt(world.url);
    const post = async (change: Json) => {
      const { status, body } = await client.ask("POST", "/jobs", posting(newKey().address, change));
      return [status, body["code"], body["field"]];
    };
    expect(await post({ budgetAtomic: "1" })).deep.equal([400, "budget_too_small", "budgetAtomic"]);
    expect(await post({ provider: client.address })).deep.equal([400, "parties_refused", "provider"]);
    expect(await post({ rules: { quorum: 1 } })).deep.equal([400, "rules_refused", "rules.quorum"]);
    expect(await post({ releaseCondition: { type: "automatic", schema: { pattern: "(a+)+$" } } })).deep.equal([400, "schema_refused", "releaseCondition.schema"]);
    expect(await post({ releaseCondition: { type: "automatic" } })).deep.equal([400, "request_malformed", "releaseCondition"]);
    expect(await post({ releaseCondition: { type: "outcome", outcomeValidator: { address: newKey().address, url: "file:///etc/passwd" } } })).deep.equal([400, "request_malformed", "releaseCondition.outcomeValidator.url"]);
    expect((await post({ budgetAtomic: "1e6" }))[0]).equal(400);
    expect((await fetch(`${world.url}/api/v1/jobs`)).status).equal(401);
    const body = posting(newKey().address);
    await client.ask("POST", "/jobs", body, { "idempotency-key": "k" });
    expect(answer(await client.ask("POST", "/jobs", { ...body, title: "Another" }, { "idempotency-key": "k" }))).deep.equal([409, "idempotency_key_conflict"]);
  });

  it("a hire that is forged, expired, replayed, for another sum or without money moves nothing; nor does one too many", async () => {
    const [client, provider, thief] = await Promise.all([agentAt(world.url), agentAt(world.url), agentAt(world.url)]);
    const { body: view } = await client.ask("POST", "/jobs", posting(provider.address));
    const path = `/jobs/${view["jobId"]}/hire`;
    const before = await held();
    const good = await hireBody(client, view);
    expect(answer(await client.ask("POST", path, good)).slice(0, 2)).deep.equal([422, "job_refused"]);
    await world.chain.mintUSDC(client.address, 10_000_000n);
    expect(answer(await thief.ask("POST", path, good))).deep.equal([404, "job_unknown"]);
    expect(answer(await provider.ask("POST", path, good))).deep.equal([403, "job_forbidden"]);
    expect(answer(await client.ask("POST", path, await hireBody(client, view, { validBefore: 5 }))).slice(0, 2)).deep.equal([422, "job_refused"]);
    expect(answer(await client.ask("POST", path, { ...good, expiredAt: good["expiredAt"] + 1 })).slice(0, 2), "another expiry than was signed").deep.equal([422, "job_refused"]);
    expect(answer(await client.ask("POST", path, { ...good, budgetAtomic: "999999" }))).deep.equal([409, "budget_mismatch"]);
    expect(answer(await client.ask("POST", path, await hireBody(client, view, { expiredAt: inS(30) })))).deep.equal([422, "job_refused", "DoesNotFit"]);
    expect([await held(), await balanceOf(world, client.address)]).deep.equal([before, 10_000_000n]);
    expect((await client.ask("POST", path, good)).status).equal(200);
    const posted = await Promise.all([1, 2].map(() => client.ask("POST", "/jobs", posting(provider.address))));
    const bodies = await Promise.all(posted.map(({ body }) => hireBody(client, body)));
    const more = await Promise.all(posted.map(({ body }, index) => client.ask("POST", `/jobs/${body["jobId"]}/hire`, bodies[index])));
    expect(more.map(({ status }) => status).sort()).deep.equal([200, 429]);
    expect(await held()).equal(before + 2_000_000n);
  });

  it("deliverables: oversized, not by the provider, with an expired or foreign signature, or twice", async () => {
    const { client, provider, jobId, chainJobId } = await hired(world, { rules: { reviewWindow: 600 } });
    const submit = async (agent: Agent, body: Json) => answer(await agent.ask("POST", `/jobs/${jobId}/submit`, body));
    expect(await submit(provider, await submitBody(provider, chainJobId, Buffer.alloc(1_001)))).deep.equal([413, "content_too_large"]);
    expect(await submit(provider, await submitBody(provider, chainJobId, Buffer.alloc(200_000)))).deep.equal([413, "body_too_large"]);
    expect(await submit(provider, { ...(await submitBody(provider, chainJobId, "x")), contentBase64: "eA" })).deep.equal([400, "content_malformed"]);
    expect(await submit(client, await submitBody(client, chainJobId, "x"))).deep.equal([403, "job_forbidden"]);
    expect(await submit(provider, await submitBody(provider, chainJobId, "x", { deadline: 5 }))).deep.equal([422, "job_refused", "SignatureExpired"]);
    expect(await submit(provider, await submitBody(client, chainJobId, "x"))).deep.equal([422, "job_refused", "InvalidSignature"]);
    const { rows } = await world.relayer.deps.db.query("SELECT 1 FROM job_file WHERE job_id = $1", [jobId]);
    expect(rows, "nothing refused is kept").length(0);
    const good = await submitBody(provider, chainJobId, "x");
    expect([await submit(provider, good), await submit(provider, good), await submit(provider, await submitBody(provider, chainJobId, "y"))]).deep.equal([[200], [200], [422, "job_refused", "WrongStatus"]]);
    expect(answer(await provider.ask("POST", `/jobs/${jobId}/accept`, await concedeBody(provider, chainJobId)))).deep.equal([403, "job_forbidden"]);
    expect(answer(await client.ask("POST", `/jobs/${jobId}/accept`, { ...(await concedeBody(provider, chainJobId)), party: client.address }))).deep.equal([422, "job_refused", "InvalidSignature"]);
    expect(answer(await client.ask("POST", `/jobs/${jobId}/reject`, await concedeBody(client, chainJobId)))).deep.equal([403, "job_forbidden"]);
    expect(answer(await client.ask("POST", `/jobs/${jobId}/dispute/rule`, { providerBps: 0, reason: `0x${"00".repeat(32)}`, deadline: inS(60), signature: "0x" }))).deep.equal([403, "job_forbidden"]);
  });

  it("validators that lie about the signer, about the job, redirect, or say nonsense do not count; the honest verdict still does", async () => {
    const liar = newKey();
    const answers = [
      (question: Json) => verdictBody(liar, question["chainJobId"], "complete"),
      (_question: Json, own: Parameters<typeof verdictBody>[0]) => verdictBody(own, "999999", "complete"),
      async () => ({ verdict: "complete", paid: true }),
    ];
    let turn = 0;
    const validator = await startValidator(async (question, account, response) => {
      const next = answers[turn++];
      if (next === undefined) return void response.writeHead(302, { location: "http://169.254.169.254/latest/meta-data" }).end();
      response.end(JSON.stringify(await next(question, account)));
    });
    const job = await delivered(world, { releaseCondition: { type: "outcome", outcomeValidator: { address: validator.account.address, url: validator.url } } });
    await until("four answers", async () => (validator.asked.length >= 4 ? true : undefined), 60_000, 100);
    const { body } = await job.client.ask("GET", `/jobs/${job.jobId}`);
    expect([body["state"], body["escrow"].status]).deep.equal(["submitted", "holding"]);
    // Where private addresses are not allowed, as everywhere but in tests and at home.
    const outbound = createOutbound({ allowPrivate: false });
    const refused = await askValidator({ ...world.relayer.deps, outbound }, liveOr((await findJob(world.relayer.deps.db, job.jobId))!)).catch((error: Json) => error);
    expect((refused as Json)["code"]).equal("outbound_address_refused");
    await outbound.close();
    const { events } = (await job.client.ask("GET", `/jobs/${job.jobId}/history`)).body;
    expect(events.find(({ kind }: Json) => kind === "validator_failed").data.code).equal("validator_signature_invalid");
    expect(answer(await job.provider.ask("POST", `/jobs/${job.jobId}/verdict`, await verdictBody(liar, job.chainJobId, "complete")))).deep.equal([422, "job_refused", "InvalidSignature"]);
    expect((await job.provider.ask("POST", `/jobs/${job.jobId}/verdict`, await verdictBody(validator.account, job.chainJobId, "complete"))).status).equal(200);
    await stateReached(job, "completed");
    await validator.stop();
  });

  it("a webhook is told in order, signed, until it takes it; one history shows the job", async () => {
    const { url } = world;
    const got: { kind: string; good: boolean }[] = [];
    let secret = "";
    let refuse = 1;
    const server = createServer((request, response) => {
      const chunks: Buffer[] = [];
      request.on("data", (chunk: Buffer) => chunks.push(chunk));
      request.on("end", () => {
        const body = Buffer.concat(chunks).toString();
        const [, at, mac] = /^t=(\d+),v1=([0-9a-f]{64})$/.exec(String(request.headers["tallystick-signature"])) ?? [];
        if (refuse-- > 0) return void response.writeHead(500).end();
        got.push({ kind: (JSON.parse(body) as { kind: string }).kind, good: mac === createHmac("sha256", secret).update(`${at}.${body}`).digest("hex") });
        response.end();
      });
    });
    await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
    const [client, provider] = await Promise.all([agentAt(url), agentAt(url)]);
    const added = await client.ask("POST", "/webhooks", { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`, kinds: ["job."] });
    secret = added.body["secret"];
    await world.chain.mintUSDC(client.address, 1_000_000n);
    const { body: view } = await client.ask("POST", "/jobs", posting(provider.address, { rules: { reviewWindow: 600 } }));
    await client.ask("POST", `/jobs/${view["jobId"]}/hire`, await hireBody(client, view));
    await until("the webhook", async () => (got.some(({ kind }) => kind === "job.funded") ? true : undefined), 60_000, 100);
    expect(got.slice(0, 2)).deep.equal([{ kind: "job.posted", good: true }, { kind: "job.hire_sent", good: true }]);
    expect(got.every(({ good }) => good)).equal(true);
    const { deliveries } = (await client.ask("GET", `/webhooks/${added.body["webhookId"]}/deliveries`)).body;
    expect(deliveries.at(-1)).include({ kind: "job.posted", attempt: 1, status: 500, fault: "webhook_status" });
    expect((await provider.ask("DELETE", `/webhooks/${added.body["webhookId"]}`)).status).equal(404);
    expect((await client.ask("POST", "/webhooks", { url: "http://user:pass@example.com/" })).status).equal(400);
    const { transactions } = (await client.ask("GET", "/transactions?type=a2a")).body;
    expect(transactions[0]).include({ id: view["jobId"], status: "authorized", from: client.address, to: provider.address, amountAtomic: "1000000" });
    await new Promise((done) => server.close(done));
  });
});
