// Hostile validators: that hang, drip, never end, replay a verdict, sign for other jobs, redirect inwards, or live at private addresses under
// whatever name. Each is given up in bounded time with its reason, nothing moves, and nobody else's deadline waits for it.
import { expect } from "chai";
import type { LookupAddress, lookup } from "node:dns";
import type { ServerResponse } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";
import { zeroHash } from "viem";
import { createJobFollower, type FollowDeps } from "../../relayer/src/capabilities/jobs/follower.ts";
import { askValidator } from "../../relayer/src/capabilities/jobs/validator.ts";
import { liveOr } from "../../relayer/src/capabilities/jobs/parties.ts";
import { findJob } from "../../relayer/src/capabilities/jobs/store.ts";
import { createJobWatch } from "../../relayer/src/capabilities/jobs/watch.ts";
import { createOutbound, type OutboundRequest } from "../../relayer/src/http/outbound.ts";
import { until } from "../../scripts/local/process.ts";
import { LOCAL_JOB_ESCROW } from "../../sdk/src/constants.ts";
import { keyOf } from "../support/config.ts";
import { balanceOf, bondVerifiers, delivered, inS, JOBS_ENV, startValidator, stateReached, verdictBody, type Hired, type Json, type Validator } from "../support/jobs.ts";
import { startTestWorld, type TestWorld } from "../support/relayer.ts";

const BUDGET = 1_000_000n;
/** The one of `tallystick job`'s accounts that pays gas for the second relayer. */
const OTHER_SUBMITTER = 14;

describe("hostile validators", function () {
  this.timeout(240_000);
  let world: TestWorld;
  const validators: Validator[] = [];
  before(async () => {
    world = await startTestWorld({ env: JOBS_ENV });
    await bondVerifiers(world, 3);
  });
  after(async () => {
    await Promise.all(validators.map((validator) => validator.stop()));
    await world.stop();
  });

  const held = () => balanceOf(world, LOCAL_JOB_ESCROW);
  const validating = async (...answer: Parameters<typeof startValidator>): Promise<Validator> => {
    const validator = await startValidator(...answer);
    validators.push(validator);
    return validator;
  };
  /** For a relayer that knows nothing of the first one's jobs. */
  const ownLedger = async () => ({ DATABASE_URL: await world.postgres.freshDatabase(), RELAYER_SUBMITTER_KEYS: keyOf(OTHER_SUBMITTER) });
  const judgedBy = ({ account, url }: Validator, at = url) => ({ releaseCondition: { type: "outcome", outcomeValidator: { address: account.address, url: at } } });
  const eventsOf = async ({ client, jobId }: Hired): Promise<Json[]> => (await client.ask("GET", `/jobs/${jobId}/history`)).body["events"];
  const failedWith = (job: Hired): Promise<string> => until("the validator's failure", async () => (await eventsOf(job)).find(({ kind }) => kind === "validator_failed")?.["data"].code as string | undefined, 60_000, 100);
  /** Submitted, and the money where it was. */
  const untouched = async (jobs: readonly Hired[]) => {
    const views = await Promise.all(jobs.map(async ({ client, jobId }) => (await client.ask("GET", `/jobs/${jobId}`)).body));
    expect(views.map((view) => [view["state"], view["escrow"].status])).deep.equal(jobs.map(() => ["submitted", "holding"]));
    const paid = await Promise.all(jobs.map(({ provider }) => balanceOf(world, provider.address)));
    expect(paid).deep.equal(jobs.map(() => 0n));
  };

  it("one that hangs, drips or never ends is given up", async () => {
    const before = await held();
    const hangs = await validating(async () => {});
    const drips = await validating(async (_question, _account, response) => dripping(response, " ", 100));
    const floods = await validating(async (_question, _account, response) => dripping(response, "x".repeat(10_000), 10));
    const jobs = await Promise.all([hangs, drips, floods].map((validator) => delivered(world, judgedBy(validator))));
    expect(await Promise.all(jobs.map(failedWith))).deep.equal(["upstream_timeout", "upstream_timeout", "upstream_too_large"]);
    await untouched(jobs);
    expect(await held()).equal(before + 3n * BUDGET);
  });

  it("whoever watches deadlines goes on while a validator is silent, and waits for it when it ends", async () => {
    const { relayer, url } = await world.anotherRelayer({ ...(await ownLedger()), RELAYER_ROLE: "server" });
    const { deps } = relayer;
    // As patient as nobody is: the pass has to come back by itself.
    const outbound = { ...deps.outbound, fetch: (request: OutboundRequest) => deps.outbound.fetch({ ...request, timeoutMs: 600_000 }) };
    const watch = createJobWatch({ ...deps, outbound });
    const silent = await validating(async () => {});
    const job = await whileFollowing(deps, () => delivered({ url, chain: world.chain }, judgedBy(silent)));
    await until("a question", async () => (await watch.pass(), silent.asked.length === 1 ? true : undefined), 60_000);
    await watch.pass();
    let ended = false;
    const idle = watch.idle().then(() => (ended = true));
    expect([(await eventsOf(job)).some(({ kind }) => kind === "validator_failed"), ended]).deep.equal([false, false]);
    await silent.stop();
    await idle;
    expect([silent.asked.length, await failedWith(job)]).deep.equal([1, "upstream_unreachable"]);
    await untouched([job]);
  });

  it("a verdict for another job, the opposite verdict, an expired one: none counts, also when a party brings it", async () => {
    let kept: Json | undefined;
    const honest = await validating(async (question, account, response) => {
      kept ??= await verdictBody(account, question["chainJobId"], "complete");
      response.end(JSON.stringify(kept));
    });
    const first = await delivered(world, judgedBy(honest));
    await stateReached(first, "completed");
    const before = await held();
    const replayed = await delivered(world, judgedBy(honest));
    const twisted = await delivered(world, judgedBy(await validating(async (question, account, response) => void response.end(JSON.stringify({ ...(await verdictBody(account, question["chainJobId"], "reject")), verdict: "complete" })))));
    const late = await delivered(world, judgedBy(await validating(async (question, account, response) => void response.end(JSON.stringify(await verdictBody(account, question["chainJobId"], "complete", 5))))));
    expect(await Promise.all([replayed, twisted, late].map(failedWith))).deep.equal(["validator_signature_invalid", "validator_signature_invalid", "job_refused"]);
    const brought = await Promise.all([kept!, { ...kept!, reason: `0x${"11".repeat(32)}` }, { verdict: "complete", reason: zeroHash, deadline: inS(60), signature: "0x" }].map((verdict) => replayed.provider.ask("POST", `/jobs/${replayed.jobId}/verdict`, verdict)));
    expect(brought.map(({ status, body }) => [status, body["contractError"], body["moved"]])).deep.equal(brought.map(() => [422, "InvalidSignature", "0"]));
    await untouched([replayed, twisted, late]);
    expect(await held()).equal(before + 3n * BUDGET);
    expect((await replayed.provider.ask("POST", `/jobs/${replayed.jobId}/verdict`, await verdictBody(honest.account, replayed.chainJobId, "reject"))).status).equal(200);
    await stateReached(replayed, "refunded");
  });

  it("a redirect to a private address is not followed", async () => {
    const inside = await validating(async (question, account, response) => void response.end(JSON.stringify(await verdictBody(account, question["chainJobId"], "complete"))));
    const jobs = await Promise.all([301, 307].map(async (status) => delivered(world, judgedBy(await validating(async (_question, _account, response) => void response.writeHead(status, { location: inside.url }).end())))));
    expect(await Promise.all(jobs.map(failedWith))).deep.equal(["validator_redirected", "validator_redirected"]);
    expect(inside.asked).deep.equal([]);
    await untouched(jobs);
  });

  it("where private addresses are refused, so is every name and spelling of one, and nobody there is asked", async () => {
    const strict = await world.anotherRelayer({ ...(await ownLedger()), RELAYER_OUTBOUND_ALLOW_PRIVATE: "false" });
    const inside = await validating(async (question, account, response) => void response.end(JSON.stringify(await verdictBody(account, question["chainJobId"], "complete"))));
    const { port } = new URL(inside.url);
    const there = { url: strict.url, chain: world.chain };
    const jobs = await Promise.all(["127.0.0.1", "localhost", "2130706433", "[::ffff:127.0.0.1]", "169.254.169.254"].map((host) => delivered(there, judgedBy(inside, `http://${host}:${port}/validate`))));
    expect(await Promise.all(jobs.map(failedWith))).deep.equal(jobs.map(() => "outbound_address_refused"));
    // A name that says something else each time it is asked: private at once, private beside public, private later.
    for (const answers of [[["127.0.0.1"]], [["8.8.8.8", "127.0.0.1"]], [["10.0.0.1"], ["127.0.0.1"]]]) {
      const outbound = createOutbound({ allowPrivate: false, lookup: resolving(answers) });
      const job = liveOr((await findJob(strict.relayer.deps.db, jobs[1]!.jobId))!);
      for (const _ of answers) expect(await askValidator({ ...strict.relayer.deps, outbound }, job).catch((error: Json) => error["code"])).equal("outbound_address_refused");
      await outbound.close();
    }
    expect(inside.asked).deep.equal([]);
    await untouched(jobs);
  });
});

/** The follower's work, where no worker does it. */
async function whileFollowing<T>(deps: FollowDeps, work: () => Promise<T>): Promise<T> {
  const follow = createJobFollower(deps);
  let over = false;
  const following = (async () => {
    for (; !over; await sleep(50)) await follow();
  })();
  try {
    return await work();
  } finally {
    over = true;
    await following;
  }
}

/** Writes on and on, until the other side has had enough. */
function dripping(response: ServerResponse, part: string, everyMs: number): void {
  response.writeHead(200, { "content-type": "application/json" });
  const timer = setInterval(() => response.write(part), everyMs);
  response.once("close", () => clearInterval(timer));
}

/** A resolver that answers, call by call, what it is told. */
function resolving(answers: readonly string[][]): typeof lookup {
  let call = 0;
  return ((_name: string, _options: unknown, callback: (error: null, addresses: LookupAddress[]) => void) => {
    callback(null, answers[Math.min(call++, answers.length - 1)]!.map((address) => ({ address, family: 4 })));
  }) as unknown as typeof lookup;
}
