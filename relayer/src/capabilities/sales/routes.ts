import type { FastifyInstance } from "fastify";
import { Type, type Static } from "typebox";
import { problemResponse } from "../../problem-schema.ts";
import { callerOf, type AccessDeps } from "../access/service.ts";
import type { GatewayDeps } from "../gateway/rail.ts";
import { ChargeBody, ChargeView, ReleaseBody, ReleaseView, SaleParams, TakeBody, TakeView } from "./schemas.ts";
import { charge, release, take } from "./service.ts";

const refusals = { 400: problemResponse("Malformed"), 401: problemResponse("Not signed in"), 503: problemResponse("Ours: try again, nothing is done twice") };
const notYours = problemResponse("Unknown, or not taken by you");
const Keyed = Type.Object({ "idempotency-key": Type.Optional(Type.String({ pattern: "^[\\x21-\\x7e]{1,255}$" })) });

/** Headers, times and the JSON around the body of an answer. */
const ENVELOPE_BYTES = 262_144;

export function saleRoutes(app: FastifyInstance, deps: GatewayDeps & AccessDeps): void {
  app.post<{ Body: Static<typeof TakeBody>; Headers: Static<typeof Keyed> }>(
    "/api/v1/sales",
    {
      schema: {
        tags: ["sales"],
        summary: "Take the payment for one call that your own server is about to run",
        description: "reserved: run it, then charge or release. Anything else: send the buyer `answer` as it is. Send an Idempotency-Key to repeat a take whose answer was lost.",
        headers: Keyed, body: TakeBody, response: { 200: TakeView, ...refusals, 403: problemResponse("Another's service"), 404: problemResponse("No such service"), 409: problemResponse("Not self-hosted, or the key was used otherwise") },
      },
    },
    async (request) => {
      const { address } = await callerOf(deps, request);
      return take(deps, address, request.body, request.headers["idempotency-key"]);
    },
  );
  app.post<{ Params: Static<typeof SaleParams>; Body: Static<typeof ChargeBody> }>(
    "/api/v1/sales/:paymentId/charge",
    {
      // Base64 takes four bytes for three.
      bodyLimit: Math.ceil(deps.config.limits.answerBytes / 3) * 4 + ENVELOPE_BYTES,
      schema: { tags: ["sales"], summary: "Charge what was delivered, and only then deliver it; the same again gives the same", params: SaleParams, body: ChargeBody, response: { 200: ChargeView, ...refusals, 404: notYours, 409: problemResponse("Released, or charged otherwise") } },
    },
    async (request) => {
      const { address } = await callerOf(deps, request);
      return charge(deps, address, request.params.paymentId, request.body);
    },
  );
  app.post<{ Params: Static<typeof SaleParams>; Body: Static<typeof ReleaseBody> }>(
    "/api/v1/sales/:paymentId/release",
    { schema: { tags: ["sales"], summary: "Give the payment back: nothing was delivered", params: SaleParams, body: ReleaseBody, response: { 200: ReleaseView, ...refusals, 404: notYours, 409: problemResponse("Charged already") } } },
    async (request) => {
      const { address } = await callerOf(deps, request);
      return release(deps, address, request.params.paymentId, request.body.reason);
    },
  );
}
