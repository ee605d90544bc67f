import type { FastifyInstance } from "fastify";
import { Type, type Static } from "typebox";
import { problemResponse } from "../../problem-schema.ts";
import type { Deps } from "../../deps.ts";
import { callerOf } from "../access/service.ts";
import { idOf } from "../events/service.ts";
import { DeliveriesView, HookBody, HookParams, HookView, NewHookView } from "./schemas.ts";
import { addWebhook, deliveriesOf, enableWebhook, removeWebhook, webhooksOf } from "./service.ts";
import type { Webhook } from "./store.ts";

type ById = { Params: Static<typeof HookParams> };

const tags = ["webhooks"];
const faults = { 400: problemResponse("Malformed"), 401: problemResponse("Not signed in"), 404: problemResponse("None of yours"), 429: problemResponse("As many as are kept") };

const shown = ({ webhookId, url, kinds, createdAt, disabledAt }: Webhook): Static<typeof HookView> => ({
  webhookId, url, kinds, createdAt: createdAt.toISOString(), enabled: disabledAt === undefined, disabledAt: disabledAt?.toISOString() ?? null,
});

export function webhookRoutes(app: FastifyInstance, deps: Deps): void {
  app.post<{ Body: Static<typeof HookBody> }>(
    "/api/v1/webhooks",
    {
      schema: {
        tags, summary: "Be told of your events by POST, in order, at least once", body: HookBody, response: { 201: NewHookView, ...faults },
        description: "Tallystick-Signature is t=<unix seconds>,v1=<HMAC-SHA256 of `t.body` under the secret, hex>. An answer other than 2xx is tried again with growing pauses for two days, then the webhook is retired (`enabled` false) until POST .../enable. Redirects are not followed.",
      },
    },
    async (request, reply) => {
      const { address } = await callerOf(deps, request);
      const { secret, ...hook } = await addWebhook(deps, address, request.body.url, request.body.kinds ?? []);
      return reply.code(201).header("Cache-Control", "no-store").send({ ...shown(hook), secret });
    },
  );
  app.get("/api/v1/webhooks", { schema: { tags, summary: "Your webhooks", response: { 200: Type.Object({ webhooks: Type.Array(HookView) }), 401: faults[401] } } }, async (request) => {
    const hooks = await webhooksOf(deps, (await callerOf(deps, request)).address);
    return { webhooks: hooks.map(shown) };
  });
  app.get<ById>("/api/v1/webhooks/:webhookId/deliveries", { schema: { tags, summary: "What became of the last deliveries", params: HookParams, response: { 200: DeliveriesView, ...faults } } }, async (request) => {
    const deliveries = await deliveriesOf(deps, (await callerOf(deps, request)).address, request.params.webhookId);
    return { deliveries: deliveries.map(({ event, kind, at, attempt, status, fault }) => ({ event: idOf(event), kind, at: at.toISOString(), attempt, status: status ?? null, fault: fault ?? null })) };
  });
  app.post<ById>(
    "/api/v1/webhooks/:webhookId/enable",
    { schema: { tags, summary: "Tell a webhook again that was retired, from the event it did not take on; one that is enabled has its next attempt now", params: HookParams, response: { 200: HookView, ...faults } } },
    async (request) => shown(await enableWebhook(deps, (await callerOf(deps, request)).address, request.params.webhookId)),
  );
  app.delete<ById>("/api/v1/webhooks/:webhookId", { schema: { tags, summary: "Forget a webhook", params: HookParams, response: { 204: Type.Null(), ...faults } } }, async (request, reply) => {
    await removeWebhook(deps, (await callerOf(deps, request)).address, request.params.webhookId);
    return reply.code(204).send();
  });
}
