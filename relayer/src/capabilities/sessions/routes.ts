import type { FastifyInstance } from "fastify";
import { Type } from "typebox";
import type { Hex } from "viem";
import { problemResponse } from "../../problem-schema.ts";
import { callerOf, type AccessDeps } from "../access/service.ts";
import type { Deps } from "../../deps.ts";
import { expiresAtS, remaining } from "./logic.ts";
import { sessionFor, sessionsOf, type Session } from "./service.ts";

const Atomic = Type.String({ description: "Atomic token units" });
const Nullable = (description: string) => Type.Union([Type.String({ description }), Type.Null()]);
const SessionView = Type.Object({
  sessionId: Type.String({ description: "The channel id" }),
  state: Type.String({ description: "open, exhausted, refunding, withdrawing or closed" }),
  depositAmount: Atomic, remainingBalance: Atomic, pricePerRequest: Nullable("Atomic token units"), requestCount: Type.Integer(),
  expiresAt: Nullable("When a pending withdrawal can be finished"), creationTransaction: Nullable("Transaction hash"),
  pendingDeposit: Type.String({ description: "Deposits that are not deep enough to count yet, atomic token units" }),
  charged: Atomic, claimed: Atomic, unsettled: Atomic, token: Type.String(), payer: Type.String(), payerAuthorizer: Type.String(), receiver: Type.String(), withdrawDelayS: Type.Integer(),
});
const HistoryView = Type.Object({ kind: Type.String({ description: "deposit, claim, refund, withdraw_started, withdraw_cancelled or withdraw_finalized" }), amount: Atomic, transaction: Type.String(), block: Type.String(), at: Type.String({ description: "When it was seen here" }), ours: Type.Boolean({ description: "Sent by this relayer" }) });
const SessionWithHistory = Type.Intersect([SessionView, Type.Object({ history: Type.Array(HistoryView, { description: "What stands on the chain of it, the newest first" }) })]);
const refusals = { 401: problemResponse("Not signed in"), 404: problemResponse("None, or not yours") };

export function sessionRoutes(app: FastifyInstance, deps: AccessDeps & Pick<Deps, "log">): void {
  app.get<{ Params: { sessionId: string } }>(
    "/api/v1/sessions/:sessionId",
    {
      schema: {
        tags: ["sessions"], summary: "A session (channel) of yours", params: Type.Object({ sessionId: Type.String({ pattern: "^0x[0-9a-fA-F]{64}$" }) }), response: { 200: SessionWithHistory, ...refusals },
      },
    },
    async (request) => {
      const session = await sessionFor(deps, request.params.sessionId.toLowerCase() as Hex, (await callerOf(deps, request)).address);
      const history = session.history.map(({ kind, amount, txHash, blockNumber, seenAt, ours }) => ({ kind, amount: String(amount), transaction: txHash, block: String(blockNumber), at: seenAt.toISOString(), ours }));
      return { ...view(session), history };
    },
  );
  app.get<{ Querystring: { limit?: number } }>(
    "/api/v1/sessions",
    { schema: { tags: ["sessions"], summary: "Your sessions, the newest first", querystring: Type.Object({ limit: Type.Optional(Type.Integer({ minimum: 1, maximum: 200 })) }), response: { 200: Type.Object({ sessions: Type.Array(SessionView) }), 401: refusals[401] } } },
    async (request) => ({ sessions: (await sessionsOf(deps, (await callerOf(deps, request)).address, request.query.limit ?? 50)).map(view) }),
  );
}

function view({ channel, state, price, creationTx }: Session) {
  const { config, charged, totalClaimed } = channel;
  const endS = expiresAtS(channel);
  return {
    sessionId: channel.channelId, state, depositAmount: String(channel.balance), remainingBalance: String(remaining(channel)), pricePerRequest: price === undefined ? null : String(price),
    requestCount: Number(channel.requestCount), expiresAt: endS === undefined ? null : new Date(endS * 1000).toISOString(), creationTransaction: creationTx ?? null,
    pendingDeposit: String(channel.pending), charged: String(charged), claimed: String(totalClaimed), unsettled: String(charged - totalClaimed), token: config.token, payer: config.payer, payerAuthorizer: config.payerAuthorizer,
    receiver: config.receiver, withdrawDelayS: config.withdrawDelay,
  };
}
