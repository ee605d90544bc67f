// A payment's own identity, and how refusals are told. Pure.
import { concatHex, keccak256, stringToHex, type Address, type Hex } from "viem";
import { TallystickError } from "../../../../sdk/src/errors.ts";
import type { Decision } from "../../../../sdk/src/firewall/evaluate.ts";

/** What makes two attempts the same payment, in its scheme: where the ledger would find the one in the other. */
export type Identity =
  | { scheme: "batch-settlement"; channelId: Hex; ceiling: bigint; requestHash: Hex }
  | { scheme: "exact" | "transfer"; token: Address; nonce: Hex; requestHash: Hex }
  | { scheme: "stream"; paymentId: string; ceiling: bigint };

/** Everything that a person approves is in it, so a decision is good for this payment alone. */
export function paymentKeyOf(identity: Identity, terms: { payer: Address; payee: Address; price: bigint; service: string | undefined }): Hex {
  const parts = [...Object.values(identity), terms.payer, terms.payee, terms.price, terms.service ?? ""].map((part) => String(part).toLowerCase());
  return keccak256(concatHex(parts.map((part) => keccak256(stringToHex(part)))));
}

export const approvalIdOf = (paymentKey: Hex, policyHash: Hex): string => `apr_${keccak256(concatHex([paymentKey, policyHash])).slice(2, 34)}`;

/** What a refusal proves. A payment that nothing was reserved for is NEVER; money that its owner moved by itself is named. */
export type Proof = { type: "money_never_moved"; money_never_moved: true; status: "NEVER"; paymentId?: string } | { type: "txHash"; txHash: Hex; paymentId?: string };

export const neverMoved = (paymentId?: string): Proof => ({ type: "money_never_moved", money_never_moved: true, status: "NEVER", ...(paymentId === undefined ? {} : { paymentId }) });
export const movedBy = (txHash: Hex, paymentId?: string): Proof => ({ type: "txHash", txHash, ...(paymentId === undefined ? {} : { paymentId }) });

export type Waiting = { id: string; expiresAt: string };

/** 403: no other terms would mend it. */
export function refusalOf({ decision, rule, reason, policy }: Decision, proof: Proof, waiting?: Waiting): TallystickError {
  const told = { decision, rule, reason, proof, ...(proof.paymentId === undefined ? {} : { paymentId: proof.paymentId }), ...(policy === undefined ? {} : { policy }) };
  if (waiting !== undefined) {
    return new TallystickError({
      code: "approval_pending", status: 403, retry: "safe", detail: `${reason} Send the same payment again once approval ${waiting.id} is granted; nothing was reserved.`,
      extra: { ...told, approval: waiting, retryAfterS: 5, x402Error: "approval_pending" },
    });
  }
  return new TallystickError({ code: "firewall_rejected", status: 403, retry: "never", detail: `${rule}: ${reason}`, extra: { ...told, x402Error: "firewall_rejected" } });
}
