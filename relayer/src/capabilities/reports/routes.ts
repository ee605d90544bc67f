import type { FastifyInstance, FastifyRequest } from "fastify";
import { Type, type Static } from "typebox";
import type { Hex } from "viem";
import { TallystickError } from "../../../../sdk/src/errors.ts";
import { problemResponse } from "../../problem-schema.ts";
import { callerOf, type AccessDeps } from "../access/service.ts";
import { readerOf } from "../audit/service.ts";
import type { GatewayDeps } from "../gateway/rail.ts";
import { decide, MOST_EVIDENCE_BYTES, report, reviewQueue, standingOf } from "./service.ts";
import { REASONS, type Report } from "./types.ts";

const Params = Type.Object({ id: Type.String({ maxLength: 66 }) });
const ReportBody = Type.Object({ reason: Type.Union(REASONS.map((reason) => Type.Literal(reason))), evidence: Type.String({ minLength: 1, maxLength: MOST_EVIDENCE_BYTES, description: "Text; kept by its keccak-256" }) });
const ReportView = Type.Object({
  reportId: Type.String(), serviceId: Type.String(), reporter: Type.String(), reason: Type.String(), evidenceHash: Type.String(), evidence: Type.Optional(Type.String()),
  weighs: Type.Boolean({ description: "Whether the reporter had paid the service" }), paidAtomic: Type.String(), state: Type.String(), createdAt: Type.String(),
});
const DecisionBody = Type.Object({ decision: Type.Union([Type.Literal("block"), Type.Literal("unblock"), Type.Literal("dismiss")]), note: Type.String({ minLength: 1, maxLength: 1_000 }) });
const StandingView = Type.Object({
  serviceId: Type.String(), blocked: Type.Boolean(), reports: Type.Object({ open: Type.Integer(), upheld: Type.Integer(), rejected: Type.Integer() }),
  decisions: Type.Array(Type.Object({ blocked: Type.Boolean(), note: Type.String(), at: Type.String() })),
});
const ServiceParams = Type.Object({ serviceId: Type.String({ pattern: "^0x[0-9a-fA-F]{64}$" }) });
const tags = ["agents"];
const forbidden = problemResponse("Not the operator");

export function reportRoutes(app: FastifyInstance, deps: GatewayDeps & AccessDeps): void {
  app.post<{ Params: Static<typeof Params>; Body: Static<typeof ReportBody> }>(
    "/api/v1/agents/:id/report",
    { schema: { tags, summary: "Report a service to this relayer's operator, with evidence; once a day", params: Params, body: ReportBody, response: { 201: ReportView, 401: problemResponse("Not signed in"), 403: problemResponse("Your own"), 404: problemResponse("No such service"), 429: problemResponse("Too many") } } },
    async (request, reply) => {
      const { address } = await callerOf(deps, request);
      return reply.code(201).send(viewOf(await report(deps, request.params.id, address, request.body.reason, request.body.evidence)));
    },
  );
  app.get<{ Params: Static<typeof Params> }>(
    "/api/v1/agents/:id/reports",
    { schema: { tags, summary: "How many reports stand against a service, and what the operator decided", params: Params, response: { 200: StandingView, 404: problemResponse("No such service") } } },
    async (request) => {
      const { decisions, ...standing } = await standingOf(deps, request.params.id);
      return { ...standing, decisions: decisions.map(({ at, ...decision }) => ({ ...decision, at: at.toISOString() })) };
    },
  );
  app.get(
    "/api/v1/reports",
    { schema: { tags, summary: "Open reports, for the operator: the weightiest first", response: { 200: Type.Object({ reports: Type.Array(ReportView) }), 401: forbidden, 403: forbidden } } },
    async (request) => {
      await onlyOperator(deps, request);
      return { reports: (await reviewQueue(deps)).map((open) => ({ ...viewOf(open), evidence: open.evidence })) };
    },
  );
  app.post<{ Params: Static<typeof ServiceParams>; Body: Static<typeof DecisionBody> }>(
    "/api/v1/reports/:serviceId/decision",
    { schema: { tags, summary: "Block a service from discovery, let it in again, or dismiss its reports; the note is public", params: ServiceParams, body: DecisionBody, response: { 200: Type.Object({ closed: Type.Integer() }), 401: forbidden, 403: forbidden } } },
    async (request) => {
      await onlyOperator(deps, request);
      return decide(deps, request.params.serviceId.toLowerCase() as Hex, request.body.decision, request.body.note);
    },
  );
}

async function onlyOperator(deps: GatewayDeps & AccessDeps, request: FastifyRequest): Promise<void> {
  if ((await readerOf(deps, request)) === "operator") return;
  throw new TallystickError({ code: "operator_only", status: 403, retry: "never", detail: "Only this relayer's operator decides that." });
}

function viewOf({ reportId, serviceId, reporter, reason, evidenceHash, paid, state, createdAt }: Report): Static<typeof ReportView> {
  return { reportId: reportId.toString(), serviceId, reporter, reason, evidenceHash, weighs: paid > 0n, paidAtomic: paid.toString(), state, createdAt: createdAt.toISOString() };
}
