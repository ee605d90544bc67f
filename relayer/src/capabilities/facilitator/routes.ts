import type { FastifyInstance, FastifyRequest } from "fastify";
import { randomUUID } from "node:crypto";
import { Type } from "typebox";
import { problemResponse } from "../../problem-schema.ts";
import { callerOf } from "../access/service.ts";
import type { GatewayDeps } from "../gateway/rail.ts";
import { readRequest } from "./schemas.ts";
import { settle, supported, verify } from "./service.ts";

const Loose = (properties: Parameters<typeof Type.Object>[0]) => Type.Object(properties, { additionalProperties: true });
const Body = Loose({ x402Version: Type.Unknown(), paymentPayload: Type.Unknown(), paymentRequirements: Type.Unknown() });
const VerifyView = Loose({ isValid: Type.Boolean(), invalidReason: Type.Optional(Type.String()), payer: Type.Optional(Type.String()) });
const SettleView = Loose({ success: Type.Boolean(), errorReason: Type.Optional(Type.String()), transaction: Type.String(), network: Type.String() });
const faults = { 400: problemResponse("Malformed; `field` names where"), 503: problemResponse("Ours, not the payment's: ask again") };

/** x402's three paths, at the root, where the official client looks for them. */
export function facilitatorRoutes(app: FastifyInstance, deps: GatewayDeps): void {
  app.get("/supported", { schema: { tags: ["facilitator"], summary: "Schemes and networks this facilitator serves", response: { 200: Loose({ kinds: Type.Array(Loose({})) }) } } }, async () => supported(deps));
  app.post("/verify", { schema: { tags: ["facilitator"], summary: "Is this payment good? Moves nothing", body: Body, response: { 200: VerifyView, ...faults } } }, async (request) => verify(deps, readRequest(request.body)));
  app.post(
    "/settle",
    {
      schema: {
        tags: ["facilitator"], summary: "Carry a payment to the chain", body: Body, response: { 200: SettleView, ...faults },
        description: "exact transfers, deposits, claims, payouts and refunds. Success is said when the money has moved; `settlement_pending` with its transaction when it was sent. A refund that our key has to sign needs the receiver signed in.",
      },
    },
    async (request) => settle(deps, readRequest(request.body), { caller: await callerIn(deps, request), toldTo: toldTo(request) }),
  );
}

/** Signing in is optional here; a credential that is bad is refused all the same. */
async function callerIn(deps: GatewayDeps, request: FastifyRequest): Promise<`0x${string}` | undefined> {
  if (request.headers.authorization === undefined && request.headers["sign-in-with-x"] === undefined) return undefined;
  return (await callerOf(deps, request)).address;
}

function toldTo(request: FastifyRequest): string {
  const key = request.headers["idempotency-key"];
  return typeof key === "string" && key !== "" ? `key ${key.slice(0, 200)}` : randomUUID();
}
