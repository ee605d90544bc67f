// The receipt of one delivered answer: how its hashes are made, how it is written on the wire, how it is checked.
// Pure and browser-safe: buyers, providers, the CLI and auditors run this very code.
import { concat, hashTypedData, recoverAddress, recoverTypedDataAddress, sha256, stringToBytes, zeroHash, type Address, type Hex } from "viem";
import { firstReceiptTypes, receiptAckTypes, receiptTypes, type ReceiptDomain } from "./typed-data.ts";

/** Key of our receipt in the `extensions` of a PAYMENT-RESPONSE. */
export const RECEIPT_EXTENSION = "tallystick-receipt";

/** What was agreed before the call; NONE_AGREED where nothing was. All four, or none in a receipt of before they were in it. */
export type Agreed = { offer: Hex; mandate: Hex; session: Hex; slaMet: number };
export const NONE_AGREED: Agreed = { offer: zeroHash, mandate: zeroHash, session: zeroHash, slaMet: 0 };
/** Values of `slaMet`. */
export const SLA = { none: 0, met: 1, missed: 2 } as const;

/** See receiptTypes for units. */
export type Receipt = Partial<Agreed> & {
  paymentId: string;
  scheme: string;
  resource: string;
  payer: Address;
  receiver: Address;
  token: Address;
  channelId: Hex;
  requestNumber: bigint;
  inputHash: Hex;
  outputHash: Hex;
  startedAtMs: bigint;
  endedAtMs: bigint;
  latencyMs: bigint;
  amount: bigint;
  cumulative: bigint;
};

const NUMBERS = ["requestNumber", "startedAtMs", "endedAtMs", "latencyMs", "amount", "cumulative"] as const;
type NumberField = (typeof NUMBERS)[number];

/** A receipt in JSON: numbers are decimal strings. */
export type WireReceipt = Omit<Receipt, NumberField> & Record<NumberField, string>;
/** What a PAYMENT-RESPONSE carries under RECEIPT_EXTENSION. */
export type SignedReceipt = { format: "eip712"; domain: ReceiptDomain; payload: WireReceipt; signature: Hex; signer: Address };

export function toWireReceipt(receipt: Receipt): WireReceipt {
  const numbers = Object.fromEntries(NUMBERS.map((name) => [name, receipt[name].toString()])) as Record<NumberField, string>;
  return { ...receipt, ...numbers };
}

/** @throws SyntaxError or TypeError when a number of the wire form is none. */
export function fromWireReceipt(wire: WireReceipt): Receipt {
  const numbers = Object.fromEntries(NUMBERS.map((name) => [name, BigInt(wire[name])])) as Record<NumberField, bigint>;
  return { ...wire, ...numbers };
}

/** The typed-data digest: what the seller signs, and what a ReceiptAck names. */
export function receiptHash(domain: ReceiptDomain, receipt: Receipt): Hex {
  if (saysAgreed(receipt)) return hashTypedData({ domain, types: receiptTypes, primaryType: "Receipt", message: receipt });
  return hashTypedData({ domain, types: firstReceiptTypes, primaryType: "Receipt", message: receipt });
}

/** True for a receipt that says what was agreed. The two kinds have different type hashes, so neither passes for the other. */
export const saysAgreed = (receipt: Receipt): receipt is Receipt & Agreed => receipt.offer !== undefined;

/** Who signed the receipt. The caller decides whether that key may: for a channel it is its receiverAuthorizer. */
export async function receiptSigner({ domain, payload, signature }: Pick<SignedReceipt, "domain" | "payload" | "signature">): Promise<Address> {
  return recoverAddress({ hash: receiptHash(domain, fromWireReceipt(payload)), signature });
}

/** Who acknowledged the receipt of that hash. */
export function receiptAckSigner(domain: ReceiptDomain, hash: Hex, signature: Hex): Promise<Address> {
  return recoverTypedDataAddress({ domain, types: receiptAckTypes, primaryType: "ReceiptAck", message: { receiptHash: hash }, signature });
}

/** A request as it is bought: what a replay is compared by, and a receipt's inputHash. */
export type BoughtRequest = { method: string; /** Path and query, as sent. */ target: string; contentType: string; body: Uint8Array };

/** sha-256 over method, target, content type (each with its length before it) and body. */
export function inputHash({ method, target, contentType, body }: BoughtRequest): Hex {
  return sha256(concat([...[method, target, contentType].map(prefixed), body]));
}

/** sha-256 over status, content type and body of an answer; a stream's body is all of its bytes. */
export function outputHash({ status, contentType, body }: { status: number; contentType: string; body: Uint8Array }): Hex {
  return sha256(concat([...[String(status), contentType].map(prefixed), body]));
}

function prefixed(text: string): Uint8Array {
  const bytes = stringToBytes(text);
  return concat([stringToBytes(`${bytes.length}:`), bytes]);
}

/** channelId of a receipt that no channel paid for. */
export const NO_CHANNEL = zeroHash;
