// A whole relayer for tests: real PostgreSQL, a real chain with the contracts in place, a provider to sell, real HTTP.
import { createServer, type IncomingMessage, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import type { DestinationStream } from "pino";
import { createRelayer, type Relayer } from "../../relayer/src/relayer.ts";
import { createLog } from "../../relayer/src/telemetry/log.ts";
import { freePort } from "../../scripts/local/process.ts";
import { startTestChain, type TestChain } from "./chain.ts";
import { testConfig } from "./config.ts";
import { startTestPostgres, type TestPostgres } from "./postgres.ts";

export type Provider = {
  origin: string;
  /** Requests that reached it, as it saw them. */
  seen: { method: string; url: string; headers: IncomingMessage["headers"]; body: string }[];
  stop(): Promise<void>;
};

/** Echoes; /status/<n> answers that status, /slow/<ms> waits first, /gate/<n> until n such requests wait, /break hangs up, /large/<bytes> sends that much, /charge/<amount> asks
 * for that charge (33pct is 33%). */
export async function startProvider(): Promise<Provider> {
  const seen: Provider["seen"] = [];
  let waiting: (() => void)[] = [];
  /** Holds requests until so many are here at once. */
  const gate = (count: number) =>
    new Promise<void>((open) => {
      waiting.push(open);
      if (waiting.length < count) return;
      for (const enter of waiting) enter();
      waiting = [];
    });
  const server: Server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on("data", (chunk: Buffer) => chunks.push(chunk));
    request.on("end", async () => {
      const body = Buffer.concat(chunks).toString();
      seen.push({ method: request.method ?? "", url: request.url ?? "", headers: request.headers, body });
      const [, verb, argument] = (request.url ?? "").split("/");
      if (verb === "break") return request.socket.destroy();
      if (verb === "slow") await sleep(Number(argument));
      if (verb === "gate") await gate(Number(argument));
      if (verb === "large") return response.end(Buffer.alloc(Number(argument)));
      response.statusCode = verb === "status" ? Number(argument) : 200;
      response.setHeader("content-type", "application/json");
      if (verb === "charge") response.setHeader("settlement-overrides", JSON.stringify({ amount: argument?.replace("pct", "%") }));
      response.setHeader("payment-response", "forged by the provider");
      response.end(JSON.stringify({ method: request.method, url: request.url, body, run: seen.length }));
    });
  });
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  const { port } = server.address() as AddressInfo;
  return {
    origin: `http://127.0.0.1:${port}`,
    seen,
    stop: () => new Promise((done) => {
      server.closeAllConnections();
      server.close(() => done());
    }),
  };
}

export type TestWorld = {
  chain: TestChain;
  postgres: TestPostgres;
  provider: Provider;
  relayer: Relayer;
  /** Origin of the relayer. */
  url: string;
  /** Another process's view: a second relayer over the same ledger. */
  anotherRelayer(env?: Record<string, string>): Promise<{ relayer: Relayer; url: string }>;
  stop(): Promise<void>;
};

type WorldOptions = {
  env?: Record<string, string>;
  /** The test calls the sweeps itself: none of its relayers does so beside it. */
  sweepsByHand?: boolean;
  log?: DestinationStream;
  /** Something between the relayer and the chain. */
  rpcUrl?: (chainUrl: string) => Promise<string>;
};

/** Starts everything; the service is called `echo` and costs 1000 atomic units a call. */
export async function startTestWorld(options: WorldOptions = {}): Promise<TestWorld> {
  const [chain, postgres, provider] = await Promise.all([startTestChain({ blockTimeMs: 1_000 }), startTestPostgres(), startProvider()]);
  const databaseUrl = await postgres.freshDatabase();
  const running: Relayer[] = [];
  const rpcUrl = (await options.rpcUrl?.(chain.url)) ?? chain.url;
  const start = async (env: Record<string, string> = {}) => {
    const port = String(await freePort());
    const services = [{ name: "echo", origin: provider.origin, description: "echoes", upstreamTimeoutMs: 3_000 }];
    const config = testConfig(databaseUrl, rpcUrl, services, { RELAYER_PORT: port, ...(options.sweepsByHand === true && { RELAYER_SWEEP_MS: "600000" }), ...options.env, ...env });
    const relayer = await createRelayer(config, createLog(options.log === undefined ? "silent" : "debug", options.log));
    running.push(relayer);
    return { relayer, url: await relayer.start() };
  };
  const first = await start();
  return {
    chain,
    postgres,
    provider,
    ...first,
    anotherRelayer: start,
    async stop() {
      await Promise.all(running.map((relayer) => relayer.stop()));
      await Promise.all([provider.stop(), chain.stop()]);
      await postgres.stop();
    },
  };
}
