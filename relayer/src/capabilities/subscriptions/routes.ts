import type { FastifyInstance } from "fastify";
import { Type } from "typebox";
import type { Deps } from "../../deps.ts";
import { problemResponse } from "../../problem-schema.ts";
import { callerOf, type AccessDeps } from "../access/service.ts";
import { subscriptionsOf } from "./service.ts";

const SubscriptionView = Type.Object({
  service: Type.String(), payer: Type.String(), payerAuthorizer: Type.String({ description: "The key whose vouchers it is for" }), paymentId: Type.String({ description: "The call that paid it" }),
  priceAtomic: Type.String(), startedAt: Type.String(), until: Type.String({ description: "Until then further calls are charged nothing" }),
});
const Query = Type.Object({ service: Type.Optional(Type.String({ pattern: "^[a-z0-9][a-z0-9-]{0,62}$" })), limit: Type.Optional(Type.Integer({ minimum: 1, maximum: 200 })) });
export function subscriptionRoutes(app: FastifyInstance, deps: AccessDeps & Pick<Deps, "db">): void {
  app.get<{ Querystring: { service?: string; limit?: number } }>(
    "/api/v1/subscriptions",
    { schema: { tags: ["subscriptions"], summary: "Months that stand and that you pay for, sign for, or are paid for", querystring: Query, response: { 200: Type.Object({ subscriptions: Type.Array(SubscriptionView) }), 401: problemResponse("Not signed in") } } },
    async (request) => {
      const { address } = await callerOf(deps, request);
      return { subscriptions: (await subscriptionsOf(deps, address, request.query)).map(view) };
    },
  );
}

function view({ price, startedAt, until, ...subscription }: Awaited<ReturnType<typeof subscriptionsOf>>[number]) {
  return { ...subscription, priceAtomic: String(price), startedAt: startedAt.toISOString(), until: until.toISOString() };
}
