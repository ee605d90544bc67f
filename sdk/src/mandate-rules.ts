// What makes a mandate sensible, and a sub-mandate no wider than its parent: the contract's own conditions (MandateRegistry: InvalidMandate,
// WiderThanParent), for whoever signs or takes one in. Periods and payees are not compared: every ancestor is charged and asked anyway.
import { isAddressEqual, zeroAddress, zeroHash } from "viem";
import type { Mandate } from "./mandate.ts";

/** Mandates above a mandate, at most; a root has none. */
export const MAX_MANDATE_DEPTH = 8;

export type MandateFault = { field: keyof Mandate; detail: string };

/** What contradicts itself, or could never be spent; undefined when nothing does. */
export function mandateFault(mandate: Mandate): MandateFault | undefined {
  const { principal, delegate, token, limit, periodLimit, paymentLimit, period, validAfter, validUntil } = mandate;
  if (isAddressEqual(principal, zeroAddress)) return { field: "principal", detail: "principal is the zero address." };
  if (isAddressEqual(delegate, zeroAddress)) return { field: "delegate", detail: "delegate is the zero address." };
  if (isAddressEqual(token, zeroAddress)) return { field: "token", detail: "token is the zero address." };
  if (limit === 0n) return { field: "limit", detail: "limit is 0: nothing could be spent." };
  if (paymentLimit === 0n) return { field: "paymentLimit", detail: "paymentLimit is 0: nothing could be spent." };
  if ((period === 0) !== (periodLimit === 0n)) return { field: "periodLimit", detail: `periodLimit is ${periodLimit} and period ${period}: both are 0, or neither.` };
  if (validAfter > validUntil) return { field: "validUntil", detail: `validUntil ${validUntil} is before validAfter ${validAfter}.` };
  return undefined;
}

/** Where a sub-mandate allows what its parent does not; undefined when it only narrows. */
export function widerThanParent(parent: Mandate, child: Mandate): MandateFault | undefined {
  const { limit, paymentLimit, validAfter, validUntil, epoch, capability } = child;
  const wider = (field: keyof Mandate, own: unknown, allowed: unknown): MandateFault => ({ field, detail: `${field} is ${own}, its parent's is ${allowed}.` });
  if (!isAddressEqual(child.principal, parent.principal)) return wider("principal", child.principal, parent.principal);
  if (!isAddressEqual(child.token, parent.token)) return wider("token", child.token, parent.token);
  if (epoch !== parent.epoch) return wider("epoch", epoch, parent.epoch);
  if (limit > parent.limit) return wider("limit", limit, parent.limit);
  if (paymentLimit > parent.paymentLimit) return wider("paymentLimit", paymentLimit, parent.paymentLimit);
  if (validAfter < parent.validAfter) return wider("validAfter", validAfter, parent.validAfter);
  if (validUntil > parent.validUntil) return wider("validUntil", validUntil, parent.validUntil);
  if (parent.capability !== zeroHash && capability.toLowerCase() !== parent.capability.toLowerCase()) return wider("capability", capability, parent.capability);
  return undefined;
}
