// Webhooks that nobody answers, and processes that die while they tell: tried again with growing pauses, retired, seen as such, enabled again by
// their owner alone, and nothing is left out or told out of order.
import { expect } from "chai";
import { createHmac } from "node:crypto";
import { createServer, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { once } from "node:events";
import { until } from "../../scripts/local/process.ts";
import { agentAt, JOBS_ENV, newKey, posting, type Agent, type Json } from "../support/jobs.ts";
import { relayerProcess, type RelayerProcess } from "../support/mandated.ts";
import { startTestWorld, type TestWorld } from "../support/relayer.ts";

/** Seconds after the nth attempt, as the documentation says: doubled from five on, six hours at most. */
const PAUSES_S = [5, 10, 20, 40, 80, 160, 320, 640, 1_280, 2_560, 5_120, 10_240, 20_480, 21_600, 21_600];

type Told = { id: string; title: string; isSigned: boolean };
type Endpoint = { url: string; told: Told[]; asked: number; secret: string; answer: (response: ServerResponse) => void; stop(): Promise<void> };

/** Takes what is answered with 2xx; checks signatures by itself. */
async function startEndpoint(): Promise<Endpoint> {
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on("data", (chunk: Buffer) => chunks.push(chunk));
    request.on("end", () => {
      const body = Buffer.concat(chunks).toString();
      const [, at, mac] = /^t=(\d+),v1=([0-9a-f]{64})$/.exec(String(request.headers["tallystick-signature"])) ?? [];
      const { id, data } = JSON.parse(body) as { id: string; data: { title: string } };
      endpoint.asked += 1;
      endpoint.answer(response);
      if (response.writableEnded && response.statusCode < 300) endpoint.told.push({ id, title: data.title, isSigned: mac === createHmac("sha256", endpoint.secret).update(`${at}.${body}`).digest("hex") });
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const endpoint: Endpoint = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`, told: [], asked: 0, secret: "", answer: takes,
    stop: async () => {
      server.closeAllConnections();
      await new Promise((done) => server.close(done));
    },
  };
  return endpoint;
}

const takes = (response: ServerResponse) => void response.end();
const fails = (response: ServerResponse) => void response.writeHead(500).end();
const hangs = () => {};

describe("webhooks that nobody answers", function () {
  this.timeout(240_000);
  let world: TestWorld;
  let worker: RelayerProcess;
  const endpoints: Endpoint[] = [];
  before(async () => {
    world = await startTestWorld({ env: { ...JOBS_ENV, RELAYER_ROLE: "server" } });
    worker = await startWorker();
  });
  after(async () => {
    await worker.stop();
    await Promise.all(endpoints.map((endpoint) => endpoint.stop()));
    await world.stop();
  });

  const startWorker = () => relayerProcess(world, { env: { ...JOBS_ENV, RELAYER_ROLE: "worker" } });
  const db = () => world.relayer.deps.db;
  /** What a clock would do. */
  const timePasses = (webhookId: string) => db().query("UPDATE webhook SET due_at = now(), leased_until = '-infinity' WHERE webhook_id = $1", [webhookId]);
  const titlesOf = ({ told }: Endpoint) => told.map(({ title }) => title);

  async function hookOf(owner: Agent): Promise<Endpoint & { webhookId: string }> {
    const endpoint = await startEndpoint();
    endpoints.push(endpoint);
    const { status, body } = await owner.ask("POST", "/webhooks", { url: endpoint.url, kinds: ["job.posted"] });
    expect([status, body["enabled"], body["disabledAt"]]).deep.equal([201, true, null]);
    endpoint.secret = body["secret"];
    return Object.assign(endpoint, { webhookId: body["webhookId"] as string });
  }

  async function post(owner: Agent, title: string): Promise<void> {
    expect((await owner.ask("POST", "/jobs", posting(newKey().address, { title }))).status).equal(201);
  }

  /** The nth attempt has failed, and the next one is due or there is none. @returns the pause, seconds. */
  const failed = (webhookId: string, attempt: number): Promise<number> =>
    until(`attempt ${attempt}`, async () => {
      const { rows } = await db().query<{ pause: number }>(
        `SELECT extract(epoch FROM w.due_at - d.at)::float8 AS pause FROM webhook w JOIN webhook_delivery d USING (webhook_id)
         WHERE w.webhook_id = $1 AND w.attempts = $2 AND d.attempt = $2 AND w.leased_until = '-infinity' AND (w.due_at > d.at OR w.disabled_at IS NOT NULL)`,
        [webhookId, attempt],
      );
      return rows[0]?.pause;
    }, 60_000);

  it("is tried again with growing pauses, then retired: seen as such, told nothing more, and enabled again by its owner alone", async () => {
    const [owner, stranger] = [await agentAt(world.url), await agentAt(world.url)];
    const [dead, healthy] = [await hookOf(owner), await hookOf(owner)];
    const shown = async (): Promise<Json> => (await owner.ask("GET", "/webhooks")).body["webhooks"].find((hook: Json) => hook["webhookId"] === dead.webhookId);
    dead.answer = fails;
    await post(owner, "first");
    for (const [index, pause] of PAUSES_S.entries()) {
      const waits = await failed(dead.webhookId, index + 1);
      expect(waits, `pause after attempt ${index + 1}`).greaterThanOrEqual(pause).lessThan(2 * pause);
      expect((await shown())["enabled"]).equal(true);
      await timePasses(dead.webhookId);
    }
    await failed(dead.webhookId, PAUSES_S.length + 1);
    const retired = await shown();
    expect([retired["enabled"], Date.parse(retired["disabledAt"]) > 0]).deep.equal([false, true]);
    const { deliveries } = (await owner.ask("GET", `/webhooks/${dead.webhookId}/deliveries`)).body;
    expect(deliveries.map(({ attempt, status, fault }: Json) => [attempt, status, fault])).deep.equal(Array.from({ length: 16 }, (_, index) => [16 - index, 500, "webhook_status"]));

    dead.answer = takes;
    await post(owner, "second");
    await until("the healthy one", async () => (healthy.told.length === 2 ? true : undefined), 60_000);
    expect([dead.asked, dead.told]).deep.equal([16, []]);
    expect((await stranger.ask("POST", `/webhooks/${dead.webhookId}/enable`)).body["code"]).equal("webhook_unknown");
    expect((await shown())["enabled"]).equal(false);
    const enabled = await owner.ask("POST", `/webhooks/${dead.webhookId}/enable`);
    expect([enabled.status, enabled.body["enabled"], enabled.body["disabledAt"]]).deep.equal([200, true, null]);
    await until("what it missed", async () => (dead.told.length === 2 ? true : undefined), 60_000);
    expect([titlesOf(dead), dead.told.map(({ id }) => id)]).deep.equal([["first", "second"], healthy.told.map(({ id }) => id)]);
    expect([...dead.told, ...healthy.told].every(({ isSigned }) => isSigned)).equal(true);
    const latest = (await owner.ask("GET", `/webhooks/${dead.webhookId}/deliveries`)).body["deliveries"];
    expect(latest.slice(0, 2).map(({ attempt, status }: Json) => [attempt, status])).deep.equal([[1, 200], [1, 200]]);
    expect((await owner.ask("POST", `/webhooks/${dead.webhookId}/enable`)).status, "again").equal(200);
  });

  it("a relayer that dies while it tells loses nothing: the next one goes on, in order", async () => {
    const owner = await agentAt(world.url);
    const hook = await hookOf(owner);
    await post(owner, "one");
    await until("the first", async () => (hook.told.length === 1 ? true : undefined), 60_000);
    hook.answer = hangs;
    await post(owner, "two");
    await until("the second on its way", async () => (hook.asked === 2 ? true : undefined), 60_000);
    worker.child.kill("SIGKILL");
    await once(worker.child, "exit");
    await post(owner, "three");
    hook.answer = takes;
    worker = await startWorker();
    await timePasses(hook.webhookId);
    await until("all of it", async () => (hook.told.length === 3 ? true : undefined), 60_000);
    expect(titlesOf(hook)).deep.equal(["one", "two", "three"]);
    expect(hook.told.every(({ isSigned }) => isSigned)).equal(true);
  });
});
