// A seller with a server of its own: Fastify with our plugin, the relayer keeps the books. Behaves as test/support/stock-server.ts.
import fastify, { type FastifyInstance } from "fastify";
import { setTimeout as sleep } from "node:timers/promises";
import type { LocalAccount } from "viem";
import { freePort } from "../../scripts/local/process.ts";
import { tallystick } from "../../sdk/src/provider/fastify.ts";

export type PluginServerOptions = {
  relayerUrl: string;
  account: LocalAccount;
  service: string;
  /** Such as "$0.001". */
  price: string;
  minDepositCalls: number;
};

export type PluginServer = {
  url: string;
  /** Requests that reached the handler. */
  seen: { method: string; path: string; body: string }[];
  /** Stops and starts again at the same address. */
  restart(): Promise<void>;
  stop(): Promise<void>;
};

/** /status/<n> answers that status, /charge/<amount> asks for that charge (50pct is 50%), /slow/<ms> waits first; anything else echoes. */
export async function startPluginServer(options: PluginServerOptions): Promise<PluginServer> {
  const port = await freePort();
  const seen: PluginServer["seen"] = [];
  let app = await start(options, port, seen);
  return {
    url: `http://127.0.0.1:${port}`,
    seen,
    async restart() {
      await app.close();
      app = await start(options, port, seen);
    },
    stop: () => app.close(),
  };
}

async function start({ relayerUrl, account, service, price, minDepositCalls }: PluginServerOptions, port: number, seen: PluginServer["seen"]): Promise<FastifyInstance> {
  const app = fastify({ forceCloseConnections: true });
  app.addContentTypeParser("*", { parseAs: "string" }, (_request, body, done) => done(null, body));
  await app.register(tallystick, { relayerUrl, account, service, publicUrl: `http://127.0.0.1:${port}`, defaultPrice: price, list: { price, minDepositCalls } });
  app.all("/*", async (request, reply) => {
    const [, verb, argument = ""] = /^\/(status|charge|slow)\/([^/?]+)/.exec(request.url) ?? [];
    const body = typeof request.body === "string" ? request.body : "";
    seen.push({ method: request.method, path: request.url, body });
    if (verb === "slow") await sleep(Number(argument));
    if (verb === "charge") reply.charge(argument.replace("pct", "%"));
    if (verb === "status") reply.code(Number(argument));
    return { method: request.method, path: request.url, body, run: seen.length };
  });
  await app.listen({ host: "127.0.0.1", port });
  return app;
}
