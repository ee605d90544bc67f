// The guard as a process of its own: an HTTP server on loopback. A guard that everybody on the network can ask would be none.
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { TallystickError } from "../errors.ts";
import { answerGuard, GUARD_PATH, problem, type GuardReply } from "./http.ts";
import type { Guard } from "./guard.ts";

const MAX_BODY_BYTES = 1 << 20;
const BODY_TIMEOUT_MS = 10_000;

export type GuardServer = { url: string; close(): Promise<void> };

export async function serveGuard(guard: Guard, port = 0): Promise<GuardServer> {
  const server = createServer((request, response) => void handle(guard, request, response));
  server.requestTimeout = BODY_TIMEOUT_MS;
  await new Promise<void>((done, failed) => server.once("error", failed).listen(port, "127.0.0.1", done));
  const { port: bound } = server.address() as AddressInfo;
  return { url: `http://127.0.0.1:${bound}`, close: () => closed(server) };
}

async function handle(guard: Guard, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const reply = await replyTo(guard, request);
  const type = reply.status >= 400 ? "application/problem+json" : "application/json";
  response.writeHead(reply.status, { "content-type": type, "cache-control": "no-store" }).end(JSON.stringify(reply.body));
}

async function replyTo(guard: Guard, request: IncomingMessage): Promise<GuardReply> {
  try {
    // A page in the user's browser can reach loopback too, and DNS can be made to point there; an agent is no page and names us by address.
    if (request.headers.origin !== undefined || !/^(127\.0\.0\.1|localhost)(:\d+)?$/.test(request.headers.host ?? "")) {
      throw new TallystickError({ code: "not_local", status: 403, retry: "never", detail: "The guard answers programs on this machine, not web pages." });
    }
    const path = new URL(request.url ?? "/", "http://127.0.0.1").pathname;
    if (path === "/healthz") return { status: 200, body: { ok: true } };
    if (!path.startsWith(`${GUARD_PATH}/`)) throw new TallystickError({ code: "not_found", status: 404, retry: "never", detail: "The guard has nothing there." });
    const body = request.method === "POST" ? await readJson(request) : undefined;
    return await answerGuard(guard, request.method ?? "GET", path.slice(GUARD_PATH.length), body);
  } catch (error) {
    return problem(error);
  }
}

async function readJson(request: IncomingMessage): Promise<unknown> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > MAX_BODY_BYTES) throw new TallystickError({ code: "request_too_large", status: 413, retry: "never", detail: `A request to the guard has at most ${MAX_BODY_BYTES} bytes.` });
    chunks.push(chunk);
  }
  try {
    return JSON.parse(Buffer.concat(chunks).toString("utf8")) as unknown;
  } catch (cause) {
    throw new TallystickError({ code: "guard_request_malformed", status: 400, retry: "never", field: "body", detail: "The body is no JSON.", cause });
  }
}

function closed(server: Server): Promise<void> {
  server.closeIdleConnections();
  return new Promise((done) => server.close(() => done()));
}
