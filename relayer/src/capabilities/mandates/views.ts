// Mandates as their parties see them: the principal, and the delegates of it and of those above it.
import { formatUnits, isAddressEqual, zeroHash, type Address, type Hex } from "viem";
import type { Static } from "typebox";
import { BASE } from "../../../../sdk/src/constants.ts";
import { TallystickError } from "../../../../sdk/src/errors.ts";
import { toWireMandate } from "../../../../sdk/src/lineage.ts";
import type { Deps } from "../../deps.ts";
import { listGuards } from "./guard-store.ts";
import { remainingOf, statusOf } from "./logic.ts";
import { unknownMandate } from "./registration.ts";
import type { HistoryView, MandateView, MandateWithGuards, RemainingView, TreeView } from "./schemas.ts";
import * as store from "./store.ts";
import type { MandateRecord } from "./store.ts";

type ViewDeps = Pick<Deps, "config" | "db">;
type Lineage = readonly [MandateRecord, ...MandateRecord[]];

const MOST_NODES = 10_000;

/** @throws TallystickError 404 `mandate_unknown`: none, or not the caller's. */
async function lineageFor({ db }: ViewDeps, mandateId: Hex, caller: Address): Promise<Lineage> {
  const lineage = await store.findLineage(db, mandateId);
  const parties = lineage.flatMap(({ mandate }) => [mandate.principal, mandate.delegate]);
  if (!parties.some((party) => isAddressEqual(party, caller))) throw unknownMandate(mandateId);
  return lineage as unknown as Lineage;
}

export async function mandateFor(deps: ViewDeps, mandateId: Hex, caller: Address): Promise<Static<typeof MandateWithGuards>> {
  const lineage = await lineageFor(deps, mandateId, caller);
  const guards = (await listGuards(deps.db, mandateId)).map(({ authorizer, boundAt }) => ({ authorizer, boundAt: boundAt.toISOString() }));
  return { ...view(deps, lineage), guards };
}

export async function mandatesOf(deps: ViewDeps, caller: Address, before: Date | undefined, limit: number): Promise<Static<typeof MandateView>[]> {
  const listed = await store.listMandates(deps.db, caller, before, limit);
  return Promise.all(listed.map(async ({ mandateId }) => view(deps, (await store.findLineage(deps.db, mandateId)) as unknown as Lineage)));
}

export async function remainingFor(deps: ViewDeps, mandateId: Hex, caller: Address): Promise<Static<typeof RemainingView>> {
  const lineage = await lineageFor(deps, mandateId, caller);
  const [{ nowS, mandate }] = lineage;
  const remaining = remainingOf(lineage, nowS);
  return {
    mandateId, status: statusOf(lineage, nowS), remainingAtomic: String(remaining), remaining_usd: usd(deps, mandate.token, remaining),
    levels: lineage.map((record) => ({ mandateId: record.mandateId, remainingAtomic: String(remainingOf([record], nowS)), maxPaymentAtomic: String(record.mandate.paymentLimit), period: periodOf(record) })),
  };
}

/** @param before `next` of the page before. */
export async function historyFor(deps: ViewDeps, mandateId: Hex, caller: Address, before: string | undefined, limit: number): Promise<Static<typeof HistoryView>> {
  await lineageFor(deps, mandateId, caller);
  const payments = await store.listPayments(deps.db, mandateId, before === undefined ? undefined : placeOf(before), limit);
  const last = payments.length < limit ? undefined : payments.at(-1)?.place;
  return {
    payments: payments.map(({ paymentId, mandateId: under, channelId, service, resource, payee, state, price, charged, releaseReason, reservedAt }) => ({
      paymentId, mandateId: under, sessionId: channelId ?? null, service, resource, payee, state, priceAtomic: String(price), chargedAtomic: charged === undefined ? null : String(charged),
      reason: releaseReason ?? null, at: reservedAt.toISOString(),
    })),
    next: last === undefined ? null : `${last.atUs}-${last.paymentId}`,
  };
}

function placeOf(before: string): store.Place {
  const [, at, paymentId] = /^(\d{1,18})-(.+)$/.exec(before) ?? [];
  if (at === undefined || paymentId === undefined) throw new TallystickError({ code: "request_malformed", status: 400, retry: "never", field: "before", detail: "before is the `next` of a page." });
  return { atUs: BigInt(at), paymentId };
}

export async function treeFor(deps: ViewDeps, mandateId: Hex, caller: Address): Promise<Static<typeof TreeView>> {
  const above = await lineageFor(deps, mandateId, caller);
  const below = await store.findSubtree(deps.db, mandateId, MOST_NODES);
  const known = new Map([...above, ...below].map((record) => [record.mandateId, record]));
  const [{ nowS }] = above;
  const nodes = below.map((record) => {
    const lineage = record.lineage.map((id) => known.get(id)!);
    return {
      mandateId: record.mandateId, parent: record.mandateId === mandateId ? null : record.mandate.parent, depth: lineage.length - above.length, delegate: record.mandate.delegate, status: statusOf(lineage, nowS),
      maxAtomic: String(record.mandate.limit), spentAtomic: String(record.spent), reservedAtomic: String(record.reserved), remainingAtomic: String(remainingOf(lineage, nowS)),
      max_amount_usd: usd(deps, record.mandate.token, record.mandate.limit), amount_spent_usd: usd(deps, record.mandate.token, record.spent),
    };
  });
  return { mandateId, nodes };
}

function view(deps: ViewDeps, lineage: Lineage): Static<typeof MandateView> {
  const [record] = lineage;
  const { mandateId, mandate, payees, spent, reserved, revokedHere, registeredAt, chain, epochNow, nowS } = record;
  return {
    mandateId, status: statusOf(lineage, nowS), depth: lineage.length - 1, mandate: toWireMandate(mandate), lineage: [...record.lineage], payees: mandate.payeesRoot === zeroHash ? null : [...(payees ?? [])],
    maxAtomic: String(mandate.limit), spentAtomic: String(spent), reservedAtomic: String(reserved), remainingAtomic: String(remainingOf(lineage, nowS)),
    max_amount_usd: usd(deps, mandate.token, mandate.limit), amount_spent_usd: usd(deps, mandate.token, spent), maxPaymentAtomic: String(mandate.paymentLimit), period: periodOf(record),
    validAfter: iso(mandate.validAfter), validUntil: iso(mandate.validUntil), revokedBy: revokedHere?.by ?? null, revokedAt: revokedHere?.at.toISOString() ?? null, registeredAt: registeredAt.toISOString(),
    onChain: { registry: deps.config.mandateRegistry, approved: chain.approved, revoked: chain.revoked, spentAtomic: String(chain.spent), epoch: epochNow, block: String(chain.block) },
  };
}

function periodOf(record: MandateRecord): Static<typeof MandateView>["period"] {
  const { mandate, spentInPeriod, usedInPeriod } = record;
  const endsAtS = store.periodEndsAtS(record);
  if (endsAtS === undefined) return null;
  const left = mandate.periodLimit - usedInPeriod;
  return {
    seconds: mandate.period, limitAtomic: String(mandate.periodLimit), spentAtomic: String(spentInPeriod), reservedAtomic: String(usedInPeriod - spentInPeriod), remainingAtomic: String(left > 0n ? left : 0n), endsAt: iso(endsAtS),
  };
}

/** A signed time may be far beyond what a calendar has. */
const LAST_S = 8_640_000_000_000;
const iso = (atS: number): string => new Date(Math.min(atS, LAST_S) * 1000).toISOString();

/** Of the token that is sold for, which is USDC; null for another one. */
function usd({ config }: ViewDeps, token: Address, amount: bigint): string | null {
  return isAddressEqual(token, config.token.address) ? formatUnits(amount, BASE.usdc.decimals) : null;
}
