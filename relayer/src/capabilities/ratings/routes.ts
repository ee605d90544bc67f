import type { FastifyInstance } from "fastify";
import { Type, type Static } from "typebox";
import { zeroHash, type Hex } from "viem";
import { problemResponse } from "../../problem-schema.ts";
import type { GatewayDeps } from "../gateway/rail.ts";
import { refusal, type PaidBy } from "./proof.ts";
import { rate } from "./service.ts";

const Hash = Type.String({ pattern: "^0x[0-9a-fA-F]{64}$" });
const Params = Type.Object({ id: Type.String({ maxLength: 66 }) });
const Amount = Type.String({ pattern: "^(0|[1-9][0-9]{0,38})$" });
const Body = Type.Object({
  channelId: Type.Optional(Hash), jobId: Type.Optional(Type.String({ pattern: "^[1-9][0-9]{0,30}$" })), score: Type.Integer({ minimum: 0, maximum: 100 }), details: Type.Optional(Hash),
  claimed: Type.Optional(Amount), deadline: Type.Optional(Type.String({ pattern: "^[0-9]{1,12}$" })), signature: Type.Optional(Type.String({ pattern: "^0x([0-9a-fA-F]{2}){1,4096}$" })),
});
/** Which of the two paid. */
function paidByOf({ channelId, jobId }: Static<typeof Body>): PaidBy {
  if (channelId !== undefined && jobId === undefined) return { channelId: channelId.toLowerCase() as Hex };
  if (jobId !== undefined && channelId === undefined) return { jobId: BigInt(jobId) };
  throw refusal("rating_unpaid", 400, "Say what paid: either channelId or jobId.", channelId === undefined ? "channelId" : "jobId");
}

const View = Type.Object({
  rating: Type.Object({ serviceId: Type.String(), source: Type.String(), claimed: Type.String(), score: Type.Integer(), details: Type.String(), forward: Type.Boolean(), deadline: Type.String() }, { description: "What the payer signs (EIP-712, RateService)" }),
  registry: Type.String(),
  transaction: Type.Union([Type.Object({ hash: Type.String(), status: Type.String() }), Type.Null()]),
});

export function ratingRoutes(app: FastifyInstance, deps: GatewayDeps): void {
  app.post<{ Params: Static<typeof Params>; Body: Static<typeof Body> }>(
    "/api/v1/agents/:id/ratings",
    {
      schema: {
        tags: ["agents"], summary: "Rate a service you paid by channel or for a job: answers with what to sign; the same with claimed, deadline and signature is sent, the gas being the relayer's", params: Params, body: Body,
        response: { 200: View, 403: problemResponse("Not signed by the payer, or too late"), 404: problemResponse("No such service, channel or job"), 409: problemResponse("The registry refuses it"), 429: problemResponse("As many as the relayer pays for") },
      },
    },
    async (request) => {
      const { score, details = zeroHash, claimed, deadline, signature } = request.body;
      const wish = { paidBy: paidByOf(request.body), score, details: details as Hex, ...(claimed === undefined ? {} : { claimed: BigInt(claimed) }), ...(deadline === undefined ? {} : { deadline: BigInt(deadline) }), ...(signature === undefined ? {} : { signature: signature as Hex }) };
      const { rating, sent } = await rate(deps, request.params.id, wish);
      return { rating: { ...rating, claimed: rating.claimed.toString(), deadline: rating.deadline.toString() }, registry: deps.config.bazaar.registry, transaction: sent ?? null };
    },
  );
}
