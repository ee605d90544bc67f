// Reports against services, and what the operator makes of them. A report hides nothing by itself: anybody can write one. Only the operator
// does, and what it decided is public.
import { keccak256, type Address, type Hex } from "viem";
import { TallystickError } from "../../../../sdk/src/errors.ts";
import { inTransaction } from "../../db/pool.ts";
import type { Deps } from "../../deps.ts";
import type { GatewayDeps } from "../gateway/rail.ts";
import { listingOf } from "../agents/service.ts";
import { copyBlocks } from "../discovery/sync-store.ts";
import * as store from "./store.ts";
import type { Decision, Report, ReportReason } from "./types.ts";

/** Reports of one address in a day, of all services. */
const MOST_A_DAY = 10;
export const MOST_EVIDENCE_BYTES = 16_384;
const QUEUE_PAGE = 100;

/** @throws TallystickError 404 `listing_unknown`, 403 `own_service`, 429 `report_quota`. */
export async function report(deps: GatewayDeps, id: string, reporter: Address, reason: ReportReason, evidence: string): Promise<Report> {
  const listing = await listingOf(deps, id);
  if (listing.owner === reporter) throw new TallystickError({ code: "own_service", status: 403, retry: "never", field: "id", detail: "It is yours; pause or remove it." });
  const bytes = Buffer.from(evidence, "utf8");
  if (bytes.length > MOST_EVIDENCE_BYTES) throw new TallystickError({ code: "evidence_too_large", status: 400, retry: "never", field: "evidence", detail: `Evidence is at most ${MOST_EVIDENCE_BYTES} bytes of UTF-8.` });
  const paid = await store.paidBy(deps.db, reporter, listing.payTo);
  const made = await store.insertReport(deps.db, { serviceId: listing.serviceId, reporter, reason, evidence: bytes, evidenceHash: keccak256(bytes), paid, now: deps.now() }, MOST_A_DAY);
  if (made !== undefined) return made;
  throw new TallystickError({ code: "report_quota", status: 429, retry: "safe", detail: `One report of a service in a day, and ${MOST_A_DAY} in all.`, extra: { retryAfterS: 3_600 } });
}

/** Open reports with what they say, the weightiest first. */
export async function reviewQueue({ db }: Pick<Deps, "db">): Promise<(Report & { evidence: string })[]> {
  const open = await store.reviewQueue(db, QUEUE_PAGE);
  return Promise.all(open.map(async (one) => ({ ...one, evidence: (await store.evidenceOf(db, one.reportId))?.toString("utf8") ?? "" })));
}

/** Closes the service's open reports and, where it is blocked or let in again, says so in its history. */
export async function decide(deps: Pick<Deps, "db" | "now">, serviceId: Hex, decision: "block" | "unblock" | "dismiss", note: string): Promise<{ closed: number }> {
  const at = deps.now();
  return inTransaction(deps.db, async (client) => {
    const closed = await store.decideReports(client, serviceId, decision === "block" ? "upheld" : "rejected", note, at);
    if (decision !== "dismiss") {
      await store.insertDecision(client, serviceId, { blocked: decision === "block", note, at });
      await copyBlocks(client, serviceId);
    }
    return { closed };
  });
}

export type Standing = { serviceId: Hex; blocked: boolean; reports: { open: number; upheld: number; rejected: number }; decisions: Decision[] };

/** What everybody may see: how many reports, not of whom or what they say. */
export async function standingOf(deps: GatewayDeps, id: string): Promise<Standing> {
  const { serviceId } = await listingOf(deps, id);
  const [blocked, reports, decisions] = await Promise.all([store.isBlocked(deps.db, serviceId), store.reportCounts(deps.db, serviceId), store.decisionsOf(deps.db, serviceId)]);
  return { serviceId, blocked, reports, decisions };
}
