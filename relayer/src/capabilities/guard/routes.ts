// The guard's own wire (sdk/src/guard/http.ts), under /api/v1/guard. Requests are signed by the mandate's delegate, so nobody signs in to ask
// for a voucher; what a mandate has spent is for its parties.
import type { FastifyInstance, FastifyReply } from "fastify";
import { Type, type Static } from "typebox";
import { isAddressEqual, type Hex } from "viem";
import { TallystickError } from "../../../../sdk/src/errors.ts";
import { answerGuard, statusJson, type GuardReply } from "../../../../sdk/src/guard/http.ts";
import { problemResponse } from "../../problem-schema.ts";
import { callerOf } from "../access/service.ts";
import type { GatewayDeps } from "../gateway/rail.ts";
import type { HostedGuard } from "./service.ts";

const Body = Type.Record(Type.String(), Type.Any());
const Params = Type.Object({ mandateId: Type.String({ pattern: "^0x[0-9a-fA-F]{64}$" }) });
const refusals = {
  400: problemResponse("Malformed; `field` names where"), 403: problemResponse("Refused: `rule` and `reason` say why; nothing was signed and nothing moved"), 404: problemResponse("Not a mandate of this guard"),
  503: problemResponse("The chain cannot say now whether the mandate stands"),
};

export function guardRoutes(app: FastifyInstance, deps: GatewayDeps, guard: HostedGuard | undefined): void {
  if (guard === undefined) return;
  const posts = {
    "/vouchers": "Ask for a voucher, or `orders` for several; each is signed by the mandate's delegate (EIP-712 GuardRequest)",
    "/channels": "May there be such a channel under the mandate? Answers with the voucher key's binding",
    "/mandates": "Bring a registered mandate to the guard; answers with its voucher key's address",
  };
  for (const [path, summary] of Object.entries(posts)) {
    app.post(`/api/v1/guard${path}`, { bodyLimit: 1 << 20, schema: { tags: ["guard"], summary, body: Body, response: { 200: Type.Any(), ...refusals } } }, async (request, reply) => send(reply, await answerGuard(guard, "POST", path, request.body)));
  }
  app.get<{ Params: Static<typeof Params> }>(
    "/api/v1/guard/mandates/:mandateId",
    { schema: { tags: ["guard"], summary: "What the guard has signed under a mandate, for its principal and its delegates", params: Params, response: { 200: Type.Any(), 401: problemResponse("Not signed in"), ...refusals } } },
    async (request) => {
      const { address } = await callerOf(deps, request);
      const status = await guard.status(request.params.mandateId.toLowerCase() as Hex);
      const parties = [status.lineage[0].mandate.principal, ...status.lineage.map(({ mandate }) => mandate.delegate)];
      if (parties.some((party) => isAddressEqual(party, address))) return statusJson(guard, status);
      throw new TallystickError({ code: "mandate_unknown", status: 404, retry: "never", field: "mandateId", detail: "No such mandate of yours." });
    },
  );
}

function send(reply: FastifyReply, { status, body }: GuardReply): FastifyReply {
  return reply.code(status).header("cache-control", "no-store").type(status >= 400 ? "application/problem+json" : "application/json").send(body);
}
