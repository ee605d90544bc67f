import type { FastifyInstance } from "fastify";
import type { Static } from "typebox";
import type { Deps } from "../../deps.ts";
import { callerOf } from "../access/service.ts";
import { actingRoute, bodyLimitFor, jobReading, jobWriting } from "../jobs/routes.ts";
import { IdParams, Keyed } from "../jobs/schemas.ts";
import { CommitBody, DisputeBody, DisputeView, EscalateBody, EvidenceBody, EvidenceView, RevealBody, RuleBody } from "./schemas.ts";
import { addEvidence, commitVote, escalate, openDispute, revealVote, rule, showDispute } from "./service.ts";

type ById = { Params: Static<typeof IdParams> };

export function disputeRoutes(app: FastifyInstance, deps: Deps): void {
  const tags = ["disputes"];
  const bodyLimit = bodyLimitFor(deps.config.jobs.deliverableBytes);
  const acting = actingRoute(app, deps, tags);
  acting("dispute", "Contest what was delivered, within the review window: a statement, and the bond by your ERC-3009 signature", DisputeBody, (caller, jobId, body) => openDispute(deps, caller, jobId, body), bodyLimit);
  acting("dispute/escalate", "Ask for a second, larger panel, once, for twice the bond", EscalateBody, (caller, jobId, body) => escalate(deps, caller, jobId, body));
  acting("dispute/commit", "Commit to a vote, by the verifier's signature of VoteCommitment", CommitBody, (caller, jobId, body) => commitVote(deps, caller, jobId, body));
  acting("dispute/reveal", "Open the vote of a seat; a seat that does not loses its bond", RevealBody, (caller, jobId, body) => revealVote(deps, caller, jobId, body));
  acting("dispute/rule", "Rule as the job's arbitrator, by its signature of Ruling; final", RuleBody, (caller, jobId, body) => rule(deps, caller, jobId, body));
  app.get<ById>("/api/v1/jobs/:jobId/dispute", { schema: { tags, summary: "How a dispute stands: open, under_review, escalated or resolved; what was said, how was voted, what is refunded", params: IdParams, response: { 200: DisputeView, ...jobReading } } }, async (request) =>
    showDispute(deps, (await callerOf(deps, request)).address, request.params.jobId),
  );
  app.post<ById & { Body: Static<typeof EvidenceBody> }>(
    "/api/v1/jobs/:jobId/dispute/evidence",
    { bodyLimit, schema: { tags, summary: "Say more, with attachments and logs; kept by its hash, for the parties and the panel", params: IdParams, body: EvidenceBody, headers: Keyed, response: { 201: EvidenceView, ...jobWriting } } },
    async (request, reply) => reply.code(201).send(await addEvidence(deps, (await callerOf(deps, request)).address, request.params.jobId, request.body)),
  );
}
