// Which service a job was for, and how it ended from the provider's side. Pure.
import type { JobFact } from "./facts.ts";

export type EndedJob = { id: bigint; client: string; provider: string | null; status: string; submitted: boolean; paidAtomic: bigint; splitBps: number | null; disputed: boolean; endedAtS: number };
type Owned = { serviceId: string; owner: string };

/**
 * The escrow knows a provider by its address alone. A job counts for the services that are paid at that address, as claims do (`byReceiver`,
 * attribute.ts: who names another's address takes nothing); where there is none, for those that the address owns. With several it counts
 * for each: whoever fails at one is not to hide behind the other.
 */
export function jobFactsOf(jobs: readonly EndedJob[], services: readonly Owned[], byReceiver: ReadonlyMap<string, readonly string[]>): JobFact[] {
  const owned = Map.groupBy(services, ({ owner }) => owner);
  return jobs.flatMap((job) => {
    const outcome = outcomeOf(job);
    // Hiring oneself says nothing.
    if (outcome === undefined || job.provider === null || job.provider === job.client) return [];
    const serviceIds = byReceiver.get(job.provider) ?? owned.get(job.provider)?.map(({ serviceId }) => serviceId) ?? [];
    return serviceIds.map((serviceId): JobFact => ({ jobId: String(job.id), client: job.client, serviceId, atS: job.endedAtS, paidAtomic: job.paidAtomic, outcome }));
  });
}

/**
 * Undefined: it goes on, or says nothing of the provider. Anybody can hire anybody, and takes the budget back when nobody answers: only what
 * was delivered counts. That an evaluator was silent until the job expired is not the provider's doing either.
 */
export function outcomeOf({ status, submitted, splitBps, disputed }: Pick<EndedJob, "status" | "submitted" | "splitBps" | "disputed">): JobFact["outcome"] | undefined {
  if (!submitted) return undefined;
  if (status === "rejected") return disputed ? "disputed_lost" : "rejected";
  if (status !== "completed") return undefined;
  if (splitBps !== null) return "split";
  return disputed ? "disputed_won" : "completed";
}
