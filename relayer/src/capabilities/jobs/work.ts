// From the deliverable to the end without a dispute: each verb by the signature of whoever may say it.
import { encodeFunctionData, getAddress, isAddressEqual, type Address, type Hex } from "viem";
import type { Static } from "typebox";
import { disputeEvaluatorAbi } from "../../../../sdk/src/abi/dispute-evaluator.ts";
import { jobEscrowAbi } from "../../../../sdk/src/abi/job-escrow.ts";
import { conformityFault } from "../../../../sdk/src/jobs/schema-check.ts";
import type { ReleaseCondition } from "../../../../sdk/src/jobs/brief.ts";
import { jobFault, notAllowed, wrongState } from "./faults.ts";
import { bytesOf, contentHash, keepFile } from "./files.ts";
import { hasPart, isClientSide, liveJobFor, requireClientSide, requireProvider, type LiveJob } from "./parties.ts";
import type { ConcedeBody, SubmitBody, VerdictBody } from "./schemas.ts";
import { MOST_GAS, send, settled, type JobDeps } from "./sending.ts";
import { STATUS } from "./types.ts";

type Sent = { hash: Hex; status: string };

/**
 * Keeps the deliverable and submits its hash, together or not at all; what an automatic release would not accept is not taken.
 * @throws TallystickError 400, 403, 404, 409 `job_state`, 413, 422 `deliverable_refused` or `job_refused`.
 */
export async function submitWork(deps: JobDeps, caller: Address, jobId: string, { mediaType, contentBase64, deadline, signature }: Static<typeof SubmitBody>): Promise<Sent> {
  const job = await liveJobFor(deps, jobId, caller);
  requireProvider(job, caller);
  const bytes = bytesOf(contentBase64, "contentBase64", deps.config.jobs.deliverableBytes);
  const deliverable = contentHash(bytes);
  // A replay of what was submitted finds its transaction; anything else after that is too late.
  const fault = deliverableFault(job.brief.releaseCondition, bytes, deliverable);
  if (fault !== undefined) throw jobFault(422, "deliverable_refused", "contentBase64", `The job's condition for release is not met: ${fault}.`);
  const data = encodeFunctionData({ abi: jobEscrowAbi, functionName: "submitBySig", args: [job.chainJobId, deliverable, "0x", BigInt(deadline), signature as Hex] });
  const sent = await send(deps, jobId, { verb: "submit", key: deliverable, by: caller }, { to: deps.config.jobs.escrow, data, mostGas: MOST_GAS.party }, (client) =>
    keepFile(client, deps, jobId, { kind: "deliverable", mediaType, bytes, by: caller }),
  );
  return settled(deps, jobId, sent);
}

function deliverableFault(condition: ReleaseCondition, bytes: Buffer, hash: Hex): string | undefined {
  if (condition.type !== "automatic") return undefined;
  if (condition.sha256 !== undefined) return condition.sha256 === hash ? undefined : `its SHA-256 is ${hash}, ${condition.sha256} is asked for`;
  try {
    return conformityFault(condition.schema!, JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes)));
  } catch {
    return "it is no JSON";
  }
}

/** The client side has the provider paid at once. @throws TallystickError 403, 404, 409 `job_state`, 422 `job_refused`. */
export async function acceptWork(deps: JobDeps, caller: Address, jobId: string, concession: Static<typeof ConcedeBody>): Promise<Sent> {
  const job = await liveJobFor(deps, jobId, caller);
  requireClientSide(job, caller);
  if (!isClientSide(job, getAddress(concession.party))) throw notAllowed("The signature must be of the client's side.");
  return concede(deps, job, caller, "accept", concession);
}

/** The provider has the client refunded: it gives up, before its submission or after. @throws as acceptWork. */
export async function giveUp(deps: JobDeps, caller: Address, jobId: string, concession: Static<typeof ConcedeBody>): Promise<Sent> {
  const job = await liveJobFor(deps, jobId, caller);
  if (isClientSide(job, caller)) throw notAllowed("A client that rejects what was delivered opens a dispute: POST /api/v1/jobs/:jobId/dispute.");
  requireProvider(job, caller);
  if (!isAddressEqual(getAddress(concession.party), caller)) throw notAllowed("The signature must be the provider's.");
  return concede(deps, job, caller, "give_up", concession);
}

async function concede(deps: JobDeps, job: LiveJob, caller: Address, verb: string, { party, deadline, signature }: Static<typeof ConcedeBody>): Promise<Sent> {
  if (!isAddressEqual(job.chain.evaluator, deps.config.jobs.disputeEvaluator)) throw wrongState("Only the validator's verdict ends this job.");
  const data = encodeFunctionData({ abi: disputeEvaluatorAbi, functionName: "concedeBySig", args: [job.chainJobId, getAddress(party), BigInt(deadline), signature as Hex] });
  const sent = await send(deps, job.jobId, { verb, key: "once", by: caller }, { to: deps.config.jobs.disputeEvaluator, data, mostGas: MOST_GAS.party });
  return settled(deps, job.jobId, sent);
}

/** The validator's verdict, brought by it or by a party: its signature counts. @throws TallystickError 404, 409 `job_state`, 422 `job_refused`. */
export async function bringVerdict(deps: JobDeps, caller: Address, jobId: string, verdict: Static<typeof VerdictBody>): Promise<Sent> {
  const job = await liveJobFor(deps, jobId, caller);
  if (!hasPart(job, caller)) throw notAllowed("Only the parties and the validator bring a verdict.");
  return settled(deps, jobId, await sendVerdict(deps, job, caller, verdict));
}

export function sendVerdict(deps: JobDeps, job: LiveJob, by: Address | undefined, { verdict, reason, deadline, signature }: Static<typeof VerdictBody>) {
  if (job.brief.releaseCondition.type !== "outcome") throw wrongState("This job has no validator.");
  if (verdict === "complete" && job.chain.status === STATUS.funded) throw wrongState("Nothing was submitted that could be paid.");
  const args = [job.chainJobId, reason as Hex, "0x", BigInt(deadline), signature as Hex] as const;
  const data = encodeFunctionData({ abi: jobEscrowAbi, functionName: verdict === "complete" ? "completeBySig" : "rejectBySig", args });
  return send(deps, job.jobId, { verb: "verdict", key: "once", by }, { to: deps.config.jobs.escrow, data, mostGas: MOST_GAS.party });
}
