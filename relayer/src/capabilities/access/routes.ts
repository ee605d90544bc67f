import type { FastifyInstance } from "fastify";
import { Type } from "typebox";
import { problemResponse } from "../../problem-schema.ts";
import { callerOf, challenge, issueToken, revokeToken, type AccessDeps } from "./service.ts";

const ChallengeView = Type.Object({
  domain: Type.String(), uri: Type.String(), version: Type.Literal("1"), nonce: Type.String(), issuedAt: Type.String(), expirationTime: Type.String(), statement: Type.String(),
  chainId: Type.String({ description: "CAIP-2" }), type: Type.Literal("eip191"),
});
const TokenView = Type.Object({ token: Type.String({ description: "Send it as Authorization: Bearer" }), address: Type.String(), expiresAt: Type.String() });
const denied = problemResponse("Not signed in, or the signature does not do");

export function accessRoutes(app: FastifyInstance, deps: AccessDeps): void {
  app.get(
    "/api/v1/access/challenge",
    { schema: { tags: ["access"], summary: "What to sign to read your own payments (SIWX, EIP-4361); good once, five minutes", response: { 200: ChallengeView } } },
    async (_request, reply) => reply.header("Cache-Control", "no-store").send(await challenge(deps)),
  );
  app.post(
    "/api/v1/access/tokens",
    { schema: { tags: ["access"], summary: "Exchange a SIGN-IN-WITH-X header for a token of an hour", response: { 201: TokenView, 401: denied } } },
    async (request, reply) => {
      const { token, address, expiresAt } = await issueToken(deps, request);
      return reply.code(201).header("Cache-Control", "no-store").send({ token, address, expiresAt: expiresAt.toISOString() });
    },
  );
  app.delete("/api/v1/access/tokens", { schema: { tags: ["access"], summary: "Forget the token that the request carries", response: { 204: Type.Null(), 401: denied } } }, async (request, reply) => {
    await callerOf(deps, request);
    await revokeToken(deps, request);
    return reply.code(204).send();
  });
}
