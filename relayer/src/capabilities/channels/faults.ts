// Payment faults of channels: 402, with the error word that stock x402 clients know beside our own code.
import { TallystickError, type Retry } from "../../../../sdk/src/errors.ts";

const PREFIX = "invalid_batch_settlement_evm_";

/** Our code -> the last part of the published word (@x402/evm, batch-settlement/errors). */
const X402_WORD = {
  channel_not_found: "channel_not_found",
  channel_busy: "channel_busy",
  channel_id_mismatch: "channel_id_mismatch",
  token_mismatch: "token_mismatch",
  receiver_authorizer_mismatch: "receiver_authorizer_mismatch",
  withdraw_delay_out_of_range: "withdraw_delay_out_of_range",
  cumulative_amount_mismatch: "cumulative_amount_mismatch",
  deposit_expired: "payload_authorization_valid_before",
  deposit_not_yet_valid: "payload_authorization_valid_after",
  deposit_signature_invalid: "receive_authorization_signature",
  deposit_factory_not_allowed: "eip6492_factory_not_allowed",
  deposit_insufficient_balance: "insufficient_balance",
  deposit_authorization_used: "deposit_simulation_failed",
  deposit_refused: "deposit_simulation_failed",
  deposit_reverted: "deposit_transaction_failed",
  refund_no_balance: "refund_no_balance",
  refund_amount_invalid: "refund_amount_invalid",
  refund_refused: "refund_simulation_failed",
  refund_reverted: "refund_transaction_failed",
} as const;

export type FaultCode = keyof typeof X402_WORD;

export function paymentFault(code: FaultCode, field: string, detail: string, more: { retry?: Retry; extra?: Record<string, unknown>; cause?: unknown } = {}): TallystickError {
  return new TallystickError({
    code,
    status: 402,
    retry: more.retry ?? "never",
    detail,
    field,
    extra: { x402Error: `${PREFIX}${X402_WORD[code]}`, ...more.extra },
    cause: more.cause,
  });
}

/** Sent, outcome not known yet: the same request again finds the transaction instead of sending another. */
export function stillPending(code: "deposit_pending" | "refund_pending", txHash: string): TallystickError {
  return new TallystickError({ code, status: 503, retry: "safe", detail: `Transaction ${txHash} is not confirmed yet; repeat the same request.`, extra: { txHash } });
}
