// A call by a session's token whose relayer is killed outright: between reservation and charge, when the upstream has answered, and after the
// charge before a byte of the answer left. Whoever repeats it with its identifier gets one answer, charged once.
import { expect } from "chai";
import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { CommitPoint } from "../../relayer/src/commit-points.ts";
import { toBytes } from "../../relayer/src/db/codec.ts";
import { freePort } from "../../scripts/local/process.ts";
import type { Trap } from "../chaos/relayer-process.ts";
import { testEnvironment } from "../support/config.ts";
import { EASY_SLA, policyOf, publishPolicy } from "../support/negotiation.ts";
import { startTestWorld, type TestWorld } from "../support/relayer.ts";
import { callByToken, leave, openSession, PRICE, usedOf, type Called, type OpenSession } from "../support/session-token.ts";

const ENTRY = fileURLToPath(new URL("../chaos/relayer-process.ts", import.meta.url));

describe("a call by token whose relayer is killed", function () {
  this.timeout(300_000);
  let world: TestWorld;
  let folder: string;
  const children: ChildProcess[] = [];
  before(async () => {
    world = await startTestWorld({ env: { RELAYER_SWEEP_MS: "1000", RELAYER_MAX_UNBILLED_RUNS: "1000" } });
    folder = await mkdtemp(join(tmpdir(), "tallystick-token-kill-"));
    await publishPolicy(world.url, policyOf({ sla: EASY_SLA }));
  });
  after(async () => {
    for (const child of children) child.kill("SIGKILL");
    await world.stop();
    await rm(folder, { recursive: true, force: true });
  });

  /** Another process over the same ledger that dies when it gets there. */
  async function doomed(point: CommitPoint): Promise<{ url: string; died: Promise<unknown[]> }> {
    const { databaseUrl, rpcUrls } = world.relayer.deps.config;
    const services = [{ name: "echo", origin: world.provider.origin, description: "echoes", upstreamTimeoutMs: 3_000 }];
    const traps: Trap[] = [{ id: point, point, nth: 1 }];
    const env = { PATH: process.env.PATH, CHAOS_FOLDER: folder, CHAOS_SLOT: point, CHAOS_TRAPS: JSON.stringify(traps), ...testEnvironment(databaseUrl, rpcUrls.join(","), services, { RELAYER_PORT: String(await freePort()), RELAYER_ROLE: "server" }) };
    const child = spawn(process.execPath, [ENTRY], { env, stdio: ["ignore", "ignore", "inherit", "ipc"] });
    children.push(child);
    const died = once(child, "exit");
    const [{ ready }] = (await once(child, "message")) as [{ ready: string }];
    return { url: ready, died };
  }

  async function answered(opened: OpenSession, request: Parameters<typeof callByToken>[2]): Promise<Called> {
    const answer = await callByToken(opened, world.url, request);
    expect(answer.status, JSON.stringify(answer.body)).equal(200);
    return answer;
  }

  for (const point of ["payment.reserved", "upstream.answered", "payment.charged"] as const) {
    it(`at ${point}: the same answer for every repetition, charged once`, async () => {
      const opened = await openSession(world, 4n);
      expect((await leave(world, opened, { channelConfig: opened.config, voucher: await opened.buyer.buyer.voucher(opened.channelId, 4n * PRICE) })).status).equal(200);
      const request = { path: `/${point}`, headers: { "idempotency-key": `kill-${point.padEnd(20, "0")}`.replaceAll(".", "-") } };
      const { url, died } = await doomed(point);
      const lost = await callByToken(opened, url, request).then(() => "answered", () => "lost");
      expect([lost, (await died)[1]]).deep.equal(["lost", "SIGKILL"]);
      const taken = await usedOf(world, opened);
      expect(taken.charged_atomic).equal(point === "payment.charged" ? 2n * PRICE : PRICE);
      const first = await answered(opened, request);
      const again = await Promise.all([answered(opened, request), answered(opened, request)]);
      expect(again.map(({ body }) => body)).deep.equal([first.body, first.body]);
      expect(again.map(({ receipt }) => receipt)).deep.equal([first.receipt, first.receipt]);
      expect(first.receipt).include({ amount: String(PRICE), cumulative: String(2n * PRICE) });
      expect(await usedOf(world, opened)).deep.equal({ calls_taken: 2n, calls_charged: 2n, charged_atomic: 2n * PRICE });
      const { rows } = await world.relayer.deps.db.query("SELECT charged, reserved FROM channel WHERE channel_id = $1", [toBytes(opened.channelId)]);
      expect(rows).deep.equal([{ charged: 2n * PRICE, reserved: 0n }]);
      // What was charged before the kill is what is handed out: its upstream did not run again.
      expect(world.provider.seen.filter(({ url: path }) => path === `/${point}`).length).equal(point === "upstream.answered" ? 2 : 1);
    });
  }
});
