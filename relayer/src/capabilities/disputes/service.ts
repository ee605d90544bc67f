// Disputes from opening to ruling, each step by the signature of whoever may take it. What the contract says of a step is what counts.
import { encodeFunctionData, getAddress, isAddressEqual, type Address, type Hex } from "viem";
import type { Static } from "typebox";
import { disputeEvaluatorAbi as abi } from "../../../../sdk/src/abi/dispute-evaluator.ts";
import { erc3009Authorization } from "../../../../sdk/src/mandate-messages.ts";
import { inTransaction } from "../../db/pool.ts";
import { jobFault, notAllowed, wrongState } from "../jobs/faults.ts";
import { openFile } from "../jobs/files.ts";
import { hasPart, isClientSide, isProvider, liveJobFor, requireClientSide, type LiveJob } from "../jobs/parties.ts";
import { FIXED_GAS, MOST_GAS, send, settled, type JobDeps } from "../jobs/sending.ts";
import { addEvent, listEvents, listFiles } from "../jobs/store.ts";
import { PHASE } from "../jobs/types.ts";
import { disputeView } from "../jobs/views.ts";
import type { CommitBody, DisputeBody, DisputeView, EscalateBody, EvidenceBody, RevealBody, RuleBody } from "./schemas.ts";
import { keepStatement, readStatement } from "./statement.ts";

type Sent = { hash: Hex; status: string };

/** Statement, files and transaction together, or none. @throws TallystickError 400, 403, 404, 409 `job_state`, 413, 422 `job_refused`. */
export async function openDispute(deps: JobDeps, caller: Address, jobId: string, body: Static<typeof DisputeBody>): Promise<Sent> {
  const job = await liveJobFor(deps, jobId, caller);
  requireClientSide(job, caller);
  requireJudged(deps, job);
  const party = getAddress(body.party);
  if (!isClientSide(job, party)) throw notAllowed("Only the client's side disputes what was delivered.");
  const statement = readStatement(deps, jobId, party, body);
  const data = encodeFunctionData({ abi, functionName: "disputeWithAuthorization", args: [job.chainJobId, party, statement.evidence, encoded(body.authorization)] });
  const sent = await send(deps, jobId, { verb: "dispute", key: statement.evidence, by: caller }, judge(deps, data), (client) => keepStatement(client, deps, jobId, statement));
  return settled(deps, jobId, sent);
}

/** A party says more, for the panel to read. Kept here by its hash; to show it to the chain, the party sends addEvidence itself. */
export async function addEvidence(deps: JobDeps, caller: Address, jobId: string, body: Static<typeof EvidenceBody>): Promise<{ sha256: Hex }> {
  const job = await liveJobFor(deps, jobId, caller);
  if (!isClientSide(job, caller) && !isProvider(job, caller)) throw notAllowed("Only the parties give evidence.");
  requireDisputed(job);
  const statement = readStatement(deps, jobId, caller, body);
  await inTransaction(deps.db, async (client) => {
    await keepStatement(client, deps, jobId, statement);
    await addEvent(client, jobId, { kind: "evidence", by: caller, data: { evidence: statement.evidence } });
  });
  return { sha256: statement.evidence };
}

/** @throws TallystickError 403, 404, 409 `job_state`, 422 `job_refused`. */
export async function escalate(deps: JobDeps, caller: Address, jobId: string, body: Static<typeof EscalateBody>): Promise<Sent> {
  const job = await liveJobFor(deps, jobId, caller);
  const party = getAddress(body.party);
  const isOwn = (isClientSide(job, caller) && isClientSide(job, party)) || (isProvider(job, caller) && isProvider(job, party));
  if (!isOwn) throw notAllowed("Only a party escalates, in its own name.");
  requireDisputed(job);
  const data = encodeFunctionData({ abi, functionName: "escalateWithAuthorization", args: [job.chainJobId, party, encoded(body.authorization)] });
  return settled(deps, jobId, await send(deps, jobId, { verb: "escalate", key: "once", by: caller }, judge(deps, data)));
}

/** @throws TallystickError 403, 404, 409 `job_state`, 422 `job_refused`. */
export async function commitVote(deps: JobDeps, caller: Address, jobId: string, { seat, commitment, deadline, signature }: Static<typeof CommitBody>): Promise<Sent> {
  const job = await liveJobFor(deps, jobId, caller);
  requireSeat(job, caller, seat);
  const data = encodeFunctionData({ abi, functionName: "commitVoteBySig", args: [job.chainJobId, BigInt(seat), commitment as Hex, BigInt(deadline), signature as Hex] });
  return settled(deps, jobId, await send(deps, jobId, { verb: "commit", key: `${job.chain.round}:${seat}`, by: caller }, judge(deps, data)));
}

/** @throws as commitVote. */
export async function revealVote(deps: JobDeps, caller: Address, jobId: string, { seat, providerBps, reason, salt }: Static<typeof RevealBody>): Promise<Sent> {
  const job = await liveJobFor(deps, jobId, caller);
  requireSeat(job, caller, seat);
  const data = encodeFunctionData({ abi, functionName: "revealVote", args: [job.chainJobId, BigInt(seat), providerBps, reason as Hex, salt as Hex] });
  return settled(deps, jobId, await send(deps, jobId, { verb: "reveal", key: `${job.chain.round}:${seat}`, by: caller }, { ...judge(deps, data), gas: FIXED_GAS.reveal }));
}

/** The arbitrator rules alone. @throws TallystickError 403, 404, 409 `job_state`, 422 `job_refused`. */
export async function rule(deps: JobDeps, caller: Address, jobId: string, { providerBps, reason, deadline, signature }: Static<typeof RuleBody>): Promise<Sent> {
  const job = await liveJobFor(deps, jobId, caller);
  if (!isAddressEqual(job.rules.arbitrator, caller)) throw notAllowed("Only the job's arbitrator rules; a panel votes.");
  requireDisputed(job);
  const data = encodeFunctionData({ abi, functionName: "ruleBySig", args: [job.chainJobId, providerBps, reason as Hex, BigInt(deadline), signature as Hex] });
  return settled(deps, jobId, await send(deps, jobId, { verb: "rule", key: "once", by: caller }, judge(deps, data)));
}

/** @throws TallystickError 404 `dispute_unknown`. */
export async function showDispute(deps: JobDeps, caller: Address, jobId: string): Promise<Static<typeof DisputeView>> {
  const job = await liveJobFor(deps, jobId, caller);
  const dispute = disputeView(job.chain, await listEvents(deps.db, jobId));
  if (dispute === null || !hasPart(job, caller)) throw jobFault(404, "dispute_unknown", "jobId", `Job ${jobId} has no dispute.`);
  const statements = (await listFiles(deps.db, jobId)).filter(({ kind }) => kind === "statement");
  const said = await Promise.all(statements.map(async ({ sha256, at }) => ({ ...(JSON.parse((await openFile(deps, jobId, sha256)).bytes.toString("utf8")) as Record<string, unknown>), sha256, at: at.toISOString() })));
  return { jobId, dispute, statements: said };
}

function requireDisputed({ chain }: LiveJob): void {
  if (chain.phase !== PHASE.disputed) throw wrongState("The job is not disputed now.");
}

function requireJudged({ config }: Pick<JobDeps, "config">, { chain }: LiveJob): void {
  if (!isAddressEqual(chain.evaluator, config.jobs.disputeEvaluator)) throw wrongState("Only the validator's verdict ends this job; there is no panel.");
}

function requireSeat(job: LiveJob, caller: Address, seat: number): void {
  requireDisputed(job);
  const seated = job.chain.rounds[job.chain.round - 1]?.panel[seat];
  if (seated === undefined || !isAddressEqual(seated.verifier, caller)) throw notAllowed(`Seat ${seat} of the panel is not yours.`);
}

const judge = ({ config }: Pick<JobDeps, "config">, data: Hex) => ({ to: config.jobs.disputeEvaluator, data, mostGas: MOST_GAS.party });

function encoded({ validAfter, validBefore, salt, signature }: Static<typeof DisputeBody>["authorization"]): Hex {
  return erc3009Authorization({ validAfter: BigInt(validAfter), validBefore: BigInt(validBefore), salt: salt as Hex, signature: signature as Hex });
}
