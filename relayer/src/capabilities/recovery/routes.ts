import type { FastifyInstance } from "fastify";
import { Type, type Static } from "typebox";
import { problemResponse } from "../../problem-schema.ts";
import { callerOf, type AccessDeps } from "../access/service.ts";
import type { ChannelDeps } from "../channels/service.ts";
import { importVouchers } from "./service.ts";

const Body = Type.Object({ vouchers: Type.Array(Type.Unknown(), { minItems: 1, maxItems: 200, description: "Lines of your voucher file, as the export gave them" }) });
const Result = Type.Object({
  raised: Type.Integer({ description: "Channels whose charge was put back" }),
  known: Type.Integer({ description: "Lines that say nothing new" }),
  refused: Type.Array(Type.Object({ channelId: Type.String(), code: Type.String(), detail: Type.String() })),
});

export function recoveryRoutes(app: FastifyInstance, deps: AccessDeps & ChannelDeps): void {
  app.post<{ Body: Static<typeof Body> }>(
    "/api/v1/vouchers/import",
    {
      schema: {
        tags: ["vouchers"],
        summary: "Puts back what your vouchers prove was charged, after the relayer lost commits",
        description: "Signed in as their receiver, while the relayer has stopped selling by channel (503 `ledger_rewound`). The payers' signatures are checked. The same again changes nothing.",
        body: Body,
        response: { 200: Result, 401: problemResponse("Not signed in"), 409: problemResponse("Nothing was lost") },
      },
    },
    async (request) => importVouchers(deps, (await callerOf(deps, request)).address, request.body.vouchers),
  );
}
