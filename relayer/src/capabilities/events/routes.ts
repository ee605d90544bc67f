import type { FastifyInstance } from "fastify";
import { eventStreams } from "../../http/event-stream.ts";
import { problemResponse } from "../../problem-schema.ts";
import { callerOf, type AccessDeps } from "../access/service.ts";
import { follow, idOf, readPosition } from "./service.ts";
import type { StoredEvent } from "./store.ts";

export function eventRoutes(app: FastifyInstance, deps: AccessDeps): void {
  const send = eventStreams(app, "events");
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
      await send(request, reply, async function* (signal) {
        for await (const events of follow(deps, address, from, signal)) yield events.map(frame).join("");
      });
    },
  );
}

function frame(event: StoredEvent): string {
  return `id: ${idOf(event)}\nevent: ${event.kind}\ndata: ${JSON.stringify({ at: event.at.toISOString(), ...event.data })}\n\n`;
}
