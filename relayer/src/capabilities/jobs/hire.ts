// Hires: the terms are computed here from the draft and the quote, so that what the client signed has to be exactly this. Everything else (is
// the signature good, is the money there, do the windows fit) is for the contracts to say, in a simulation that costs nothing.
import { encodeFunctionData, getAddress, isAddressEqual, type Address, type Hex } from "viem";
import type { Static } from "typebox";
import { jobEscrowAbi } from "../../../../sdk/src/abi/job-escrow.ts";
import { jobEscrowDomain, jobHireDigest, type HireTerms } from "../../../../sdk/src/job-messages.ts";
import { hireTermsOf } from "../../../../sdk/src/jobs/brief.ts";
import { erc3009Authorization } from "../../../../sdk/src/mandate-messages.ts";
import { TallystickError } from "../../../../sdk/src/errors.ts";
import * as actions from "./action-store.ts";
import { checkBudget, constantsOf } from "./drafts.ts";
import { jobFault, wrongState } from "./faults.ts";
import { isLost } from "./logic.ts";
import { checkOrder } from "./order.ts";
import { jobFor, requireClientSide } from "./parties.ts";
import type { HireBody } from "./schemas.ts";
import { MOST_GAS, send, settled, type JobDeps } from "./sending.ts";
import { addEvent, listQuotes } from "./store.ts";
import type { JobRecord, SentAction } from "./types.ts";

type Hire = Static<typeof HireBody>;

/** A job that nobody ends does not keep its client's place for ever. */
const LONGEST_S = 400 * 86_400;

/**
 * The same hire again finds the transaction of the first.
 * @throws TallystickError 400, 403, 404, 409 `job_state`, 422 `job_refused`, 429 `jobs_open_full` or `job_limit`; 403 `mandate_revoked` or
 * `mandate_capability` for an order that the chain would take.
 */
export async function hireJob(deps: JobDeps, caller: Address, jobId: string, hire: Hire): Promise<{ hash: Hex; status: string }> {
  const job = await jobFor(deps, jobId, caller);
  requireClientSide(job, caller);
  await constantsOf(deps);
  const terms = await termsFor(deps, job, hire);
  if (job.hired !== undefined && !isLost(job.hired.txState)) return sameHire(deps, job, terms);
  if (job.withdrawnAt !== undefined || !job.isOpen) throw wrongState("The job was withdrawn, or is too old: post it again.");
  const sent = await sendHire(deps, caller, job, terms, hire);
  return settled(deps, jobId, sent);
}

async function termsFor(deps: JobDeps, job: JobRecord, hire: Hire): Promise<HireTerms> {
  const quotes = (await listQuotes(deps.db, job.jobId)).filter(({ isValid }) => isValid);
  const provider = hire.provider === undefined ? (job.provider ?? onlyQuote(quotes)) : getAddress(hire.provider);
  if (job.provider !== undefined && !isAddressEqual(job.provider, provider)) throw jobFault(409, "provider_mismatch", "provider", `The job is offered to ${job.provider}.`);
  const quote = quotes.find((one) => isAddressEqual(one.provider, provider));
  const budget = quote?.budget ?? job.budget;
  if (budget === undefined || (quote === undefined && job.provider === undefined)) throw jobFault(409, "quote_missing", "provider", `${provider} has no valid quote for this job.`);
  if (BigInt(hire.budgetAtomic) !== budget) throw jobFault(409, "budget_mismatch", "budgetAtomic", `You sign for ${hire.budgetAtomic}, ${quote === undefined ? "the job says" : "the quote says"} ${budget}.`, { quotedAtomic: String(budget) });
  checkBudget(deps, budget);
  const longest = Math.floor(deps.now().getTime() / 1000) + LONGEST_S;
  if (hire.expiredAt > longest) throw jobFault(400, "expiry_too_late", "expiredAt", `A job hired here expires within ${LONGEST_S} seconds.`);
  return hireTermsOf({ client: job.client, clientAgent: job.clientAgent, provider, budget, expiredAt: BigInt(hire.expiredAt), brief: job.brief, rules: job.rules, disputeEvaluator: deps.config.jobs.disputeEvaluator });
}

function onlyQuote(quotes: readonly { provider: Address }[]): Address {
  const [quote, another] = quotes;
  if (quote !== undefined && another === undefined) return quote.provider;
  throw jobFault(409, "provider_needed", "provider", `${quotes.length} providers quote; say whom you hire.`);
}

async function sameHire(deps: JobDeps, job: JobRecord, terms: HireTerms): Promise<{ hash: Hex; status: string }> {
  const domain = jobEscrowDomain(deps.config.chainId, deps.config.jobs.escrow);
  const isSame = jobHireDigest(domain, job.client, job.hired!.terms) === jobHireDigest(domain, job.client, terms);
  if (!isSame) throw wrongState("The job is hired on other terms.");
  return settled(deps, job.jobId, (await actions.findAction(deps.db, job.jobId, "hire", "once"))!);
}

function sendHire(deps: JobDeps, caller: Address, job: JobRecord, terms: HireTerms, hire: Hire): Promise<SentAction> {
  const call = { to: deps.config.jobs.escrow, data: calldataOf(job, terms, hire), mostGas: MOST_GAS.party };
  return send(deps, job.jobId, { verb: "hire", key: "once", by: caller }, call, async (client) => {
    const most = deps.config.jobs.openPerClient;
    // The row that was just written counts itself.
    if ((await actions.countOpen(client, job.client)) > most) throw new TallystickError({ code: "jobs_open_full", status: 429, retry: "safe", detail: `${job.client} has ${most} jobs under way.`, extra: { moved: "0" } });
    if (hire.order !== undefined) await checkOrder(client, deps, hire.order as Hex);
    await actions.recordHire(client, job.jobId, terms);
    await addEvent(client, job.jobId, { kind: "hire_sent", by: caller, data: { provider: terms.provider, budgetAtomic: String(terms.budget) } });
  });
}

function calldataOf(job: JobRecord, terms: HireTerms, { authorization, order }: Hire): Hex {
  if ((authorization === undefined) === (order === undefined)) throw jobFault(400, "request_malformed", "authorization", "A hire is paid either by an authorization or by a mandate's order.");
  if (order !== undefined) return encodeFunctionData({ abi: jobEscrowAbi, functionName: "hireByMandate", args: [terms, order as Hex] });
  const { validAfter, validBefore, salt, signature } = authorization!;
  const encoded = erc3009Authorization({ validAfter: BigInt(validAfter), validBefore: BigInt(validBefore), salt: salt as Hex, signature: signature as Hex });
  return encodeFunctionData({ abi: jobEscrowAbi, functionName: "hireWithAuthorization", args: [job.client, terms, encoded] });
}
