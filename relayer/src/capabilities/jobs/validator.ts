// Asks a job's validator, at an address that the client chose, what it thinks of the deliverable. Only a verdict that it signed for this job
// counts; whatever else it does (nothing, slowness, lies about another job, a redirect) changes nothing.
import type { Hex } from "viem";
import { Type, type Static } from "typebox";
import { Value } from "typebox/value";
import { TallystickError } from "../../../../sdk/src/errors.ts";
import { jobCompletionDigest, jobEscrowDomain, jobRejectionDigest } from "../../../../sdk/src/job-messages.ts";
import { isSignedBy } from "../mandates/signatures.ts";
import { jobFault } from "./faults.ts";
import { openFile } from "./files.ts";
import type { LiveJob } from "./parties.ts";
import { VerdictBody } from "./schemas.ts";
import type { JobDeps } from "./sending.ts";
import { deliverableOf } from "./store.ts";
import { toWireTerms } from "./wire.ts";

const TIMEOUT_MS = 10_000;
const MOST_ANSWER_BYTES = 16_384;

/** What a validator that needs more time answers, with 202. */
const Pending = Type.Object({ verdict: Type.Literal("pending") }, { additionalProperties: true });

export type Verdict = Static<typeof VerdictBody>;

/** @returns undefined while the validator needs more time. @throws TallystickError that says what was wrong with it. */
export async function askValidator(deps: JobDeps, job: LiveJob): Promise<Verdict | undefined> {
  const { releaseCondition } = job.brief;
  if (releaseCondition.type !== "outcome") throw new TypeError("only jobs with a validator are validated");
  const answer = await deps.outbound.fetch({
    method: "POST", url: releaseCondition.outcomeValidator.url, headers: { "content-type": "application/json", accept: "application/json" },
    body: Buffer.from(JSON.stringify(await questionOf(deps, job))), timeoutMs: TIMEOUT_MS, maxBytes: MOST_ANSWER_BYTES,
  });
  if (answer.status >= 300 && answer.status < 400) throw validatorFault("validator_redirected", `The validator answered ${answer.status}; redirects are not followed.`);
  if (answer.status !== 200 && answer.status !== 202) throw validatorFault("validator_status", `The validator answered ${answer.status}.`);
  const said = parse(answer.body);
  if (answer.status === 202 || Value.Check(Pending, said)) return undefined;
  if (!Value.Check(VerdictBody, said)) throw validatorFault("validator_malformed", "The validator's answer is no verdict.");
  await checkVerdict(deps, job, said);
  return said;
}

/** What is to be judged, and what has to be signed. */
async function questionOf(deps: JobDeps, job: LiveJob): Promise<Record<string, unknown>> {
  const deliverable = await deliverableOf(deps.db, job.jobId);
  const file = deliverable === undefined ? undefined : await openFile(deps, job.jobId, deliverable).catch(unlessUnknown);
  return {
    jobId: job.jobId, chainJobId: String(job.chainJobId), brief: job.brief, terms: toWireTerms(job.hired.terms), deliverable,
    content: file === undefined ? null : { mediaType: file.mediaType, base64: file.bytes.toString("base64") },
    sign: { domain: jobEscrowDomain(deps.config.chainId, deps.config.jobs.escrow), complete: "JobCompletion", reject: "JobRejection", optParams: "0x" },
  };
}

/** Handed in past us: the validator may have it from the provider. */
function unlessUnknown(error: unknown): undefined {
  if (error instanceof TallystickError && error.code === "file_unknown") return undefined;
  throw error;
}

async function checkVerdict(deps: JobDeps, job: LiveJob, { verdict, reason, deadline, signature }: Verdict): Promise<void> {
  const domain = jobEscrowDomain(deps.config.chainId, deps.config.jobs.escrow);
  const message = { jobId: job.chainJobId, reason: reason as Hex, optParams: "0x" as Hex, deadline: BigInt(deadline) };
  const digest = verdict === "complete" ? jobCompletionDigest(domain, message) : jobRejectionDigest(domain, message);
  if (!(await isSignedBy(deps, job.chain.evaluator, digest, signature as Hex))) throw validatorFault("validator_signature_invalid", `The verdict is not signed by the validator ${job.chain.evaluator} for this job.`);
}

function parse(body: Buffer): unknown {
  try {
    return JSON.parse(body.toString("utf8"));
  } catch {
    return undefined; // no verdict
  }
}

const validatorFault = (code: string, detail: string) => jobFault(502, code, undefined, detail);
