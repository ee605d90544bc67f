import type { FastifyInstance } from "fastify";
import { problemResponse } from "../../problem-schema.ts";
import { TallystickError } from "../../../../sdk/src/errors.ts";
import { callerOf, type AccessDeps } from "../access/service.ts";
import { follow, idOf, readPosition } from "./service.ts";
import type { StoredEvent } from "./store.ts";

const MOST_READERS = 500;
const HEARTBEAT_MS = 15_000;

export function eventRoutes(app: FastifyInstance, deps: AccessDeps): void {
  const closing = new AbortController();
  let readers = 0;
  // Readers never end by themselves, and close() waits for every answer.
  app.addHook("preClose", async () => closing.abort());
  app.get(
    "/api/v1/events",
    {
      schema: {
        tags: ["events"],
        summary: "What happens to your payments and sessions, as server-sent events",
        description: "Resumable: Last-Event-ID (or ?after=) goes on after that event, without gap or repetition, in any process. Without it, from now on. Kept for 7 days.",
        response: { 401: problemResponse("Not signed in"), 503: problemResponse("Too many readers") },
      },
    },
    async (request, reply) => {
      const { address } = await callerOf(deps, request);
      const last = request.headers["last-event-id"] ?? (request.query as { after?: string }).after;
      const from = typeof last === "string" && last !== "" ? readPosition(last) : undefined;
      if (readers >= MOST_READERS) throw new TallystickError({ code: "events_busy", status: 503, retry: "safe", detail: `${MOST_READERS} readers follow already.`, extra: { retryAfterS: 5 } });
      readers += 1;
      const gone = new AbortController();
      request.raw.once("close", () => gone.abort());
      reply.hijack();
      reply.raw.writeHead(200, { "content-type": "text/event-stream", "cache-control": "no-store", "x-accel-buffering": "no", connection: "close", ...corsOf(reply.getHeaders()) });
      reply.raw.write(": following\n\n");
      const heartbeat = setInterval(() => reply.raw.write(": still here\n\n"), HEARTBEAT_MS);
      try {
        for await (const events of follow(deps, address, from, AbortSignal.any([gone.signal, closing.signal]))) {
          // A reader that does not read is not read for: the log waits, memory does not grow.
          if (events.length > 0 && !reply.raw.write(events.map(frame).join(""))) await drained(reply.raw, gone.signal);
        }
      } finally {
        readers -= 1;
        clearInterval(heartbeat);
        reply.raw.end();
      }
    },
  );
}

function frame(event: StoredEvent): string {
  return `id: ${idOf(event)}\nevent: ${event.kind}\ndata: ${JSON.stringify({ at: event.at.toISOString(), ...event.data })}\n\n`;
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
