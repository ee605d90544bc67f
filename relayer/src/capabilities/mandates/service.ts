// What others ask of mandates. The ledger decides by its own statements (migration 0017); what is told here may be a moment old.
import type { Address, Hex } from "viem";
import type { Db } from "../../db/pool.ts";
import type { BoundMandate } from "./types.ts";

export type { BoundMandate, MandateLink } from "./types.ts";

/** Remembers bound mandates, forgets what changes in whichever process; see cache.ts. */
export type MandateCache = {
  find(payer: Address, payerAuthorizer: Address): Promise<BoundMandate | undefined>;
  /** First mandate of the lineage (from the root down) that does not allow the payee; undefined when all do. */
  payeeRefusedBy(bound: BoundMandate, payee: Address): Promise<Hex | undefined>;
};

export type MandateReads = { mandates: MandateCache };

/**
 * The mandate that a channel of this payer under this voucher key is spent under; undefined when it is bound to none.
 * Cheap on every call: answered from memory until something about it changes.
 */
export function boundMandate({ mandates }: MandateReads, payer: Address, payerAuthorizer: Address): Promise<BoundMandate | undefined> {
  return mandates.find(payer, payerAuthorizer);
}

export type MandateDeps = MandateReads & { db: Db };
