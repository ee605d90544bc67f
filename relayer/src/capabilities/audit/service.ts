// What the log says, for those whom it concerns: decisions joined with what became of the money.
import { createHash, timingSafeEqual } from "node:crypto";
import { isAddressEqual, type Address, type Hex } from "viem";
import { TallystickError } from "../../../../sdk/src/errors.ts";
import type { Deps } from "../../deps.ts";
import { callerOf, type AccessDeps } from "../access/service.ts";
import type { Status } from "../payments/logic.ts";
import { statusesOf, type Told } from "../payments/service.ts";
import { partiesOf } from "../payments/store.ts";
import { bodyOf, type TimedEntry } from "./encoding.ts";
import { createProofs } from "./export.ts";
import { entryCursor } from "./logic.ts";
import * as store from "./read-store.ts";
import type { EntryPosition } from "./read-store.ts";
import type { AuditWriter } from "./writer.ts";

export type AuditDeps = AccessDeps & Pick<Deps, "db" | "config" | "keyring" | "now"> & { audit: Pick<AuditWriter, "pending"> };
export type Reader = "operator" | Address;
type Asking = Parameters<typeof callerOf>[1];

/** Who asks: the operator by its token, else a party as everywhere. @throws as callerOf. */
export async function readerOf(deps: AccessDeps & Pick<Deps, "config">, asking: Asking): Promise<Reader> {
  const token = deps.config.audit.operatorToken;
  const bearer = asking.headers["authorization"];
  if (token !== undefined && typeof bearer === "string" && same(bearer, `Bearer ${token}`)) return "operator";
  return (await callerOf(deps, asking)).address;
}

/** In the same time whatever differs. */
function same(given: string, expected: string): boolean {
  const digest = (text: string) => createHash("sha256").update(text).digest();
  return timingSafeEqual(digest(given), digest(expected));
}

/** An entry as it is read back: what its body says. */
export type EntryView = { seq: number; kind: string; at: string; subject: string; rule?: string; reason?: string; policyHash?: Hex; payer?: Address; payee?: Address; amountAtomic?: string; data?: Record<string, unknown> };

const viewOf = (body: string): EntryView => JSON.parse(body) as EntryView;
/** Of what is not sealed yet; it has no place in a chain. */
const unsealedView = (entry: TimedEntry): EntryView => viewOf(bodyOf(entry, 0n));

/** Where there is no payment, nothing was set aside, and nothing can be moved for it. */
function outcomeOf(told: Told | undefined, refusal: EntryView | undefined): Status {
  if (told !== undefined) return told.status;
  return { status: "NEVER", reason: refusal?.rule ?? "refused", detail: "It was refused before anything was set aside: no money moved, and none can move for it." };
}

export type PaymentAudit = {
  paymentId: string;
  outcome: Status;
  entries: { entry: EntryView; hash: Hex; previous: Hex; proof: Hex[]; seal: store.ReadSeal }[];
  /** Decided and not sealed yet: within about a second. */
  unsealed: EntryView[];
};

const MOST_ABOUT_ONE = 200;

/** All that was decided about a payment, and what became of its money. @throws 404 when there is nothing, or it is not the reader's. */
export async function auditOfPayment(deps: AuditDeps, paymentId: string, reader: Reader): Promise<PaymentAudit> {
  const [stored, outbox, parties, statuses] = await Promise.all([
    store.entriesAbout(deps.db, paymentId, MOST_ABOUT_ONE), store.waiting(deps.db, { subject: paymentId }), partiesOf(deps.db, paymentId), statusesOf(deps, [paymentId]),
  ]);
  const unsealed = [...outbox, ...deps.audit.pending().filter(({ subject }) => subject === paymentId)].map(unsealedView);
  const sealed = stored.map((entry) => ({ read: entry, entry: viewOf(entry.body) }));
  const all = [...sealed.map(({ entry }) => entry), ...unsealed];
  const concerned = [...(parties ?? []), ...all.flatMap(({ payer, payee }) => [payer, payee])];
  if (all.length === 0 || (reader !== "operator" && !concerned.some((party) => party !== undefined && isAddressEqual(party, reader)))) throw nothing();
  const proofs = createProofs(deps);
  const entries = await Promise.all(sealed.map(async ({ read, entry }) => ({ entry, hash: `0x${read.hash.toString("hex")}` as Hex, ...(await proofs(read)) })));
  return { paymentId, outcome: outcomeOf(statuses.get(paymentId), all.findLast(({ kind }) => kind === "payment.rejected")), entries, unsealed };
}

function nothing(): TallystickError {
  return new TallystickError({ code: "audit_unknown", status: 404, retry: "never", detail: "Nothing is written about such a payment, or it is not yours." });
}

export type Purchase = { paymentId: string; at: string; decision: "APPROVED" | "REJECTED"; entry: EntryView; told: Told | undefined; outcome: Status };

/** What a buyer bought and was refused, the newest first. `next` is the cursor of the page after. */
export async function purchasesOf(deps: AuditDeps, payer: Address, before: EntryPosition | undefined, limit: number): Promise<{ purchases: Purchase[]; next: string | undefined }> {
  const stored = await store.decisionsOf(deps.db, payer, before, limit);
  const fresh = before === undefined ? await unsealedDecisions(deps, payer) : [];
  const rows = newestOfEach([...fresh.map((entry) => ({ entry, position: { at: new Date(entry.at), ...LAST } })), ...stored.map((read) => ({ entry: viewOf(read.body), position: read }))]).slice(0, limit);
  const statuses = await statusesOf(deps, rows.map(({ entry }) => entry.subject));
  const lastTry = new Set<string>();
  const isLastTry = ({ entry }: { entry: EntryView }): boolean => {
    const requestId = statuses.get(entry.subject)?.story.requestId;
    return requestId === undefined || (!lastTry.has(requestId) && lastTry.add(requestId).size > 0);
  };
  const purchases = rows.filter(isLastTry).map(({ entry }): Purchase => {
    const told = statuses.get(entry.subject);
    // A payment that stands was approved, whatever was refused under its id before or after.
    const decision = told !== undefined || entry.kind !== "payment.rejected" ? "APPROVED" : "REJECTED";
    return { paymentId: entry.subject, at: entry.at, decision, entry, told, outcome: outcomeOf(told, entry) };
  });
  const last = rows.at(-1);
  return { purchases, next: rows.length < limit || last === undefined ? undefined : entryCursor(last.position) };
}

const LAST = { epochNo: 9_223_372_036_854_775_807n, seq: 9_223_372_036_854_775_807n };
const DECISIONS = new Set(["payment.approved", "payment.recovered", "payment.rejected"]);

/** Decided a moment ago: of this process, and refusals of all. Another process's approvals show within about a second. */
async function unsealedDecisions(deps: AuditDeps, payer: Address): Promise<EntryView[]> {
  const mine = deps.audit.pending().filter((entry) => entry.payer !== undefined && isAddressEqual(entry.payer, payer));
  return [...(await store.waiting(deps.db, { payer })), ...mine].filter(({ kind }) => DECISIONS.has(kind)).map(unsealedView);
}

function newestOfEach<Row extends { entry: EntryView }>(rows: readonly Row[]): Row[] {
  const newest = new Map<string, Row>();
  for (const row of rows.toSorted((a, b) => (a.entry.at < b.entry.at ? 1 : a.entry.at > b.entry.at ? -1 : 0))) if (!newest.has(row.entry.subject)) newest.set(row.entry.subject, row);
  return [...newest.values()];
}
