// Jobs as those who have a part in them see them.
import type { Static } from "typebox";
import type { Address } from "viem";
import type { Deps } from "../../deps.ts";
import { listActions } from "./action-store.ts";
import { constantsOf } from "./drafts.ts";
import { disputeStatusOf, escrowStatusOf, refundKind, stateOf } from "./logic.ts";
import { hasPart, jobFor } from "./parties.ts";
import type { HistoryQuery, HistoryView, JobView, ListQuery } from "./schemas.ts";
import type { JobDeps } from "./sending.ts";
import * as store from "./store.ts";
import type { ChainState, JobEvent, JobRecord } from "./types.ts";
import { toWireRules } from "./wire.ts";

type View = Static<typeof JobView>;
const LISTED = 50;

export async function showJob(deps: JobDeps, caller: Address, jobId: string): Promise<View> {
  return viewOf(deps, await jobFor(deps, jobId, caller), caller);
}

export async function listJobs(deps: JobDeps, caller: Address, { role = "any", before, limit = LISTED }: Static<typeof ListQuery>): Promise<View[]> {
  const filter = { of: role === "open" ? undefined : caller, role: role === "open" ? ("any" as const) : role, before: before === undefined ? undefined : new Date(before), limit };
  const jobs = await store.listJobs(deps.db, filter);
  return Promise.all(jobs.map((job) => viewOf(deps, job, caller)));
}

export async function historyOf(deps: Pick<Deps, "db">, caller: Address, jobId: string, { after, limit = 200 }: Static<typeof HistoryQuery>): Promise<Static<typeof HistoryView>> {
  await jobFor(deps, jobId, caller);
  const events = await store.listEvents(deps.db, jobId, BigInt(after ?? 0), limit);
  return { events: events.map(eventView), next: events.length < limit ? null : String(events.at(-1)!.eventId) };
}

function eventView({ eventId, kind, at, by, block, transaction, data }: JobEvent): Static<typeof HistoryView>["events"][number] {
  return { id: String(eventId), kind, at: at.toISOString(), by: by ?? null, block: block === undefined ? null : String(block), transaction: transaction ?? null, data };
}

async function viewOf(deps: JobDeps, job: JobRecord, caller: Address): Promise<View> {
  const isParty = hasPart(job, caller);
  const [quotes, events, files, actions, { minWindow }] = await Promise.all([
    store.listQuotes(deps.db, job.jobId), store.listEvents(deps.db, job.jobId), isParty ? store.listFiles(deps.db, job.jobId) : [], isParty ? listActions(deps.db, job.jobId) : [], constantsOf(deps),
  ]);
  const { config } = deps;
  return {
    jobId: job.jobId, chainJobId: job.chainJobId === undefined ? null : String(job.chainJobId), state: stateOf(job, quotes.length, splitBpsIn(events)), client: job.client, postedBy: job.postedBy,
    clientAgent: job.clientAgent, provider: job.provider ?? null, title: job.brief.title, description: job.brief.description, briefSha256: job.briefHash, releaseCondition: { ...job.brief.releaseCondition },
    deliverWithinS: job.deliverWithinS, budgetAtomic: job.budget === undefined ? null : String(job.budget), rules: { ...toWireRules(job.rules) }, createdAt: job.createdAt.toISOString(), openUntil: job.openUntil.toISOString(),
    // Competitors do not see each other's prices.
    quotes: quotes.filter(({ provider }) => isParty || provider === caller).map(({ provider, budget, deliverWithinS, note, validUntil, isValid }) => ({ provider, budgetAtomic: String(budget), deliverWithinS, note, validUntil: validUntil.toISOString(), valid: isValid })),
    contracts: { chainId: config.chainId, jobEscrow: config.jobs.escrow, disputeEvaluator: config.jobs.disputeEvaluator, token: config.token.address, minWindow },
    escrow: job.chain === undefined ? null : escrowView(job.chain, events),
    deliverable: (events.findLast(({ kind, transaction }) => kind === "submitted" && transaction !== undefined)?.data["deliverable"] as string | undefined) ?? null,
    files: files.map(({ sha256, kind, mediaType, size, by, at }) => ({ sha256, kind, mediaType, size, by, at: at.toISOString() })),
    dispute: job.chain === undefined ? null : disputeView(job.chain, events), asOfBlock: job.chainBlock === undefined ? null : String(job.chainBlock),
    transactions: actions.map(({ verb, hash, txState, at }) => ({ verb, hash, state: txState, at: at.toISOString() })),
  };
}

function escrowView(chain: ChainState, events: readonly JobEvent[]): NonNullable<View["escrow"]> {
  return {
    status: escrowStatusOf(chain), amountAtomic: chain.budgetAtomic, providerAmountAtomic: paidIn(events, "payment_released"), clientAmountAtomic: paidIn(events, "refunded"), expiredAt: chain.expiredAt,
    submittedAt: chain.submittedAt, evaluator: chain.evaluator,
  };
}

const paidIn = (events: readonly JobEvent[], kind: string): string => String(events.filter((event) => event.kind === kind).reduce((sum, { data }) => sum + BigInt(data["amountAtomic"] as string), 0n));
const splitBpsIn = (events: readonly JobEvent[]): number | undefined => events.findLast(({ kind }) => kind === "split")?.data["providerBps"] as number | undefined;

/** The dispute in the field's words: its status, what is refunded and why, and how each panel voted. */
export function disputeView(chain: ChainState, events: readonly JobEvent[]): Record<string, unknown> | null {
  const status = disputeStatusOf(chain);
  if (status === undefined) return null;
  const opened = events.find(({ kind }) => kind === "disputed")?.data;
  const ruled = events.findLast(({ kind }) => kind === "ruled")?.data;
  const budget = BigInt(chain.budgetAtomic);
  return {
    status, openedBy: opened?.["by"] ?? null, evidence: opened?.["evidence"] ?? null, bondAtomic: opened?.["bondAtomic"] ?? null, round: chain.round,
    rounds: chain.rounds.map((round, index) => ({ ...round, round: index + 1 })),
    outcome: ruled === undefined ? null : {
      refund: refundKind(BigInt(ruled["clientAmountAtomic"] as string), budget), refundAtomic: ruled["clientAmountAtomic"], providerAmountAtomic: ruled["providerAmountAtomic"], providerBps: ruled["providerBps"], reasoning: ruled["reasoning"],
    },
  };
}
