// A JSON-RPC proxy that fails on demand: between the relayer and a real node, so that faults are faults of the wire.
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";

export type Fault = {
  /** JSON-RPC method, or "*" for all. */
  method: string;
  /**
   * drop: the connection breaks before the node sees the call. lose: the node does what was asked, its answer is lost.
   * error: an error is answered, the node sees nothing. late: the node does what was asked, an error is answered. status: an HTTP status.
   * delay: the answer comes late. lie: the result is another one. fake: the same, and the node sees nothing.
   */
  kind: "drop" | "lose" | "error" | "late" | "status" | "delay" | "lie" | "fake";
  /** Only calls with such parameters. */
  when?: (params: unknown[]) => boolean | Promise<boolean>;
  /** What an error says; "node is busy" when left out. */
  message?: string;
  code?: number;
  /** HTTP status; 500 when left out. */
  status?: number;
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
    const fault = await take(call);
    if (fault?.kind === "drop") return void request.socket.destroy();
    if (fault?.kind === "error") return send(response, refusal(fault, call));
    if (fault?.kind === "status") return send(response, "no", fault.status ?? 500);
    if (fault?.kind === "fake") return send(response, JSON.stringify({ jsonrpc: "2.0", id: call.id, result: fault.lie?.(undefined, call.params) ?? null }));
    if (call.method === "eth_sendRawTransaction") sent.push(String(call.params?.[0]));
    const upstreamAnswer = await (await fetch(upstream, { method: "POST", headers: { "content-type": "application/json" }, body })).text();
    if (fault?.kind === "lose") return void request.socket.destroy();
    if (fault?.kind === "late") return send(response, refusal(fault, call));
    if (fault?.kind === "delay") await sleep(fault.delayMs ?? 1000);
    send(response, fault?.kind === "lie" ? twisted(upstreamAnswer, fault, call) : upstreamAnswer);
  }

  async function take({ method, params }: Call): Promise<Fault | undefined> {
    for (const fault of faults) {
      if ((fault.method !== method && fault.method !== "*") || !((await fault.when?.(params)) ?? true)) continue;
      if (fault.times === 0) continue;
      if (fault.times !== undefined) fault.times -= 1;
      return fault;
    }
    return undefined;
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

function refusal({ code = -32603, message = "node is busy" }: Fault, { id }: Call): string {
  return JSON.stringify({ jsonrpc: "2.0", id, error: { code, message } });
}

function send(response: ServerResponse, body: string, status = 200): void {
  response.statusCode = status;
  response.setHeader("content-type", "application/json");
  response.end(body);
}
