import type { FastifyInstance } from "fastify";
import { Type, type Static } from "typebox";
import type { Address, Hex } from "viem";
import type { ServiceStatus } from "../../../../sdk/src/bazaar.ts";
import { problemResponse } from "../../problem-schema.ts";
import { callerOf, type AccessDeps } from "../access/service.ts";
import type { GatewayDeps } from "../gateway/rail.ts";
import { ActView, AgentView, AvailabilityBody, CreateBody, HashParams, IdParams, Keyed, ListQuery, PublishBody, RemoveBody, StatusBody, UpdateBody } from "./schemas.ts";
import { create, listingOf, publish, setAvailability, setStatus, update } from "./service.ts";
import { agentOf, agentsOf, actOf, documentOf } from "./shown.ts";

type ById = { Params: Static<typeof IdParams> };

const tags = ["agents"];
/** A document of 64 KiB, written with room. */
const MOST_BODY_BYTES = 262_144;
const refusals = { 400: problemResponse("Malformed; `field` names where"), 401: problemResponse("Not signed in"), 404: problemResponse("No such listing") };
const writing = {
  ...refusals, 403: problemResponse("Not its owner, or not its owner's signature"), 409: problemResponse("Not as it stands: other terms, another revision, or the registry's own reason"),
  429: problemResponse("As many as are kept, or as many transactions as the relayer pays for"), 503: problemResponse("The chain or the ledger cannot be used now"),
};

export function agentRoutes(app: FastifyInstance, deps: GatewayDeps & AccessDeps): void {
  app.post<{ Body: Static<typeof CreateBody>; Headers: Static<typeof Keyed> }>(
    "/api/v1/agents",
    { bodyLimit: MOST_BODY_BYTES, schema: { tags, summary: "Offer a service: it is sold at once, and answers with what to sign to be listed on chain; the same again changes nothing", headers: Keyed, body: CreateBody, response: { 201: ActView, ...writing } } },
    async (request, reply) => {
      const { address } = await callerOf(deps, request);
      return reply.code(201).send(await actOf(deps, await create(deps, address, request.body as Static<typeof CreateBody> & { metadata: unknown }, request.headers["idempotency-key"])));
    },
  );
  app.get<{ Querystring: Static<typeof ListQuery> }>(
    "/api/v1/agents",
    { schema: { tags, summary: "What is listed; of its owner, signed in, also what is not", querystring: ListQuery, response: { 200: Type.Object({ agents: Type.Array(AgentView), next: Type.Union([Type.String(), Type.Null()]) }), 400: refusals[400], 401: refusals[401] } } },
    async (request) => {
      const asked = request.headers.authorization !== undefined || request.headers["sign-in-with-x"] !== undefined;
      const caller = asked ? (await callerOf(deps, request)).address : undefined;
      return agentsOf(deps, { ...request.query, owner: request.query.owner as Address | undefined, after: request.query.after as Hex | undefined }, caller);
    },
  );
  app.get<ById>("/api/v1/agents/:id", { schema: { tags, summary: "One of them, with its metadata", params: IdParams, response: { 200: AgentView, 404: refusals[404] } } }, async (request) =>
    agentOf(deps, await listingOf(deps, request.params.id)),
  );
  app.put<ById & { Body: Static<typeof UpdateBody>; Headers: Static<typeof Keyed> }>(
    "/api/v1/agents/:id",
    { bodyLimit: MOST_BODY_BYTES, schema: { tags, summary: "Change its terms: answers with what to sign; the same with signature, deadline and revision is sent", headers: Keyed, params: IdParams, body: UpdateBody, response: { 200: ActView, 202: ActView, ...writing } } },
    async (request, reply) => {
      const { address } = await callerOf(deps, request);
      return sendActed(reply, await actOf(deps, await update(deps, address, request.params.id, request.body as Static<typeof UpdateBody> & { metadata: unknown })));
    },
  );
  app.delete<ById & { Body: Static<typeof RemoveBody> | undefined }>(
    "/api/v1/agents/:id",
    { schema: { tags, summary: "Delist it and take it off sale: answers with what to sign; the same with a signature is sent", params: IdParams, body: Type.Optional(RemoveBody), response: { 200: ActView, 202: ActView, ...writing } } },
    async (request, reply) => {
      const { address } = await callerOf(deps, request);
      return sendActed(reply, await actOf(deps, await setStatus(deps, address, request.params.id, "delisted", request.body ?? {})));
    },
  );
  app.post<ById & { Body: Static<typeof PublishBody>; Headers: Static<typeof Keyed> }>(
    "/api/v1/agents/:id/publish",
    { schema: { tags, summary: "List it on chain by its owner's signature, the gas being the relayer's; without one, see whether its owner has done so", headers: Keyed, params: IdParams, body: PublishBody, response: { 200: ActView, 202: ActView, ...writing } } },
    async (request, reply) => {
      const { address } = await callerOf(deps, request);
      return sendActed(reply, await actOf(deps, await publish(deps, address, request.params.id, request.body)));
    },
  );
  app.post<ById & { Body: Static<typeof StatusBody>; Headers: Static<typeof Keyed> }>(
    "/api/v1/agents/:id/status",
    { schema: { tags, summary: "Pause (suspended), resume (listed) or end (delisted) it: answers with what to sign; the same with a signature is sent", headers: Keyed, params: IdParams, body: StatusBody, response: { 200: ActView, 202: ActView, ...writing } } },
    async (request, reply) => {
      const { address } = await callerOf(deps, request);
      return sendActed(reply, await actOf(deps, await setStatus(deps, address, request.params.id, request.body.status as ServiceStatus, request.body)));
    },
  );
  app.put<ById & { Body: Static<typeof AvailabilityBody> }>(
    "/api/v1/agents/:id/availability",
    { schema: { tags, summary: "Say that it is online, busy or offline, and until when; what is offline is not sold", params: IdParams, body: AvailabilityBody, response: { 200: AgentView, ...refusals, 403: writing[403] } } },
    async (request) => {
      const { address } = await callerOf(deps, request);
      const { availability, availableAt } = request.body;
      return agentOf(deps, await setAvailability(deps, address, request.params.id, availability, availableAt === undefined ? undefined : new Date(availableAt)));
    },
  );
  app.get<{ Params: Static<typeof HashParams> }>(
    "/api/v1/metadata/:hash",
    { schema: { tags, summary: "A metadata document by the keccak256 of its bytes, which the registry keeps", params: HashParams, response: { 404: refusals[404] } } },
    async (request, reply) => {
      const body = await documentOf(deps, request.params.hash as Hex);
      return reply
        .type("application/json; charset=utf-8")
        .headers({ "Cache-Control": "public, max-age=31536000, immutable", ETag: `"${request.params.hash.toLowerCase()}"`, "X-Content-Type-Options": "nosniff", "Content-Security-Policy": "default-src 'none'; sandbox", "Content-Disposition": "inline; filename=\"metadata.json\"" })
        .send(body);
    },
  );
}

/** 202: sent, and not yet known to have happened. */
const sendActed = (reply: { code(status: number): { send(body: unknown): unknown } }, body: Static<typeof ActView>): unknown => reply.code(body.transaction?.status === "pending" ? 202 : 200).send(body);
