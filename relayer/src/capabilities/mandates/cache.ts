// What is remembered of bound mandates, by principal. Whatever changes one notifies (migration 0017), in whichever process it happens, and the
// principal is forgotten here; while notifications may be missed, nothing is remembered. Budgets are never in here.
import type { Address } from "viem";
import type { Config } from "../../config.ts";
import type { Db } from "../../db/pool.ts";
import { createListener } from "../../db/listen.ts";
import type { Log } from "../../telemetry/log.ts";
import { findGuard } from "./guard-store.ts";
import type { MandateCache } from "./service.ts";
import { findLineage, type MandateRecord } from "./store.ts";
import type { BoundMandate, MandateLink } from "./types.ts";

/** Principals, and voucher keys of one: whoever comes with more of them is asked for anew. */
const MOST_PRINCIPALS = 20_000;
const MOST_KEYS = 64;

type Known = Map<Address, BoundMandate | undefined>;
export type RunningMandateCache = MandateCache & { start(): Promise<void>; stop(): Promise<void> };

export function createMandateCache({ db, config, log }: { db: Db; config: Pick<Config, "databaseUrl">; log: Log }): RunningMandateCache {
  const principals = new Map<string, Known>();
  /** Counts what was told, so that an answer that was read before is not remembered after. */
  let told = 0;
  const forget = (principal: string): void => {
    told += 1;
    principals.delete(principal);
  };
  const forgetAll = (): void => {
    told += 1;
    principals.clear();
  };
  const listener = createListener(config.databaseUrl, "mandate_changed", log, forget, forgetAll);
  const keyOf = (principal: Address): string => principal.slice(2).toLowerCase();

  async function find(payer: Address, payerAuthorizer: Address): Promise<BoundMandate | undefined> {
    const known = principals.get(keyOf(payer));
    if (known?.has(payerAuthorizer) === true) return known.get(payerAuthorizer);
    const before = told;
    const bound = await load(db, payer, payerAuthorizer);
    if (listener.isOn() && told === before) remember(payer, payerAuthorizer, bound);
    return bound;
  }

  function remember(payer: Address, payerAuthorizer: Address, bound: BoundMandate | undefined): void {
    const key = keyOf(payer);
    const known: Known = principals.get(key) ?? new Map();
    if (known.size >= MOST_KEYS) known.clear();
    known.set(payerAuthorizer, bound);
    // Maps keep the order of insertion: the oldest goes first.
    if (!principals.has(key) && principals.size >= MOST_PRINCIPALS) principals.delete(principals.keys().next().value!);
    principals.set(key, known);
  }

  return {
    find,
    async payeeRefusedBy({ lineage }, payee) {
      return lineage.findLast(({ payees }) => payees !== undefined && !setOf(payees).has(payee.toLowerCase()))?.mandateId;
    },
    start: listener.start,
    stop: listener.stop,
  };
}

const sets = new WeakMap<readonly Address[], ReadonlySet<string>>();

/** A payee list as long as it is remembered, in a form that a payment can be looked up in. */
function setOf(payees: readonly Address[]): ReadonlySet<string> {
  const known = sets.get(payees) ?? new Set(payees.map((payee) => payee.toLowerCase()));
  sets.set(payees, known);
  return known;
}

async function load(db: Db, principal: Address, authorizer: Address): Promise<BoundMandate | undefined> {
  const mandateId = await findGuard(db, principal, authorizer);
  if (mandateId === undefined) return undefined;
  return { mandateId, principal, authorizer, lineage: (await findLineage(db, mandateId)).map(linkOf) };
}

export function linkOf({ mandateId, mandate, payees, revokedHere, chain, epochNow }: MandateRecord): MandateLink {
  const revoked = revokedHere !== undefined ? "relayer" : chain.revoked ? "chain" : epochNow > mandate.epoch ? "epoch" : undefined;
  return { mandateId, mandate, payees, revoked };
}

