import type { FastifyInstance } from "fastify";
import type { Static } from "typebox";
import { problemResponse } from "../../problem-schema.ts";
import type { Deps } from "../../deps.ts";
import { callerOf, type AccessDeps } from "../access/service.ts";
import { Keyed, PayoutsView, RequestView, ScheduleBody } from "./schemas.ts";
import { askPayout, payoutsOf, schedulePayouts } from "./service.ts";

const refusals = { 400: problemResponse("Malformed"), 401: problemResponse("Not signed in"), 503: problemResponse("The chain cannot be read now") };

export function payoutRoutes(app: FastifyInstance, deps: Deps & AccessDeps): void {
  app.get("/api/v1/payouts", { schema: { tags: ["payouts"], summary: "What you are owed, and when it is paid out", response: { 200: PayoutsView, ...refusals } } }, async (request, reply) => {
    const { address } = await callerOf(deps, request);
    return reply.header("Cache-Control", "no-store").send(await payoutsOf(deps, address));
  });
  app.put<{ Body: Static<typeof ScheduleBody> }>(
    "/api/v1/payouts/schedule",
    { schema: { tags: ["payouts"], summary: "When claimed money is moved to you; claims themselves never wait", body: ScheduleBody, response: { 200: PayoutsView, ...refusals } } },
    async (request) => {
      const { address } = await callerOf(deps, request);
      await schedulePayouts(deps, address, request.body);
      return payoutsOf(deps, address);
    },
  );
  app.post<{ Headers: Static<typeof Keyed> }>(
    "/api/v1/payouts",
    { schema: { tags: ["payouts"], summary: "Ask for everything claimed, now", description: "While a request is open, another one is the same.", headers: Keyed, response: { 202: RequestView, ...refusals } } },
    async (request, reply) => {
      const { address } = await callerOf(deps, request);
      return reply.code(202).send(await askPayout(deps, address, request.headers["idempotency-key"]));
    },
  );
}
