// The provider: what it does is in the path, what it did is remembered by the purchase's tag. Every run gives another answer, so that
// an answer says which run it comes from.
import { createServer, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";

export type Run = {
  run: number;
  tag: string;
  paymentId: string;
  /** The whole answer was handed to the connection. */
  complete: boolean;
  status: number;
  body: string;
  /** When it had written its answer, unix milliseconds. */
  doneAtMs: number | undefined;
};

export type Provider = { origin: string; runs: Map<string, Run[]>; stop(): Promise<void> };

/** /<verb>/<argument>/<tag>: ok, slow/<ms>, status/<n>, break, hang, charge/<amount>, half (breaks off inside the body), sse/<events>, brokensse/<events>. */
export async function startProvider(): Promise<Provider> {
  const runs: Provider["runs"] = new Map();
  let count = 0;
  const server = createServer((request, response) => {
    request.resume();
    request.on("end", () => void serve(request.url ?? "", String(request.headers["tallystick-payment-id"]), response).catch(() => response.destroy()));
  });

  async function serve(url: string, paymentId: string, response: ServerResponse): Promise<void> {
    const [, verb = "", argument = "", tag = ""] = url.split("/");
    const run: Run = { run: ++count, tag, paymentId, complete: false, status: verb === "status" ? Number(argument) : 200, body: "", doneAtMs: undefined };
    runs.set(tag, [...(runs.get(tag) ?? []), run]);
    if (verb === "break") return void response.destroy();
    if (verb === "hang") return;
    if (verb === "slow") await sleep(Number(argument));
    if (verb.endsWith("sse")) return stream(run, Number(argument), verb === "brokensse", response);
    run.body = JSON.stringify({ run: run.run, tag, paymentId, verb });
    response.statusCode = run.status;
    response.setHeader("content-type", "application/json");
    if (verb === "charge") response.setHeader("settlement-overrides", JSON.stringify({ amount: argument }));
    if (verb === "half") {
      response.setHeader("content-length", String(run.body.length));
      response.write(run.body.slice(0, 10), () => response.destroy());
      return;
    }
    run.doneAtMs = Date.now();
    response.end(run.body, () => (run.complete = true));
  }

  async function stream(run: Run, events: number, breaks: boolean, response: ServerResponse): Promise<void> {
    response.setHeader("content-type", "text/event-stream");
    for (let event = 0; event < events; event++) {
      const part = `data: ${run.run} ${run.tag} ${event}\n\n`;
      run.body += part;
      response.write(part);
      await sleep(15);
      if (breaks && event === Math.floor(events / 2) && run.run % 2 === 0) return void response.destroy();
    }
    response.end(() => (run.complete = true));
  }

  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  return {
    origin: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    runs,
    stop: () => new Promise((done) => {
      server.closeAllConnections();
      server.close(() => done());
    }),
  };
}
