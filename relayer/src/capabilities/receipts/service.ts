// Receipts, for their parties; and the buyers' signed word that they have them.
import { isAddressEqual, zeroAddress, type Address, type Hex } from "viem";
import { TallystickError } from "../../../../sdk/src/errors.ts";
import { receiptAckSigner, type SignedReceipt } from "../../../../sdk/src/receipt.ts";
import type { Deps } from "../../deps.ts";
import { EVENT } from "../../telemetry/log.ts";
import { findReceipt } from "../gateway/receipt-store.ts";
import { receiptDomainOf, receiptHashOf, signReceipt } from "../gateway/receipts.ts";
import { partiesOf } from "../payments/store.ts";
import { findAck, insertAck, type Ack } from "./store.ts";

export type ReceiptDeps = Pick<Deps, "config" | "db" | "keyring" | "log">;
export type ReceiptView = { receipt: SignedReceipt; receiptHash: Hex; ack: Ack | undefined };

/** Undefined for a payment that the caller has no part in, or that has no receipt. */
export async function receiptFor(deps: ReceiptDeps, paymentId: string, caller: Address): Promise<ReceiptView | undefined> {
  const parties = await partiesOf(deps.db, paymentId);
  if (parties === undefined || !parties.some((party) => isAddressEqual(party, caller))) return undefined;
  const found = await findReceipt(deps.db, paymentId);
  if (found === undefined) return undefined;
  const receipt = await signReceipt(deps, { receipt: found.receipt, signer: found.signer ?? deps.keyring.active });
  return { receipt, receiptHash: receiptHashOf(deps, found.receipt), ack: await findAck(deps.db, paymentId) };
}

export type GivenAck = { paymentId: string; receiptHash: Hex; signature: Hex };

/** @returns why it is refused, or undefined. */
async function accept(deps: ReceiptDeps, { paymentId, receiptHash, signature }: GivenAck): Promise<string | undefined> {
  const found = await findReceipt(deps.db, paymentId);
  if (found === undefined) return "receipt_unknown";
  if (receiptHashOf(deps, found.receipt) !== receiptHash.toLowerCase()) return "receipt_hash_mismatch";
  const signer = await receiptAckSigner(receiptDomainOf(deps), receiptHash, signature).catch(() => zeroAddress); // no signature at all
  const [payer, payerAuthorizer] = (await partiesOf(deps.db, paymentId)) ?? [];
  if (![payer, payerAuthorizer].some((buyer) => buyer !== undefined && isAddressEqual(buyer, signer))) return "ack_signature_invalid";
  await insertAck(deps.db, paymentId, receiptHash, signature);
  deps.log.info({ event: EVENT.receiptAcknowledged, paymentId });
  return undefined;
}

/** Takes what is good; the same again changes nothing. */
export async function acknowledge(deps: ReceiptDeps, acks: readonly GivenAck[]): Promise<{ accepted: number; refused: { paymentId: string; code: string }[] }> {
  const refused: { paymentId: string; code: string }[] = [];
  for (const ack of acks) {
    const code = await accept(deps, ack);
    if (code !== undefined) refused.push({ paymentId: ack.paymentId, code });
  }
  return { accepted: acks.length - refused.length, refused };
}

export function notYours(what: string): TallystickError {
  return new TallystickError({ code: "not_found", status: 404, retry: "never", detail: `There is no such ${what}, or it is not yours.` });
}
