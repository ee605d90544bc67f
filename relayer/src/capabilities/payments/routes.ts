import type { FastifyInstance } from "fastify";
import { Type } from "typebox";
import { problemResponse } from "../../problem-schema.ts";
import { callerOf, type AccessDeps } from "../access/service.ts";
import { answerFor, forgetAnswer, paymentFor, paymentsOf, traceOf, type Told, type PaymentDeps } from "./service.ts";

const Atomic = Type.String({ description: "Atomic token units" });
const PaymentView = Type.Object({
  paymentId: Type.String(),
  status: Type.Union([Type.Literal("SETTLED"), Type.Literal("PENDING"), Type.Literal("NEVER")]),
  transaction: Type.Union([Type.String(), Type.Null()]),
  reason: Type.Optional(Type.String({ description: "Why it can no longer happen" })),
  detail: Type.String(),
  scheme: Type.String(), service: Type.String(), resource: Type.String(), payer: Type.String(), receiver: Type.String(),
  sessionId: Type.Union([Type.String(), Type.Null()]),
  state: Type.String(),
  priceAtomic: Atomic,
  chargedAtomic: Type.Union([Atomic, Type.Null()]),
  createdAt: Type.String(),
});
const TraceView = Type.Object({ paymentId: Type.String(), status: Type.String(), steps: Type.Array(Type.Object({ name: Type.String(), at: Type.Optional(Type.String()) }, { additionalProperties: true })) });
const Page = Type.Object({ before: Type.Optional(Type.String({ format: "date-time" })), limit: Type.Optional(Type.Integer({ minimum: 1, maximum: 200 })) });
const refusals = { 401: problemResponse("Not signed in"), 404: problemResponse("None, or not yours") };

type ById = { Params: { paymentId: string } };

export function paymentRoutes(app: FastifyInstance, deps: PaymentDeps & AccessDeps): void {
  app.get<ById>("/api/v1/payments/:paymentId", { schema: { tags: ["payments"], summary: "What became of a payment of yours: SETTLED, PENDING or NEVER", response: { 200: PaymentView, ...refusals } } }, async (request) =>
    view(await paymentFor(deps, request.params.paymentId, (await callerOf(deps, request)).address)),
  );
  app.get<ById>("/api/v1/payments/:paymentId/trace", { schema: { tags: ["payments"], summary: "Its whole way: 402, decision, voucher, charge, receipt, transaction", response: { 200: TraceView, ...refusals } } }, async (request) => {
    const { paymentId, status, steps } = await traceOf(deps, request.params.paymentId, (await callerOf(deps, request)).address);
    return { paymentId, status: status.status, steps };
  });
  app.get<ById>("/api/v1/payments/:paymentId/answer", { schema: { tags: ["payments"], summary: "What you bought, as long as it is kept", response: { ...refusals, 410: problemResponse("You had it deleted") } } }, async (request, reply) => {
    const answer = await answerFor(deps, request.params.paymentId, (await callerOf(deps, request)).address);
    return reply.code(answer.status).headers(answer.headers).send(answer.body);
  });
  app.delete<ById>(
    "/api/v1/payments/:paymentId/answer",
    { schema: { tags: ["payments"], summary: "Deletes what you bought, for good", description: "The payment and its receipt stay. The same payment sent again is then 410 `answer_deleted`. Twice is once.", response: { 204: Type.Null({ description: "Deleted" }), ...refusals } } },
    async (request, reply) => {
      await forgetAnswer(deps, request.params.paymentId, (await callerOf(deps, request)).address);
      return reply.code(204).send(null);
    },
  );
  app.get<{ Querystring: { before?: string; limit?: number } }>(
    "/api/v1/payments",
    { schema: { tags: ["payments"], summary: "Your payments, the newest first", querystring: Page, response: { 200: Type.Object({ payments: Type.Array(PaymentView) }), 401: refusals[401] } } },
    async (request) => {
      const { address } = await callerOf(deps, request);
      const { before, limit = 50 } = request.query;
      return { payments: (await paymentsOf(deps, address, before === undefined ? undefined : new Date(before), limit)).map(view) };
    },
  );
}

function view({ story, status }: Told) {
  return {
    paymentId: story.paymentId, status: status.status, transaction: ("transaction" in status ? status.transaction : undefined) ?? null, ...("reason" in status ? { reason: status.reason } : {}), detail: status.detail,
    scheme: story.scheme, service: story.service, resource: story.resource, payer: story.payer, receiver: story.receiver, sessionId: story.channelId ?? null, state: story.state,
    priceAtomic: String(story.price), chargedAtomic: story.charged === undefined ? null : String(story.charged), createdAt: story.reservedAt.toISOString(),
  };
}
