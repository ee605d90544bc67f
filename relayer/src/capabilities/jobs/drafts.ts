// Before anybody is hired: what is asked for, and what providers ask for it. Nothing here moves money or costs gas.
import { randomBytes } from "node:crypto";
import { getAddress, isAddressEqual, zeroAddress, type Address, type Hex } from "viem";
import type { Static } from "typebox";
import { documentHash, type JobBrief, type JobRules, type ReleaseCondition } from "../../../../sdk/src/jobs/brief.ts";
import { schemaFault } from "../../../../sdk/src/jobs/schema-check.ts";
import { inTransaction, violatedConstraint } from "../../db/pool.ts";
import { EVENT } from "../../telemetry/log.ts";
import { contractsStand, readConstants, type Constants } from "./chain-view.ts";
import { jobFault, notAllowed, wrongState } from "./faults.ts";
import { isClientSide, isProvider, jobFor, requireClientSide } from "./parties.ts";
import type { Post, QuoteBody } from "./schemas.ts";
import type { JobDeps } from "./sending.ts";
import * as store from "./store.ts";
import type { JobRecord } from "./types.ts";

const MOST_DRAFTS = 100;
const MOST_QUOTES = 50;
const WEEK_S = 604_800;
const MOST_SCHEMA_CHARS = 16_384;
const DEFAULT_WINDOWS = { reviewWindow: 86_400, commitWindow: 21_600, revealWindow: 21_600, escalationWindow: 21_600 };
const DEFAULT_PANEL = 3;
/** IDisputeEvaluator: the least bond is that part of the bonds of the panel. */
const BOND_DIVISOR = 100n;

/** The same key and body again are the same job. @throws TallystickError 400, 409 `idempotency_key_conflict`, 429 `jobs_full`, 503 `jobs_unavailable`. */
export async function postJob(deps: JobDeps, caller: Address, post: Post, idempotencyKey: string | undefined): Promise<{ jobId: string; isNew: boolean }> {
  const bodyHash = documentHash(post);
  const known = idempotencyKey === undefined ? undefined : await store.findByKey(deps.db, caller, idempotencyKey);
  if (known !== undefined) return { jobId: sameBody(known, bodyHash), isNew: false };
  const constants = await constantsOf(deps);
  const releaseCondition = readCondition(post.releaseCondition as ReleaseCondition | undefined);
  const client = post.client === undefined ? caller : getAddress(post.client);
  const provider = post.provider === undefined ? undefined : getAddress(post.provider);
  const clientAgent = agentFor(deps, releaseCondition, client, caller);
  const rules = readRules(post, constants);
  checkParties([client, caller], provider, rules.arbitrator);
  const budget = post.budgetAtomic === undefined ? undefined : BigInt(post.budgetAtomic);
  if (budget !== undefined) checkBudget(deps, budget);
  const brief: JobBrief = { title: post.title, description: post.description, releaseCondition };
  const jobId = `job_${randomBytes(16).toString("hex")}`;
  const job = { jobId, postedBy: caller, client, clientAgent, provider, brief, briefHash: documentHash(brief), rules, deliverWithinS: post.deliverWithinS, budget, bodyHash, idempotencyKey, openForS: post.openForS ?? WEEK_S };
  try {
    await inTransaction(deps.db, async (db) => {
      if (!(await store.insertJob(db, job, MOST_DRAFTS))) throw jobFault(429, "jobs_full", undefined, `You have ${MOST_DRAFTS} jobs that nobody was hired for; withdraw some.`);
      await store.addEvent(db, jobId, { kind: "posted", by: caller, data: { title: post.title } });
    });
  } catch (error) {
    if (violatedConstraint(error) !== "job_idempotency") throw error;
    return { jobId: sameBody((await store.findByKey(deps.db, caller, idempotencyKey!))!, bodyHash), isNew: false };
  }
  deps.log.info({ event: EVENT.jobPosted, jobId, client }, "job posted");
  return { jobId, isNew: true };
}

/** What never changes is asked for once. */
const known = new WeakMap<object, Constants>();

export async function constantsOf(deps: JobDeps): Promise<Constants> {
  const remembered = known.get(deps.config);
  if (remembered !== undefined) return remembered;
  if (!(await contractsStand(deps))) throw jobFault(503, "jobs_unavailable", undefined, "JobEscrow and DisputeEvaluator do not stand on this relayer's chain.");
  const constants = await readConstants(deps);
  known.set(deps.config, constants);
  return constants;
}

function sameBody(job: JobRecord, bodyHash: Hex): string {
  if (job.bodyHash === bodyHash) return job.jobId;
  throw jobFault(409, "idempotency_key_conflict", "Idempotency-Key", `The key was used to post another job, ${job.jobId}.`);
}

/** With automatic release the relayer accepts for the client; else the agent that hires acts for it. */
function agentFor({ keyring }: Pick<JobDeps, "keyring">, { type }: ReleaseCondition, client: Address, caller: Address): Address {
  if (type === "automatic") return keyring.active;
  return isAddressEqual(client, caller) ? zeroAddress : caller;
}

function readCondition(condition: ReleaseCondition = { type: "manual" }): ReleaseCondition {
  if (condition.type === "automatic") return readAutomatic(condition);
  if (condition.type !== "outcome") return condition;
  const { address, url } = condition.outcomeValidator;
  const at = "releaseCondition.outcomeValidator.url";
  if (!URL.canParse(url)) throw jobFault(400, "request_malformed", at, "The validator's url is no URL.");
  const { protocol, username, password, hash } = new URL(url);
  if (!/^https?:$/.test(protocol) || username !== "" || password !== "" || hash !== "") throw jobFault(400, "request_malformed", at, "The validator's url is http or https, without credentials and fragment.");
  return { type: "outcome", outcomeValidator: { address: getAddress(address), url } };
}

function readAutomatic(condition: Extract<ReleaseCondition, { type: "automatic" }>): ReleaseCondition {
  const { sha256, schema } = condition;
  if ((sha256 === undefined) === (schema === undefined)) throw jobFault(400, "request_malformed", "releaseCondition", "Automatic release needs either a sha256 or a schema.");
  if (sha256 !== undefined) return { type: "automatic", sha256: sha256.toLowerCase() as Hex };
  const fault = JSON.stringify(schema).length > MOST_SCHEMA_CHARS ? `it has more than ${MOST_SCHEMA_CHARS} characters` : schemaFault(schema);
  if (fault !== undefined) throw jobFault(400, "schema_refused", "releaseCondition.schema", `The schema is not taken: ${fault}.`);
  return condition;
}

function readRules({ rules = {} }: Post, { minWindow, seatBond }: Constants): JobRules {
  const arbitrator = rules.arbitrator === undefined ? zeroAddress : getAddress(rules.arbitrator);
  const hasPanel = isAddressEqual(arbitrator, zeroAddress);
  const panelSize = hasPanel ? (rules.panelSize ?? DEFAULT_PANEL) : 0;
  const windows = { ...DEFAULT_WINDOWS, ...rules };
  const read: JobRules = {
    reviewWindow: windows.reviewWindow, commitWindow: windows.commitWindow, revealWindow: windows.revealWindow, escalationWindow: hasPanel ? windows.escalationWindow : 0,
    panelSize, quorum: hasPanel ? (rules.quorum ?? Math.floor(panelSize / 2) + 1) : 0, defaultBps: rules.defaultBps ?? 5_000,
    disputeBond: rules.disputeBondAtomic === undefined ? (BigInt(panelSize) * seatBond) / BOND_DIVISOR : BigInt(rules.disputeBondAtomic), arbitrator,
  };
  for (const name of ["reviewWindow", "commitWindow", "revealWindow", "escalationWindow"] as const) {
    if (read[name] < minWindow && !(name === "escalationWindow" && !hasPanel)) throw jobFault(400, "rules_refused", `rules.${name}`, `${name} is ${read[name]} s, at least ${minWindow} are needed.`);
  }
  if (read.quorum > panelSize || (hasPanel && read.quorum * 2 <= panelSize)) throw jobFault(400, "rules_refused", "rules.quorum", `A quorum is more than half of a panel of ${panelSize}, and no more than all of it.`);
  return read;
}

function checkParties(clientSide: readonly Address[], provider: Address | undefined, arbitrator: Address): void {
  if (provider !== undefined && clientSide.some((party) => isAddressEqual(party, provider))) throw jobFault(400, "parties_refused", "provider", "Nobody hires itself.");
  if ([...clientSide, provider].some((party) => party !== undefined && isAddressEqual(party, arbitrator))) throw jobFault(400, "parties_refused", "rules.arbitrator", "An arbitrator is no party.");
}

export function checkBudget({ config }: Pick<JobDeps, "config">, budget: bigint): void {
  const least = config.jobs.minBudget;
  if (budget < least) throw jobFault(400, "budget_too_small", "budgetAtomic", `The budget is ${budget}, at least ${least} atomic units are worth the gas.`, { least: String(least) });
}

/** @throws TallystickError 403, 404, 409 `job_state`, 429 `quotes_full`. */
export async function quoteJob(deps: JobDeps, caller: Address, jobId: string, quote: Static<typeof QuoteBody>): Promise<void> {
  const job = await jobFor(deps, jobId, caller);
  if (isClientSide(job, caller)) throw notAllowed("Nobody quotes for its own job.");
  if (job.provider !== undefined && !isProvider(job, caller)) throw notAllowed("The job is offered to another.");
  if (job.hired !== undefined || job.withdrawnAt !== undefined || !job.isOpen) throw wrongState("The job no longer waits for quotes.");
  const budget = BigInt(quote.budgetAtomic);
  checkBudget(deps, budget);
  await inTransaction(deps.db, async (db) => {
    const saved = await store.saveQuote(db, jobId, { provider: caller, budget, deliverWithinS: quote.deliverWithinS, note: quote.note ?? "" }, quote.validForS ?? WEEK_S, MOST_QUOTES);
    if (!saved) throw jobFault(429, "quotes_full", undefined, `The job has ${MOST_QUOTES} quotes, or was closed meanwhile.`);
    await store.addEvent(db, jobId, { kind: "quoted", by: caller, data: { budgetAtomic: String(budget), deliverWithinS: quote.deliverWithinS } });
  });
}

/** @throws TallystickError 403, 404, 409 `job_state`. */
export async function withdrawJob(deps: JobDeps, caller: Address, jobId: string): Promise<void> {
  const job = await jobFor(deps, jobId, caller);
  requireClientSide(job, caller);
  if (job.withdrawnAt !== undefined) return;
  await inTransaction(deps.db, async (db) => {
    if (!(await store.withdrawJob(db, jobId))) throw wrongState("Somebody is hired: the job ends on the chain.");
    await store.addEvent(db, jobId, { kind: "withdrawn", by: caller });
  });
}
