// Server-sent events that never end by themselves: bounded readers, heartbeats, no memory for a reader that does not read.
import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { TallystickError } from "../../../sdk/src/errors.ts";

const MOST_READERS = 500;
const HEARTBEAT_MS = 15_000;

/** Sends what `source` yields, each part whole frames, until the reader leaves or the app closes. */
export type EventStreams = (request: FastifyRequest, reply: FastifyReply, source: (signal: AbortSignal) => AsyncIterable<string>) => Promise<void>;

/** @returns what sends a stream. @throws (when called) TallystickError 503 `<name>_busy`. */
export function eventStreams(app: FastifyInstance, name: string): EventStreams {
  const closing = new AbortController();
  let readers = 0;
  // Readers never end by themselves, and close() waits for every answer.
  app.addHook("preClose", async () => closing.abort());
  return async (request, reply, source) => {
    if (readers >= MOST_READERS) throw new TallystickError({ code: `${name}_busy`, status: 503, retry: "safe", detail: `${MOST_READERS} readers follow already.`, extra: { retryAfterS: 5 } });
    readers += 1;
    const gone = new AbortController();
    request.raw.once("close", () => gone.abort());
    reply.hijack();
    reply.raw.writeHead(200, { "content-type": "text/event-stream", "cache-control": "no-store", "x-accel-buffering": "no", connection: "close", ...corsOf(reply.getHeaders()) });
    reply.raw.write(": following\n\n");
    const heartbeat = setInterval(() => reply.raw.write(": still here\n\n"), HEARTBEAT_MS);
    try {
      for await (const frames of source(AbortSignal.any([gone.signal, closing.signal]))) {
        // A reader that does not read is not read for: the log waits, memory does not grow.
        if (frames !== "" && !reply.raw.write(frames)) await drained(reply.raw, gone.signal);
      }
    } finally {
      readers -= 1;
      clearInterval(heartbeat);
      reply.raw.end();
    }
  };
}

/** What hooks have set for pages of other origins. */
function corsOf(headers: Record<string, unknown>): Record<string, string> {
  return Object.fromEntries(Object.entries(headers).filter(([name]) => name.startsWith("access-control-")).map(([name, value]) => [name, String(value)]));
}

function drained(raw: NodeJS.WritableStream, gone: AbortSignal): Promise<void> {
  return new Promise((done) => {
    raw.once("drain", done);
    gone.addEventListener("abort", () => done(), { once: true });
  });
}
