import type { FastifyInstance } from "fastify";
import type { Static } from "typebox";
import { problemResponse } from "../../problem-schema.ts";
import type { Deps } from "../../deps.ts";
import { callerOf, type AccessDeps } from "../access/service.ts";
import { toCsv } from "./logic.ts";
import { recordRefund } from "./refunds.ts";
import { RefundBody, RefundView, StatementQuery, StatementView } from "./schemas.ts";
import { statementOf } from "./service.ts";

const refusals = { 400: problemResponse("Malformed, or too large"), 401: problemResponse("Not signed in") };

export function statementRoutes(app: FastifyInstance, deps: Deps & AccessDeps): void {
  app.get<{ Querystring: Static<typeof StatementQuery> }>(
    "/api/v1/statements",
    {
      schema: {
        tags: ["statements"], summary: "What you earned, by day and service: gross, fees, refunds, net, and the transactions",
        description: "JSON, or CSV by ?format=csv or Accept: text/csv. Days are UTC.",
        querystring: StatementQuery, response: { 200: StatementView, ...refusals, 403: problemResponse("Another's") },
      },
    },
    async (request, reply) => {
      const { address } = await callerOf(deps, request);
      const statement = await statementOf(deps, address, request.query);
      reply.header("Cache-Control", "no-store").header("Vary", "Accept");
      const { format = /\btext\/csv\b/i.test(request.headers.accept ?? "") ? "csv" : "json" } = request.query;
      if (format === "json") return reply.send(statement);
      // Bytes: what is no JSON must not pass the JSON serializer.
      return reply.type("text/csv; charset=utf-8").header("Content-Disposition", `attachment; filename="statement-${statement.from}-${statement.to}.csv"`).send(Buffer.from(toCsv(statement)));
    },
  );
  app.post<{ Body: Static<typeof RefundBody> }>(
    "/api/v1/refunds",
    { schema: { tags: ["statements"], summary: "Say that you gave a buyer its money back: a transfer on chain, counted once", body: RefundBody, response: { 200: RefundView, ...refusals, 404: problemResponse("No such payment of yours"), 409: problemResponse("No such transfer, or counted already") } } },
    async (request) => {
      const { address } = await callerOf(deps, request);
      return recordRefund(deps, address, request.body);
    },
  );
}
