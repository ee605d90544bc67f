// A refusal as its buyer hears it. 403, not 402: no other terms would mend it.
import { isHex, type Hex } from "viem";
import { TallystickError } from "../../../../sdk/src/errors.ts";
import { violatedConstraint } from "../../db/pool.ts";
import { MANDATE_REFUSALS, type MandateRefusal, type RefusalCode } from "./logic.ts";

const WHY: Record<RefusalCode, string> = {
  mandate_revoked: "is revoked",
  mandate_not_yet_valid: "is not valid yet",
  mandate_expired: "is no longer valid",
  mandate_token: "is for another token",
  mandate_payment_limit: "allows less in one payment",
  mandate_exhausted: "has not that much left",
  mandate_period_limit: "has not that much left in this period",
  mandate_payee: "does not allow this payee",
  mandate_capability: "does not allow this service",
};

/** @param spender the mandate that the payment came under; the one that refuses may be above it. */
export function mandateRefused({ code, mandateId }: MandateRefusal, spender?: Hex): TallystickError {
  const whose = spender === undefined || spender === mandateId ? `Mandate ${mandateId}` : `Mandate ${mandateId}, above ${spender},`;
  return new TallystickError({ code, status: 403, retry: "never", detail: `${whose} ${WHY[code]}. Nothing moved.`, extra: { mandateId, moved: "0" } });
}

const isRefusal = (code: string | undefined): code is RefusalCode => MANDATE_REFUSALS.some((known) => known === code);

/** What the database refused a statement for, when that was a mandate (payment_moves_budget in migration 0017). */
export function refusalIn(error: unknown): MandateRefusal | undefined {
  const code = violatedConstraint(error);
  const mandateId = (error as { detail?: unknown } | null)?.detail;
  return isRefusal(code) && isHex(mandateId) ? { code, mandateId } : undefined;
}

/** True when a channel turned out to spend under a mandate that this process did not know of. */
export const isUnderMandate = (error: unknown): boolean => violatedConstraint(error) === "channel_under_mandate";
