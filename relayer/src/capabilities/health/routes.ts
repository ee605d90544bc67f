// Liveness, readiness, metrics, and the list of what is for sale.
import type { FastifyInstance } from "fastify";
import { Type } from "typebox";
import type { Deps } from "../../deps.ts";
import { services } from "../gateway/service.ts";
import { readiness } from "./service.ts";

const Check = Type.Object({ name: Type.String(), ok: Type.Boolean(), critical: Type.Boolean(), detail: Type.String() });
const Readiness = Type.Object({ ready: Type.Boolean(), checks: Type.Array(Check) });
const ServiceView = Type.Object({
  name: Type.String(),
  description: Type.String(),
  url: Type.String(),
  priceAtomic: Type.String({ description: "Price of one call, atomic token units" }),
  token: Type.String(),
  network: Type.String(),
  receiver: Type.String(),
});

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
  app.get("/api/v1/services", { schema: { tags: ["gateway"], summary: "What is for sale", response: { 200: Type.Object({ services: Type.Array(ServiceView) }) } } }, async () => ({
    services: (await services(deps)).map((service) => ({
      name: service.name,
      description: service.description,
      url: `${deps.config.publicUrl}/s/${service.name}`,
      priceAtomic: service.price.toString(),
      token: service.token,
      network: deps.config.network,
      receiver: service.receiver,
    })),
  }));
}
