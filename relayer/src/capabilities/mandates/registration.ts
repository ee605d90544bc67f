// Taking a mandate in: it and all above it are signed by those who may grant them, narrow from the root down, and stand on the chain where
// that is known. A mandate's id is its content, so the same again changes nothing.
import { isAddressEqual, type Address, type Hex } from "viem";
import { TallystickError } from "../../../../sdk/src/errors.ts";
import { guardBindingDigest } from "../../../../sdk/src/guard-binding.ts";
import { checkLineage, grantorOf, MAX_DEPTH, parseLineage, type Grant, type Lineage } from "../../../../sdk/src/lineage.ts";
import { isRoot, mandateIdOf, mandateRegistryDomain, type MandateRegistryDomain } from "../../../../sdk/src/mandate.ts";
import { headOf } from "../../chain/client.ts";
import { inTransaction, violatedConstraint } from "../../db/pool.ts";
import type { Deps } from "../../deps.ts";
import { EVENT } from "../../telemetry/log.ts";
import { readEpochs, readMandates, registryStands, type MandateView } from "./chain-view.ts";
import { saveEpoch, saveView } from "./chain-store.ts";
import { bindGuard, listGuards } from "./guard-store.ts";
import { mandateRefused } from "./refusals.ts";
import { isKeyOf, isSignedBy } from "./signatures.ts";
import { statusOf } from "./logic.ts";
import * as store from "./store.ts";
import type { MandateRecord } from "./store.ts";

export type RegistrationDeps = Pick<Deps, "chain" | "config" | "db" | "log" | "reached">;
/** A voucher key, and its own signature of what it is bound to. */
export type SignedKey = { authorizer: Address; signature: Hex };
export type Registration = { lineage: unknown; guards: readonly SignedKey[]; idempotencyKey: string | undefined };
export type Registered = { mandateId: Hex; isNew: boolean };

/** What one principal may keep here; a flood of signed ones must not fill the disk. */
const MOST_MANDATES = 10_000;
/** Voucher keys of one mandate. Anybody can make keys: of those that come without their owner signed in, fewer. */
const MOST_GUARDS = 4_096;
const MOST_STRANGE_GUARDS = 64;

export const domainOf = ({ config }: Pick<Deps, "config">): MandateRegistryDomain => mandateRegistryDomain(config.chainId, config.mandateRegistry);

/**
 * Registers the first mandate of the lineage, and those above it that are not known yet.
 * @throws TallystickError 400 `mandate_malformed`; 403 `mandate_invalid`, `mandate_too_wide`, `mandate_too_deep`, `mandate_signature_invalid`, `mandate_revoked`,
 * `mandate_expired`, `mandate_foreign` (the caller has no part in it); 404 `mandate_parent_unknown`; 409 `idempotency_key_conflict`, `guard_bound`; 429 `mandates_full`; 503.
 */
export async function registerMandate(deps: RegistrationDeps, caller: Address, { lineage: wire, guards, idempotencyKey }: Registration): Promise<Registered> {
  const domain = domainOf(deps);
  const { lineage, ids, known } = await complete(deps, domain, parseLineage(wire));
  const [{ mandate }] = lineage;
  if (![mandate.principal, ...lineage.map((grant) => grant.mandate.delegate)].some((party) => isAddressEqual(party, caller))) {
    throw refused("mandate_foreign", "lineage", `Only its principal and the delegates may register a mandate; ${caller} is none of them.`);
  }
  checkLineage(domain, lineage);
  for (const guard of guards) await checkBinding(domain, ids[0]!, guard);
  const fresh = ids.flatMap((id, index) => (known.has(id) ? [] : [index]));
  const views = await standing(deps, mandate.principal, ids);
  for (const index of fresh) await checkGrant(deps, lineage, ids, index, views.mandates.get(ids[index]!));
  if (fresh.length > 0 && (await store.countOf(deps.db, mandate.principal)) + fresh.length > MOST_MANDATES) throw full(`${mandate.principal} has ${MOST_MANDATES} mandates here; no more are kept.`);
  await checkKey(deps, caller, idempotencyKey, ids[0]!);
  const isNew = await write(deps, caller, { lineage, ids, fresh, views, guards, idempotencyKey });
  deps.reached("mandate.registered");
  if (isNew) deps.log.info({ event: EVENT.mandateRegistered, mandateId: ids[0], principal: mandate.principal, depth: lineage.length - 1 }, "mandate registered");
  return { mandateId: ids[0]!, isNew };
}

type Complete = { lineage: Lineage; /** In the order of the lineage. */ ids: Hex[]; known: ReadonlySet<Hex> };

/** The lineage up to its root: where it stops below a mandate that is registered here, that and what is above are added. */
async function complete({ db }: RegistrationDeps, domain: MandateRegistryDomain, given: Lineage): Promise<Complete> {
  const last = given.at(-1)!.mandate;
  const above = isRoot(last) ? [] : await store.findLineage(db, last.parent);
  if (above.length === 0 && !isRoot(last)) throw new TallystickError({ code: "mandate_parent_unknown", status: 404, retry: "never", field: `lineage[${given.length - 1}].mandate.parent`, detail: `No mandate ${last.parent} is registered here; send it along.` });
  if (given.length + above.length > MAX_DEPTH + 1) throw refused("mandate_too_deep", "lineage", `There are ${given.length + above.length - 1} mandates above it, ${MAX_DEPTH} at most.`);
  const lineage: Grant[] = [...given, ...above.map(grantOf)];
  const ids = lineage.map(({ mandate }) => mandateIdOf(domain, mandate));
  const known = new Set(above.map(({ mandateId }) => mandateId));
  for (const id of ids.slice(0, given.length)) if ((await store.findLineage(db, id)).length > 0) known.add(id);
  return { lineage: lineage as unknown as Lineage, ids, known };
}

const grantOf = ({ mandate, payees, signature }: MandateRecord): Grant => ({ mandate, signature: signature ?? "0x", ...(payees === undefined ? {} : { payees }) });

type Views = { mandates: Map<Hex, MandateView>; epoch: number; block: bigint };

/** What the chain says of them; nothing where no registry stands. @throws 403 `mandate_revoked`. */
async function standing(deps: RegistrationDeps, principal: Address, ids: readonly Hex[]): Promise<Views> {
  if (!(await registryStands(deps))) return { mandates: new Map(), epoch: 0, block: 0n };
  const block = await headOf(deps.chain);
  const mandates = await readMandates(deps, ids, block);
  const epoch = (await readEpochs(deps, [principal], block)).get(principal) ?? 0;
  const revoked = ids.findLast((id) => mandates.get(id)?.revoked === true);
  if (revoked !== undefined) throw mandateRefused({ code: "mandate_revoked", mandateId: revoked });
  return { mandates, epoch, block };
}

/** Its grantor signed it, or the chain knows it as approved. */
async function checkGrant(deps: RegistrationDeps, lineage: Lineage, ids: readonly Hex[], index: number, view: MandateView | undefined): Promise<void> {
  const grantor = grantorOf(lineage, index);
  const { signature } = lineage[index]!;
  if (view?.approved === true || (signature !== "0x" && (await isSignedBy(deps, grantor, ids[index]!, signature)))) return;
  throw refused("mandate_signature_invalid", `lineage[${index}].signature`, `Mandate ${ids[index]} is not signed by its grantor ${grantor} for chain ${deps.config.chainId} and registry ${deps.config.mandateRegistry}.`);
}

async function checkKey({ db }: RegistrationDeps, caller: Address, key: string | undefined, mandateId: Hex): Promise<void> {
  const other = key === undefined ? undefined : await store.findByKey(db, caller, key);
  if (other !== undefined && other !== mandateId) throw keyConflict(other);
}

type Writing = { lineage: Lineage; ids: readonly Hex[]; fresh: readonly number[]; views: Views; guards: Registration["guards"]; idempotencyKey: string | undefined };

async function write(deps: RegistrationDeps, caller: Address, { lineage, ids, fresh, views, guards, idempotencyKey }: Writing): Promise<boolean> {
  const { principal } = lineage[0].mandate;
  try {
    return await inTransaction(deps.db, async (client) => {
      await saveEpoch(client, principal, views.epoch, views.block, { followed: false });
      let isNew = false;
      for (const index of fresh.toReversed()) {
        const { mandate, signature, payees } = lineage[index]!;
        const row = { mandateId: ids[index]!, mandate, lineage: ids.slice(index), signature: signature === "0x" ? undefined : signature, payees, registeredBy: caller, idempotencyKey: index === 0 ? idempotencyKey : undefined };
        const placed = await store.insertMandate(client, row);
        const view = views.mandates.get(row.mandateId);
        if (placed && view !== undefined) await saveView(client, row.mandateId, view, { followed: false });
        isNew = placed && index === 0;
      }
      const stood = await store.findLineage(client, ids[0]!);
      const status = statusOf(stood, stood[0]!.nowS);
      if (isNew && (status === "expired" || status === "revoked")) throw mandateRefused({ code: `mandate_${status}`, mandateId: ids[0]! });
      for (const { authorizer, signature } of guards) if (!(await bindGuard(client, principal, authorizer, ids[0]!, signature))) throw boundElsewhere(authorizer);
      return isNew;
    });
  } catch (error) {
    if (violatedConstraint(error) !== "mandate_idempotency") throw error;
    // Another request took the key since it was checked: perhaps this very one, sent twice, and then it is the same again.
    await checkKey(deps, caller, idempotencyKey, ids[0]!);
    return write(deps, caller, { lineage, ids, fresh, views, guards, idempotencyKey });
  }
}

/** Registers a voucher key of a mandate; the key itself says so. @throws TallystickError 404 `mandate_unknown`, 403 `guard_signature_invalid`, 409 `guard_bound`, 429 `guards_full`. */
export async function registerGuard(deps: RegistrationDeps, caller: Address | undefined, mandateId: Hex, guard: SignedKey): Promise<{ principal: Address }> {
  await checkBinding(domainOf(deps), mandateId, guard);
  const lineage = await store.findLineage(deps.db, mandateId);
  const [record] = lineage;
  if (record === undefined) throw unknownMandate(mandateId);
  const { principal, delegate } = record.mandate;
  const isOwners = caller !== undefined && [principal, delegate].some((party) => isAddressEqual(party, caller));
  const guards = await listGuards(deps.db, mandateId);
  const isKnown = guards.some(({ authorizer }) => isAddressEqual(authorizer, guard.authorizer));
  if (!isKnown && guards.length >= (isOwners ? MOST_GUARDS : MOST_STRANGE_GUARDS)) throw full(`Mandate ${mandateId} has ${guards.length} voucher keys; sign in as its principal or delegate to add more, up to ${MOST_GUARDS}.`, "guards_full");
  if (!(await bindGuard(deps.db, principal, guard.authorizer, mandateId, guard.signature))) throw boundElsewhere(guard.authorizer);
  deps.log.info({ event: EVENT.guardBound, mandateId, authorizer: guard.authorizer }, "voucher key bound to a mandate");
  return { principal };
}

async function checkBinding(domain: MandateRegistryDomain, mandateId: Hex, { authorizer, signature }: SignedKey): Promise<void> {
  if (!(await isKeyOf(authorizer, guardBindingDigest(domain, { mandateId, authorizer }), signature))) throw refused("guard_signature_invalid", "signature", `The binding of ${authorizer} to ${mandateId} is not signed by that key.`);
}

export function unknownMandate(mandateId: Hex): TallystickError {
  return new TallystickError({ code: "mandate_unknown", status: 404, retry: "never", field: "mandateId", detail: `No mandate ${mandateId} of yours is registered here.` });
}

function boundElsewhere(authorizer: Address): TallystickError {
  return new TallystickError({ code: "guard_bound", status: 409, retry: "never", field: "authorizer", detail: `Voucher key ${authorizer} is bound to another mandate, for good.` });
}

function keyConflict(other: Hex): TallystickError {
  return new TallystickError({ code: "idempotency_key_conflict", status: 409, retry: "never", field: "Idempotency-Key", detail: `The key was used to register ${other}.` });
}

const refused = (code: string, field: string, detail: string) => new TallystickError({ code, status: 403, retry: "never", field, detail });
const full = (detail: string, code = "mandates_full") => new TallystickError({ code, status: 429, retry: "never", detail });
