import type { Address, Hex } from "viem";

/** A signed EIP-3009 TransferWithAuthorization of the configured token. Amount in atomic units, times in unix seconds. */
export type Authorization = { from: Address; to: Address; value: bigint; validAfter: bigint; validBefore: bigint; nonce: Hex; signature: Hex };

/** What became of an authorisation. */
export type Settled =
  /** The money moved, at the configured depth. */
  | { status: "settled"; txHash: Hex }
  /** Queued (no transaction yet), sent, or mined and not deep enough: it may still happen. */
  | { status: "pending"; txHash: Hex | undefined }
  /** It did not move. `final`: this authorisation never can. */
  | { status: "failed"; reason: ExactFault; final: boolean };

/** Our code -> the word of the published facilitator (@x402/evm, exact). */
export const EXACT_FAULTS = {
  authorization_used: "invalid_exact_evm_nonce_already_used",
  authorization_too_long: "invalid_exact_evm_payload_authorization_valid_before",
  authorization_expired: "invalid_exact_evm_payload_authorization_valid_before",
  authorization_not_yet_valid: "invalid_exact_evm_payload_authorization_valid_after",
  authorization_value_mismatch: "invalid_exact_evm_payload_authorization_value_mismatch",
  authorization_recipient_mismatch: "invalid_exact_evm_recipient_mismatch",
  authorization_signature_invalid: "invalid_exact_evm_signature",
  wallet_not_deployed: "eip6492_factory_not_allowed",
  insufficient_funds: "invalid_exact_evm_insufficient_balance",
  transfer_refused: "invalid_exact_evm_transaction_simulation_failed",
  transfer_too_expensive: "invalid_exact_evm_transaction_simulation_failed",
  transfer_reverted: "invalid_exact_evm_transaction_failed",
  transfer_missing: "invalid_exact_evm_transfer_event_mismatch",
} as const;
export type ExactFault = keyof typeof EXACT_FAULTS;
