// Why a call is not taken in a session. 402: paying by other terms, or by a new offer, mends it.
import type { Hex } from "viem";
import { TallystickError } from "../../../../sdk/src/errors.ts";
import { violatedConstraint } from "../../db/pool.ts";

const WHY = {
  session_unknown: "is not known here",
  session_service: "is for another service, or that is paid elsewhere now",
  session_payer: "was agreed with another agent",
  session_channel: "is paid by another channel",
  session_expired: "is over",
  session_exhausted: "has had all its calls",
  session_voucher: "holds that voucher: it pays for calls that come with the session's token, and nothing else",
  session_token: "has another token",
  session_voucher_missing: "has no voucher: leave one with POST /api/v1/negotiated-sessions/<id>/voucher, or pay for the call",
} as const;

export type SessionRefusal = keyof typeof WHY;
export const isSessionRefusal = (outcome: string): outcome is SessionRefusal => Object.hasOwn(WHY, outcome);

export function sessionRefused(code: SessionRefusal, sessionId: Hex | undefined): TallystickError {
  return new TallystickError({
    code, status: 402, retry: "never", field: code === "session_token" ? "X-402-Session-Token" : "X-402-Session-Id", detail: `${sessionId === undefined ? "A session of this channel" : `Session ${sessionId}`} ${WHY[code]}. Nothing was charged; the terms without it, and where there is one a new offer, are in PAYMENT-REQUIRED.`,
    extra: { x402Error: code, ...(sessionId === undefined ? {} : { sessionId }) },
  });
}

/** True when a channel turned out to have an agreed price that this process did not know of. */
export const isInSession = (error: unknown): boolean => violatedConstraint(error) === "channel_in_session";

/** What is agreed is the price of a call. */
export function notMetered(): TallystickError {
  return new TallystickError({ code: "session_not_metered", status: 409, retry: "never", field: "Tallystick-Stream", detail: "Within a session streams are sold at the agreed price of a call, not by the unit." });
}
