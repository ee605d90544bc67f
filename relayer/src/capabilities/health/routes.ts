// Liveness, readiness, metrics.
import type { FastifyInstance } from "fastify";
import { Type } from "typebox";
import type { Deps } from "../../deps.ts";
import { readiness } from "./service.ts";

const Check = Type.Object({ name: Type.String(), ok: Type.Boolean(), critical: Type.Boolean(), detail: Type.String() });
const Readiness = Type.Object({ ready: Type.Boolean(), checks: Type.Array(Check) });

export function healthRoutes(app: FastifyInstance, deps: Deps): void {
  app.get("/healthz", { schema: { tags: ["operations"], summary: "The process is alive", response: { 200: Type.Object({ alive: Type.Boolean() }) } } }, async () => ({ alive: true }));
  app.get(
    "/readyz",
    { schema: { tags: ["operations"], summary: "Everything a payment needs is in place", response: { 200: Readiness, 503: Readiness } } },
    async (_request, reply) => {
      const result = await readiness(deps);
      return reply.code(result.ready ? 200 : 503).send(result);
    },
  );
  app.get("/metrics", { schema: { tags: ["operations"], summary: "Prometheus metrics" } }, async (_request, reply) =>
    reply.type(deps.metrics.registry.contentType).send(await deps.metrics.registry.metrics()),
  );
}
