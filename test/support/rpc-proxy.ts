// A JSON-RPC proxy that fails on demand: between the relayer and a real node, so that faults are faults of the wire.
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";

export type Fault = {
  /** JSON-RPC method, or "*" for all. */
  method: string;
  /**
   * drop: the connection breaks before the node sees the call. lose: the node does what was asked, its answer is lost.
   * error: the node says it cannot now. delay: the answer comes late. lie: the result is another one.
   */
  kind: "drop" | "lose" | "error" | "delay" | "lie";
  /** What a lie says instead of the true result. */
  lie?: (result: unknown, params: unknown[]) => unknown;
  /** How many calls fail; all of them until `heal` when left out. */
  times?: number;
  delayMs?: number;
};

export type RpcProxy = {
  url: string;
  /** Calls seen by method. */
  calls: Map<string, number>;
  /** Signed transactions in the order in which the node was given them. */
  sent: string[];
  fail(fault: Fault): void;
  heal(): void;
  stop(): Promise<void>;
};

type Call = { id: unknown; method: string; params: unknown[] };

export async function startRpcProxy(upstream: string): Promise<RpcProxy> {
  let faults: Fault[] = [];
  const calls = new Map<string, number>();
  const sent: string[] = [];

  async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const body = Buffer.concat(chunks).toString();
    const call = JSON.parse(body) as Call;
    calls.set(call.method, (calls.get(call.method) ?? 0) + 1);
    const fault = take(call.method);
    if (fault?.kind === "drop") return void request.socket.destroy();
    if (fault?.kind === "error") return send(response, JSON.stringify({ jsonrpc: "2.0", id: call.id, error: { code: -32603, message: "node is busy" } }));
    if (call.method === "eth_sendRawTransaction") sent.push(String(call.params[0]));
    const upstreamAnswer = await (await fetch(upstream, { method: "POST", headers: { "content-type": "application/json" }, body })).text();
    if (fault?.kind === "lose") return void request.socket.destroy();
    if (fault?.kind === "delay") await sleep(fault.delayMs ?? 1000);
    send(response, fault?.kind === "lie" ? twisted(upstreamAnswer, fault, call) : upstreamAnswer);
  }

  function take(method: string): Fault | undefined {
    const fault = faults.find((candidate) => candidate.method === method || candidate.method === "*");
    if (fault?.times !== undefined && --fault.times === 0) faults = faults.filter((candidate) => candidate !== fault);
    return fault;
  }

  const server = createServer((request, response) => void answer(request, response).catch(() => request.socket.destroy()));
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    calls,
    sent,
    fail: (fault) => void faults.push({ ...fault }),
    heal: () => void (faults = []),
    async stop() {
      server.closeAllConnections();
      await new Promise((done) => server.close(done));
    },
  };
}

function twisted(answer: string, { lie }: Fault, { params }: Call): string {
  const truth = JSON.parse(answer) as { result?: unknown };
  return JSON.stringify({ ...truth, result: lie?.(truth.result, params) ?? null });
}

function send(response: ServerResponse, body: string): void {
  response.setHeader("content-type", "application/json");
  response.end(body);
}
