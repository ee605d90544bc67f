// The example provider: a plain HTTP service that knows nothing of payments. The relayer stands in front of it and
// sells it. Runs as its own process on 127.0.0.1; the address goes to its parent by IPC.
import { readFileSync } from "node:fs";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { analyse, ANALYSED_CHARACTERS } from "./analysis.ts";

/** Larger bodies are refused; the text of what is accepted may still be longer than what is analysed. */
const MAX_BODY_BYTES = 2 * 1024 * 1024;

const DESCRIPTION = {
  name: "Document analysis",
  endpoints: {
    "GET /analyze": "the analysis of ?text=, or of a sample when it is left out",
    "POST /analyze": {
      accepts: { "text/plain": "the document", "application/json": { text: "the document" } },
      returns: {
        keywords: [{ word: "string", score: "0 to 1" }],
        summary: ["string"],
        words: "integer",
        sentences: "integer",
        truncated: "boolean",
        analysedCharacters: "integer",
      },
      limits: { bodyBytes: MAX_BODY_BYTES, analysedCharacters: ANALYSED_CHARACTERS },
    },
  },
};

/** What a bare GET analyses, so that the address can be tried as it is. */
const SAMPLE = readFileSync(new URL("../../README.md", import.meta.url), "utf8");

class Refusal extends Error {
  readonly status: number;
  readonly code: string;
  constructor(status: number, code: string, detail: string) {
    super(detail);
    this.status = status;
    this.code = code;
  }
}

const server = createServer((request, response) => {
  handle(request).then(
    (body) => send(response, 200, body),
    (error: unknown) => {
      if (error instanceof Refusal) return send(response, error.status, { code: error.code, detail: error.message });
      process.stderr.write(`provider: ${error instanceof Error ? error.stack : String(error)}\n`);
      send(response, 500, { code: "internal", detail: "The analysis failed." });
    },
  );
});

async function handle(request: IncomingMessage): Promise<unknown> {
  const path = new URL(request.url ?? "/", "http://provider").pathname;
  if (path === "/" || path === "") return only(request, ["GET", "HEAD"], DESCRIPTION);
  if (path === "/analyze" && request.method === "GET") return analyse(textFromQuery(request) ?? SAMPLE);
  if (path !== "/analyze") throw new Refusal(404, "not_found", `There is no ${path}; GET / describes what there is.`);
  only(request, ["GET", "POST"], undefined);
  const text = await textOf(request);
  if (text.trim() === "") throw new Refusal(422, "text_empty", "The document has no text.");
  return analyse(text);
}

function only<T>(request: IncomingMessage, methods: string[], value: T): T {
  if (methods.includes(request.method ?? "")) return value;
  throw new Refusal(405, "method_not_allowed", `Use ${methods.join(" or ")}.`);
}

function textFromQuery(request: IncomingMessage): string | undefined {
  return new URL(request.url ?? "/", "http://provider").searchParams.get("text")?.trim() || undefined;
}

async function textOf(request: IncomingMessage): Promise<string> {
  const type = (request.headers["content-type"] ?? "text/plain").split(";")[0]!.trim().toLowerCase();
  if (type !== "text/plain" && type !== "text/markdown" && type !== "application/json") {
    throw new Refusal(415, "media_type_unsupported", `Send text/plain or application/json, not ${type}.`);
  }
  const body = await bodyOf(request);
  if (type !== "application/json") return body;
  const parsed = parseJson(body);
  if (typeof parsed !== "object" || parsed === null || !("text" in parsed) || typeof parsed.text !== "string") {
    throw new Refusal(400, "text_missing", 'The body must be a JSON object with a string member "text".');
  }
  return parsed.text;
}

async function bodyOf(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > MAX_BODY_BYTES) throw new Refusal(413, "body_too_large", `The body is larger than ${MAX_BODY_BYTES} bytes.`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString("utf8");
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw new Refusal(400, "json_malformed", "The body is not valid JSON.");
  }
}

function send(response: ServerResponse, status: number, body: unknown): void {
  const bytes = Buffer.from(JSON.stringify(body));
  // A refused body was not read to its end: the connection cannot carry another request.
  const close = status === 413 ? { connection: "close" } : {};
  response.writeHead(status, { "content-type": "application/json", "content-length": bytes.length, ...close }).end(bytes);
}

// Idle connections stay open longer than those of the relayer's client, which then never picks one that is closing.
server.keepAliveTimeout = 60_000;
server.listen(Number(process.argv[2] ?? 0), "127.0.0.1", () => {
  const { port } = server.address() as AddressInfo;
  const url = `http://127.0.0.1:${port}`;
  if (process.send === undefined) process.stderr.write(`provider: ${url}\n`);
  else process.send({ url });
});

const end = () => process.exit(0);
process.on("disconnect", end).on("SIGTERM", end);
