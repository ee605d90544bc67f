// A provider's own server for tests: Fastify with our plugin, on a real port, its routes one of each kind.
import fastify, { type FastifyInstance } from "fastify";
import { Readable } from "node:stream";
import { setTimeout as sleep } from "node:timers/promises";
import type { HDAccount } from "viem";
import { freePort } from "../../scripts/local/process.ts";
import { tallystick, type TallystickOptions } from "../../sdk/src/provider/fastify.ts";

export type Shop = {
  app: FastifyInstance;
  url: string;
  /** How often a handler ran, by route. */
  runs: Record<string, number>;
  problems: unknown[];
  stop(): Promise<void>;
};

export async function startShop(relayerUrl: string, account: HDAccount, options: Partial<TallystickOptions> = {}, more: (app: FastifyInstance) => void = () => {}): Promise<Shop> {
  const port = await freePort();
  const url = `http://127.0.0.1:${port}`;
  const app = fastify({ bodyLimit: 100_000 });
  const runs: Shop["runs"] = {};
  const problems: unknown[] = [];
  const ran = (route: string) => (runs[route] = (runs[route] ?? 0) + 1);
  // Not awaited: the routes below are sold all the same.
  void app.register(tallystick, { relayerUrl, account, service: "shop", publicUrl: url, list: { price: "$0.001", handlerTimeoutMs: 10_000 }, onProblem: (error) => problems.push(error), ...options });
  const price = "$0.001";
  app.get("/quote", { config: { price } }, async (request) => ({ run: ran("quote"), payment: { ...request.payment, price: String(request.payment?.price) } }));
  app.post("/echo", { config: { price: { max: "$0.01" } } }, async (request, reply) => {
    ran("echo");
    reply.charge("$0.0042");
    return { got: request.body };
  });
  app.get("/free", async (request) => ({ run: ran("free"), payment: request.payment ?? null }));
  app.get<{ Params: { amount: string } }>("/charge/:amount", { config: { price: { max: "$0.01" } } }, async (request, reply) => reply.charge(request.params.amount).send({ run: ran("charge") }));
  app.get<{ Params: { amount: string } }>("/override/:amount", { config: { price } }, async (request, reply) => reply.header("settlement-overrides", JSON.stringify({ amount: request.params.amount })).send("overridden"));
  app.get<{ Params: { status: string } }>("/status/:status", { config: { price } }, async (request, reply) => reply.code(Number(request.params.status)).send({ run: ran("status") }));
  app.get("/throw", { config: { price } }, async () => {
    throw new Error(`run ${ran("throw")}`);
  });
  app.get("/buffer", { config: { price } }, async (_request, reply) => reply.type("application/octet-stream").send(Buffer.from([0, 1, 255])));
  app.get("/empty", { config: { price } }, async (_request, reply) => reply.code(204).send());
  app.get("/stream", { config: { price } }, async (_request, reply) => reply.type("text/plain").send(Readable.from(["one ", "two ", "three"])));
  app.get("/web-stream", { config: { price } }, async (_request, reply) => reply.send(new Response("from a Response", { headers: { "x-own": "1" } })));
  app.get("/broken-stream", { config: { price } }, async (_request, reply) =>
    reply.send(
      Readable.from(
        (async function* () {
          yield "half";
          throw new Error("broke off");
        })(),
      ),
    ),
  );
  app.get<{ Params: { size: string } }>("/large/:size", { config: { price } }, async (request) => Buffer.alloc(Number(request.params.size)));
  app.get<{ Params: { ms: string } }>("/slow/:ms", { config: { price } }, async (request) => {
    await sleep(Number(request.params.ms));
    return { run: ran("slow") };
  });
  app.post("/validated", { config: { price }, schema: { body: { type: "object", required: ["q"], properties: { q: { type: "string" } } } } }, async () => ({ run: ran("validated") }));
  more(app);
  await app.listen({ host: "127.0.0.1", port });
  return {
    app, url, runs, problems,
    async stop() {
      app.server.closeAllConnections();
      await app.close();
    },
  };
}
