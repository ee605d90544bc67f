import type { FastifyInstance } from "fastify";
import { Type, type Static } from "typebox";
import { TallystickError } from "../../../../sdk/src/errors.ts";
import { problemResponse } from "../../problem-schema.ts";
import type { Deps } from "../../deps.ts";
import { callerOf } from "../access/service.ts";
import { transactionsOf } from "./service.ts";

const literals = <T extends string>(...values: T[]) => Type.Union(values.map((value) => Type.Literal(value)));
const Query = Type.Object({
  type: Type.Optional(literals("a2a", "h2a", "payout", "refund")),
  status: Type.Optional(literals("pending", "authorized", "completed", "failed", "disputed")),
  before: Type.Optional(Type.String({ maxLength: 200, description: "`next` of the page before" })),
  limit: Type.Optional(Type.Integer({ minimum: 1, maximum: 200 })),
});
const View = Type.Object({
  transactions: Type.Array(Type.Object({
    id: Type.String({ description: "A payment's or job's id, or that of a payout or refund" }), type: Type.String({ description: "a2a: by an agent; h2a: by a plain transfer; payout; refund" }), status: Type.String(),
    from: Type.Union([Type.String(), Type.Null()], { description: "null: out of escrow or channels" }), to: Type.String(), amountAtomic: Type.String(), about: Type.String(), at: Type.String(),
  })),
  next: Type.Union([Type.String(), Type.Null()]),
});

export function transactionRoutes(app: FastifyInstance, deps: Deps): void {
  app.get<{ Querystring: Static<typeof Query> }>(
    "/api/v1/transactions",
    { schema: { tags: ["transactions"], summary: "Everything that moved, or was to move, your money: one history, the newest first", querystring: Query, response: { 200: View, 400: problemResponse("Malformed"), 401: problemResponse("Not signed in") } } },
    async (request) => {
      const { address } = await callerOf(deps, request);
      const { type, status, before, limit = 50 } = request.query;
      return transactionsOf(deps, address, { type, status, before: before === undefined ? undefined : placeOf(before), limit });
    },
  );
}

function placeOf(before: string): { at: Date; id: string } {
  const [, at, id] = /^(\d{1,15})-(.+)$/.exec(before) ?? [];
  if (at !== undefined && id !== undefined) return { at: new Date(Number(at)), id };
  throw new TallystickError({ code: "request_malformed", status: 400, retry: "never", field: "before", detail: "before is the `next` of a page." });
}
