import type { FastifyInstance, FastifyRequest } from "fastify";
import { Type, type Static } from "typebox";
import type { Address, Hex } from "viem";
import { problemResponse } from "../../problem-schema.ts";
import type { Deps } from "../../deps.ts";
import { callerOf } from "../access/service.ts";
import { postJob, quoteJob, withdrawJob } from "./drafts.ts";
import { openFile } from "./files.ts";
import { hireJob } from "./hire.ts";
import { hasPart, jobFor } from "./parties.ts";
import { notAllowed } from "./faults.ts";
import { ActedView, ConcedeBody, FileParams, HireBody, HistoryQuery, HistoryView, IdParams, JobView, Keyed, ListQuery, PostBody, QuoteBody, SubmitBody, VerdictBody, type Post } from "./schemas.ts";
import { historyOf, listJobs, showJob } from "./views.ts";
import { acceptWork, bringVerdict, giveUp, submitWork } from "./work.ts";

type ById = { Params: Static<typeof IdParams> };
type Acting<Body> = (caller: Address, jobId: string, body: Body) => Promise<{ hash: Hex; status: string }>;

const tags = ["jobs"];
export const jobReading = { 401: problemResponse("Not signed in"), 404: problemResponse("None, or not yours") };
export const jobWriting = {
  400: problemResponse("Malformed; `field` names where"), 401: jobReading[401], 403: problemResponse("Not yours to do"), 404: jobReading[404], 409: problemResponse("Not in this state"),
  413: problemResponse("Too large"), 422: problemResponse("The contract, or the job's condition, refuses; nothing moved"), 429: problemResponse("More than is paid for"), 503: problemResponse("The chain or the ledger cannot be reached now"),
};
/** Base64 needs a third more, and JSON around it a little. */
export const bodyLimitFor = (bytes: number): number => Math.ceil((bytes * 4) / 3) + 65_536;

export function jobRoutes(app: FastifyInstance, deps: Deps): void {
  app.post<{ Body: Post; Headers: Static<typeof Keyed> }>(
    "/api/v1/jobs",
    { schema: { tags, summary: "Post a job: to one provider, or to whoever quotes", body: PostBody, headers: Keyed, response: { 200: JobView, 201: JobView, ...jobWriting } } },
    async (request, reply) => {
      const { address } = await callerOf(deps, request);
      const { jobId, isNew } = await postJob(deps, address, request.body, request.headers["idempotency-key"]);
      return reply.code(isNew ? 201 : 200).send(await showJob(deps, address, jobId));
    },
  );
  app.get<{ Querystring: Static<typeof ListQuery> }>(
    "/api/v1/jobs",
    { schema: { tags, summary: "Jobs you have a part in, or that wait for quotes (role=open), the newest first", querystring: ListQuery, response: { 200: Type.Object({ jobs: Type.Array(JobView) }), 401: jobReading[401] } } },
    async (request) => ({ jobs: await listJobs(deps, (await callerOf(deps, request)).address, request.query) }),
  );
  app.get<ById>("/api/v1/jobs/:jobId", { schema: { tags, summary: "A job: what was agreed, where its money is, how its dispute stands", params: IdParams, response: { 200: JobView, ...jobReading } } }, async (request) =>
    showJob(deps, (await callerOf(deps, request)).address, request.params.jobId),
  );
  app.get<ById & { Querystring: Static<typeof HistoryQuery> }>(
    "/api/v1/jobs/:jobId/history",
    { schema: { tags, summary: "What happened, here and on the chain; new events also come by /api/v1/events", params: IdParams, querystring: HistoryQuery, response: { 200: HistoryView, ...jobReading } } },
    async (request) => historyOf(deps, (await callerOf(deps, request)).address, request.params.jobId, request.query),
  );
  app.get<{ Params: Static<typeof FileParams> }>(
    "/api/v1/jobs/:jobId/files/:sha256",
    { schema: { tags, summary: "A deliverable or piece of evidence, by its SHA-256; for the parties, and for those who judge", params: FileParams, response: { ...jobReading, 403: jobWriting[403] } } },
    async (request, reply) => {
      const { jobId, sha256 } = request.params;
      const { address } = await callerOf(deps, request);
      if (!hasPart(await jobFor(deps, jobId, address), address)) throw notAllowed("Only the parties and those who judge read files.");
      const { mediaType, bytes } = await openFile(deps, jobId, sha256.toLowerCase() as Hex);
      // A stranger wrote it: no browser is to run it as a page of this origin.
      return reply.header("Content-Type", mediaType).header("Content-Disposition", "attachment").header("X-Content-Type-Options", "nosniff").header("Content-Security-Policy", "sandbox").header("Cache-Control", "private, no-store").send(bytes);
    },
  );
  app.post<ById & { Body: Static<typeof QuoteBody> }>("/api/v1/jobs/:jobId/quote", { schema: { tags, summary: "Quote for a job; your latest quote counts", params: IdParams, body: QuoteBody, headers: Keyed, response: { 200: JobView, ...jobWriting } } }, async (request) => {
    const { address } = await callerOf(deps, request);
    await quoteJob(deps, address, request.params.jobId, request.body);
    return showJob(deps, address, request.params.jobId);
  });
  app.delete<ById>("/api/v1/jobs/:jobId", { schema: { tags, summary: "Withdraw a job that nobody was hired for", params: IdParams, response: { 200: JobView, ...jobWriting } } }, async (request) => {
    const { address } = await callerOf(deps, request);
    await withdrawJob(deps, address, request.params.jobId);
    return showJob(deps, address, request.params.jobId);
  });
  const acting = actingRoute(app, deps, tags);
  acting("hire", "Hire: the budget moves into escrow, by your ERC-3009 signature or under a mandate; the relayer pays the gas", HireBody, (caller, jobId, body) => hireJob(deps, caller, jobId, body));
  acting("submit", "Submit the deliverable, with your signature of JobSubmission over its SHA-256", SubmitBody, (caller, jobId, body) => submitWork(deps, caller, jobId, body), bodyLimitFor(deps.config.jobs.deliverableBytes));
  acting("accept", "Accept: the provider is paid in full at once, by your signature of Concession", ConcedeBody, (caller, jobId, body) => acceptWork(deps, caller, jobId, body));
  acting("reject", "Give the job up as its provider: the client is refunded in full, by your signature of Concession", ConcedeBody, (caller, jobId, body) => giveUp(deps, caller, jobId, body));
  acting("verdict", "Bring the validator's signed verdict (JobCompletion or JobRejection)", VerdictBody, (caller, jobId, body) => bringVerdict(deps, caller, jobId, body));
}

/** A verb that ends in a transaction: the answer waits for it a while. */
export function actingRoute(app: FastifyInstance, deps: Deps, tagged: string[]) {
  return <Schema extends Type.TSchema>(verb: string, summary: string, body: Schema, act: Acting<Static<Schema>>, bodyLimit = deps.config.limits.requestBytes): void => {
    app.post<ById & { Body: Static<Schema> }>(
      `/api/v1/jobs/:jobId/${verb}`,
      { bodyLimit, schema: { tags: tagged, summary, params: IdParams, body, headers: Keyed, response: { 200: ActedView, 202: ActedView, ...jobWriting } } },
      async (request, reply) => {
        const { address } = await callerOf(deps, request as FastifyRequest);
        const { jobId } = request.params as Static<typeof IdParams>;
        const transaction = await act(address, jobId, request.body as Static<Schema>);
        return reply.code(transaction.status === "pending" ? 202 : 200).send({ job: await showJob(deps, address, jobId), transaction });
      },
    );
  };
}
