import type { FastifyInstance, FastifyRequest } from "fastify";
import { randomUUID } from "node:crypto";
import { Type } from "typebox";
import { TallystickError } from "../../../../sdk/src/errors.ts";
import { problemResponse } from "../../problem-schema.ts";
import { callerOf } from "../access/service.ts";
import type { GatewayDeps } from "../gateway/rail.ts";
import { readRequest } from "./schemas.ts";
import { settle, supported, verify } from "./service.ts";

const Loose = (properties: Parameters<typeof Type.Object>[0]) => Type.Object(properties, { additionalProperties: true });
const Body = Loose({ x402Version: Type.Unknown(), paymentPayload: Type.Unknown(), paymentRequirements: Type.Unknown() });
const VerifyView = Loose({ isValid: Type.Boolean(), invalidReason: Type.Optional(Type.String()), payer: Type.Optional(Type.String()) });
const SettleView = Loose({ success: Type.Boolean(), errorReason: Type.Optional(Type.String()), transaction: Type.String(), network: Type.String() });
/** A request for /settle waits for its transaction, and each asks the chain several times: strangers may not take all of us. */
const MOST_AT_ONCE = { verify: 500, settle: 1_000 };
/** 500 claims with wallets' signatures. */
const MOST_BODY_BYTES = 2 << 20;
const faults = { 400: problemResponse("Malformed; `field` names where"), 503: problemResponse("Ours, not the payment's: ask again") };

/** x402's three paths, at the root, where the official client looks for them. */
export function facilitatorRoutes(app: FastifyInstance, deps: GatewayDeps): void {
  const bodyLimit = Math.min(MOST_BODY_BYTES, deps.config.limits.requestBytes);
  const verifying = gate("verify", MOST_AT_ONCE.verify);
  const settling = gate("settle", MOST_AT_ONCE.settle);
  app.get("/supported", { schema: { tags: ["facilitator"], summary: "Schemes and networks this facilitator serves", response: { 200: Loose({ kinds: Type.Array(Loose({})) }) } } }, async () => supported(deps));
  app.post("/verify", { schema: { tags: ["facilitator"], summary: "Is this payment good? Moves nothing", body: Body, response: { 200: VerifyView, ...faults } }, bodyLimit }, async (request) => verifying(() => verify(deps, readRequest(request.body))));
  app.post(
    "/settle",
    {
      bodyLimit,
      schema: {
        tags: ["facilitator"], summary: "Carry a payment to the chain", body: Body, response: { 200: SettleView, ...faults },
        description: "exact transfers, deposits, claims, payouts and refunds. Success is said when the money has moved; `settlement_pending` with its transaction when it was sent. A refund that our key has to sign needs the receiver signed in.",
      },
    },
    async (request) => settling(async () => settle(deps, readRequest(request.body), { caller: await callerIn(deps, request), toldTo: toldTo(request) })),
  );
}

/** Lets so many in at once. @throws TallystickError 503 `facilitator_busy` (safe): nothing was begun. */
export function gate(verb: string, most: number): <T>(work: () => Promise<T>) => Promise<T> {
  let running = 0;
  return async (work) => {
    if (running >= most) throw new TallystickError({ code: "facilitator_busy", status: 503, retry: "safe", detail: `${most} requests to ${verb} are under way; ask again in a moment.`, extra: { retryAfterS: 1 } });
    running += 1;
    try {
      return await work();
    } finally {
      running -= 1;
    }
  };
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
