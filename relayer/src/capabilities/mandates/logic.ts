// Whether a payment may be made under a mandate. Pure: the same question that migration 0017's mandate_refusal decides under locks, in the
// same order (the contract's). If you change a condition here, change it there; a property test compares them.
import { isAddressEqual, zeroHash, type Address, type Hex } from "viem";
import type { Mandate } from "../../../../sdk/src/mandate.ts";

export const MANDATE_REFUSALS = [
  "mandate_revoked", "mandate_not_yet_valid", "mandate_expired", "mandate_token", "mandate_payment_limit", "mandate_exhausted", "mandate_period_limit", "mandate_payee", "mandate_capability",
] as const;
export type RefusalCode = (typeof MANDATE_REFUSALS)[number];

/** Which mandate of the lineage says no, and why. */
export type MandateRefusal = { code: RefusalCode; mandateId: Hex };

/** A mandate and what is known of it. Amounts in atomic units, of it and of every mandate below it. */
export type MandateState = {
  mandateId: Hex;
  mandate: Mandate;
  /** Ended by somebody who may, here or on the chain. */
  revoked: boolean;
  /** The principal's epoch now. */
  epochNow: number;
  /** Spent and set aside. */
  used: bigint;
  /** The same, in the period of now. */
  usedInPeriod: bigint;
  /** Whom it allows; undefined: any. */
  payees: readonly Address[] | undefined;
};

export type Asked = { amount: bigint; payee: Address; token: Address; /** keccak256 of the tag of what is bought. */ capability: Hex };

/** @param lineage the mandate itself, then its parent, up to the root. @param nowS unix seconds. */
export function decide(lineage: readonly MandateState[], asked: Asked, nowS: number): MandateRefusal | undefined {
  for (const state of lineage.toReversed()) {
    const code = refusalOf(state, asked, nowS);
    if (code !== undefined) return { code, mandateId: state.mandateId };
  }
  return undefined;
}

function refusalOf({ mandate, revoked, epochNow, used, usedInPeriod, payees }: MandateState, { amount, payee, token, capability }: Asked, nowS: number): RefusalCode | undefined {
  if (revoked || epochNow > mandate.epoch) return "mandate_revoked";
  if (epochNow < mandate.epoch || nowS < mandate.validAfter) return "mandate_not_yet_valid";
  if (nowS > mandate.validUntil) return "mandate_expired";
  if (!isAddressEqual(token, mandate.token)) return "mandate_token";
  if (amount > mandate.paymentLimit) return "mandate_payment_limit";
  if (used + amount > mandate.limit) return "mandate_exhausted";
  if (mandate.period > 0 && usedInPeriod + amount > mandate.periodLimit) return "mandate_period_limit";
  if (payees !== undefined && !payees.some((allowed) => isAddressEqual(allowed, payee))) return "mandate_payee";
  if (mandate.capability !== zeroHash && mandate.capability !== capability) return "mandate_capability";
  return undefined;
}

/** Number of the period that a time falls into; undefined where there are none. */
export function windowAt({ period, validAfter }: Pick<Mandate, "period" | "validAfter">, atS: number): bigint | undefined {
  return period === 0 ? undefined : BigInt(Math.floor((atS - validAfter) / period));
}

/** What could be spent now in however many payments: the least that is left over the lineage; 0 when nothing may be spent. */
export function remainingOf(lineage: readonly MandateState[], nowS: number): bigint {
  const left = lineage.map(({ mandate, revoked, epochNow, used, usedInPeriod }) => {
    if (revoked || epochNow !== mandate.epoch || nowS < mandate.validAfter || nowS > mandate.validUntil) return 0n;
    const total = mandate.limit - used;
    return mandate.period === 0 ? total : least([total, mandate.periodLimit - usedInPeriod]);
  });
  const most = least(left);
  return most > 0n ? most : 0n;
}

const least = (amounts: readonly bigint[]): bigint => amounts.reduce((least, amount) => (amount < least ? amount : least));

export type MandateStatus = "active" | "not_yet_valid" | "expired" | "revoked" | "exhausted";

/** In one word, of the whole lineage: what ended above has ended below. */
export function statusOf(lineage: readonly MandateState[], nowS: number): MandateStatus {
  if (lineage.some(({ mandate, revoked, epochNow }) => revoked || epochNow > mandate.epoch)) return "revoked";
  if (lineage.some(({ mandate }) => nowS > mandate.validUntil)) return "expired";
  if (lineage.some(({ mandate, epochNow }) => epochNow < mandate.epoch || nowS < mandate.validAfter)) return "not_yet_valid";
  return lineage.some(({ mandate, used }) => used >= mandate.limit) ? "exhausted" : "active";
}
