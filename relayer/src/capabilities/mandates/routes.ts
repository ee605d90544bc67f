import type { FastifyInstance, FastifyRequest } from "fastify";
import { Type, type Static } from "typebox";
import { getAddress, type Address, type Hex } from "viem";
import { problemResponse } from "../../problem-schema.ts";
import { callerOf, type AccessDeps } from "../access/service.ts";
import type { Deps } from "../../deps.ts";
import { registerGuard, registerMandate } from "./registration.ts";
import { revokeMandate, type Revoked, type Revoker } from "./revocation.ts";
import {
  GuardBody, GuardsView, HistoryQuery, HistoryView, IdParams, Keyed, ListQuery, MandateView, MandateWithGuards, RegisterBody, RemainingView, RevokeBody, RevokedView, TreeView,
} from "./schemas.ts";
import { historyFor, mandateFor, mandatesOf, remainingFor, treeFor } from "./views.ts";

type ById = { Params: Static<typeof IdParams> };

const tags = ["mandates"];
/** A lineage with its payees may be larger than a paid request. */
const MOST_BODY_BYTES = 1 << 20;
const reading = { 401: problemResponse("Not signed in"), 404: problemResponse("None, or not yours") };
const writing = {
  400: problemResponse("Malformed; `field` names where"), 401: reading[401], 403: problemResponse("Not signed by whoever may, wider than its parent, revoked or over"), 404: reading[404],
  409: problemResponse("The Idempotency-Key, or the voucher key, belongs to another mandate"), 429: problemResponse("As many as are kept"), 503: problemResponse("The chain or the ledger cannot be read now"),
};

const idOf = ({ params }: FastifyRequest<ById>): Hex => params.mandateId.toLowerCase() as Hex;

export function mandateRoutes(app: FastifyInstance, deps: Deps & AccessDeps): void {
  app.post<{ Body: Static<typeof RegisterBody>; Headers: Static<typeof Keyed> }>(
    "/api/v1/mandates",
    {
      bodyLimit: MOST_BODY_BYTES,
      schema: {
        tags, summary: "Register a mandate; the same again changes nothing", body: RegisterBody, headers: Keyed, response: { 200: MandateWithGuards, 201: MandateWithGuards, ...writing },
        description: "By its principal or a delegate, signed in. Each mandate of the lineage is signed by its grantor (a key, or a wallet by ERC-1271, ERC-6492), or approved on the chain.",
      },
    },
    async (request, reply) => {
      const { address } = await callerOf(deps, request);
      const guards = (request.body.guards ?? []).map(guardOf);
      const { mandateId, isNew } = await registerMandate(deps, address, { lineage: request.body.lineage, guards, idempotencyKey: request.headers["idempotency-key"] });
      return reply.code(isNew ? 201 : 200).send(await mandateFor(deps, mandateId, address));
    },
  );
  app.get<{ Querystring: Static<typeof ListQuery> }>(
    "/api/v1/mandates",
    { schema: { tags, summary: "Mandates that you granted or act under, the newest first", querystring: ListQuery, response: { 200: Type.Object({ mandates: Type.Array(MandateView) }), 401: reading[401] } } },
    async (request) => {
      const { before, limit = 50 } = request.query;
      return { mandates: await mandatesOf(deps, (await callerOf(deps, request)).address, before === undefined ? undefined : new Date(before), limit) };
    },
  );
  app.get<ById>("/api/v1/mandates/:mandateId", { schema: { tags, summary: "A mandate: what it allows, what is spent, what the chain says", params: IdParams, response: { 200: MandateWithGuards, ...reading } } }, async (request) =>
    mandateFor(deps, idOf(request), (await callerOf(deps, request)).address),
  );
  app.get<ById>("/api/v1/mandates/:mandateId/remaining", { schema: { tags, summary: "What could be spent now", params: IdParams, response: { 200: RemainingView, ...reading } } }, async (request) =>
    remainingFor(deps, idOf(request), (await callerOf(deps, request)).address),
  );
  app.get<ById & { Querystring: Static<typeof HistoryQuery> }>(
    "/api/v1/mandates/:mandateId/history",
    { schema: { tags, summary: "Payments under it and every mandate below it, the newest first", params: IdParams, querystring: HistoryQuery, response: { 200: HistoryView, 400: writing[400], ...reading } } },
    async (request) => historyFor(deps, idOf(request), (await callerOf(deps, request)).address, request.query.before, request.query.limit ?? 50),
  );
  app.get<ById>("/api/v1/mandates/:mandateId/tree", { schema: { tags, summary: "It and every mandate below it", params: IdParams, response: { 200: TreeView, ...reading } } }, async (request) =>
    treeFor(deps, idOf(request), (await callerOf(deps, request)).address),
  );
  app.post<ById & { Body: Static<typeof GuardBody> }>(
    "/api/v1/mandates/:mandateId/guards",
    { schema: { tags, summary: "Bind a voucher key to a mandate, for good; the key signs, nobody has to be signed in", params: IdParams, body: GuardBody, headers: Keyed, response: { 200: GuardsView, ...writing } } },
    async (request) => {
      const isSignedIn = request.headers["authorization"] !== undefined || request.headers["sign-in-with-x"] !== undefined;
      const caller = isSignedIn ? (await callerOf(deps, request)).address : undefined;
      const guard = guardOf(request.body);
      await registerGuard(deps, caller, idOf(request), guard);
      return { mandateId: idOf(request), authorizer: guard.authorizer };
    },
  );
  for (const [method, url] of [["POST", "/api/v1/mandates/:mandateId/revoke"], ["DELETE", "/api/v1/mandates/:mandateId"]] as const) {
    app.route<ById & { Body: Static<typeof RevokeBody> }>({
      method, url,
      schema: {
        tags, summary: "Revoke a mandate and all below it, at once and for good; twice is once", params: IdParams, body: RevokeBody, headers: Keyed, response: { 200: RevokedView, ...writing },
        description: "By its principal or the delegate of its parent: signed in, or with the signature that the contract takes. Calls under way end as they began. The answer says what is still to be sent to the chain.",
      },
      handler: async (request) => revokedView(await revokeMandate(deps, idOf(request), await revokerOf(deps, request))),
    });
  }
}

async function revokerOf(deps: AccessDeps, request: FastifyRequest<{ Body: Static<typeof RevokeBody> }>): Promise<Revoker> {
  const { body } = request;
  if (body === undefined || body === null) return { caller: (await callerOf(deps, request)).address };
  return { by: getAddress(body.by), signature: body.signature as Hex };
}

const guardOf = ({ authorizer, signature }: Static<typeof GuardBody>): { authorizer: Address; signature: Hex } => ({ authorizer: getAddress(authorizer), signature: signature as Hex });

function revokedView({ mandateId, ended, transaction, channels }: Revoked): Static<typeof RevokedView> {
  return {
    mandateId, ended: [...ended], transaction: transaction === undefined ? null : { ...transaction, from: transaction.from ?? null },
    channels: channels.map(({ channelId, mandateId: under, payee, balance, charged, claimed, withdrawing }) => ({
      sessionId: channelId, mandateId: under, payee, balanceAtomic: String(balance), chargedAtomic: String(charged), claimedAtomic: String(claimed), withdrawing,
    })),
  };
}
