// What the seller signs: the offers in a 402, and the receipts of a paid answer, for clients that ask for them (Tallystick's, x402's own, or
// both); whoever did not can fetch Tallystick's later. Signed by the key that may claim the buyer's channel, so that a buyer can check them against what it signed itself.
// Nothing is stored: a receipt is made from the payment's row, and the same row always gives the same signature.
import type { PaymentRequirements } from "@x402/core/types";
import { OFFER_RECEIPT } from "@x402/extensions/offer-receipt";
import type { Address } from "viem";
import { NO_CHANNEL, RECEIPT_EXTENSION, receiptHash, toWireReceipt, type Receipt, type SignedReceipt } from "../../../../sdk/src/receipt.ts";
import { receiptDomain, type ReceiptDomain } from "../../../../sdk/src/typed-data.ts";
import type { Deps } from "../../deps.ts";
import type { Channel } from "../channels/store.ts";
import type { Payment } from "../ledger/types.ts";

export type ReceiptDeps = Pick<Deps, "config" | "keyring">;

/** A receipt and the key that has to sign it. */
export type ReceiptFacts = { receipt: Receipt; signer: Address };

/** How long a signed offer stands, seconds. */
const OFFER_TTL_S = 600;
/** Version of x402's offers and receipts. */
const X402_VERSION = 1;

export const receiptDomainOf = ({ config }: Pick<Deps, "config">): ReceiptDomain => receiptDomain(config.chainId, config.sessionChannels);

/** The offer-receipt extension of a 402: one signed offer a way to pay. */
export async function offerExtension(deps: ReceiptDeps & Pick<Deps, "now">, accepts: readonly PaymentRequirements[], resourceUrl: string): Promise<Record<string, unknown>> {
  const signer = deps.keyring.signerFor(deps.keyring.active);
  const validUntil = Math.floor(deps.now().getTime() / 1000) + OFFER_TTL_S;
  const offers = await Promise.all(
    accepts.map(async ({ scheme, network, asset, payTo, amount }, acceptIndex) => {
      const payload = { version: X402_VERSION, resourceUrl, scheme, network, asset, payTo, amount, validUntil };
      return { format: "eip712", acceptIndex, payload, signature: await signer.signX402Offer(payload) };
    }),
  );
  return { [OFFER_RECEIPT]: { info: { offers } } };
}

/** Which receipts a payment's answer carries. */
export type ReceiptWish = { ours: boolean; x402: boolean };
export const BOTH_RECEIPTS: ReceiptWish = { ours: true, x402: true };

/** A client asks by carrying the extension in its payment; one that does not is spared the signatures. */
export function receiptWish({ extensions }: { extensions?: Record<string, unknown> | null | undefined }): ReceiptWish {
  return { ours: extensions?.[RECEIPT_EXTENSION] !== undefined, x402: extensions?.[OFFER_RECEIPT] !== undefined };
}

/** The extensions of a PAYMENT-RESPONSE; undefined when none is asked for. */
export async function receiptExtensions(deps: ReceiptDeps, facts: ReceiptFacts, wish = BOTH_RECEIPTS): Promise<Record<string, unknown> | undefined> {
  if (!wish.ours && !wish.x402) return undefined;
  const [ours, theirs] = await Promise.all([wish.ours ? signReceipt(deps, facts) : undefined, wish.x402 ? signX402Receipt(deps, facts) : undefined]);
  return { ...(theirs && { [OFFER_RECEIPT]: { info: { receipt: theirs } } }), ...(ours && { [RECEIPT_EXTENSION]: { info: { receipt: ours } } }) };
}

async function signX402Receipt(deps: ReceiptDeps, { receipt, signer }: ReceiptFacts): Promise<Record<string, unknown>> {
  const payload = { version: X402_VERSION, network: deps.config.network, resourceUrl: receipt.resource, payer: receipt.payer, issuedAt: Number(receipt.endedAtMs / 1000n), transaction: "" };
  return { format: "eip712", payload, signature: await deps.keyring.signerFor(signer).signX402Receipt(payload) };
}

export async function signReceipt(deps: ReceiptDeps, { receipt, signer }: ReceiptFacts): Promise<SignedReceipt> {
  const domain = receiptDomainOf(deps);
  return { format: "eip712", domain, payload: toWireReceipt(receipt), signature: await deps.keyring.signerFor(signer).signReceipt(domain, receipt), signer };
}

export function receiptHashOf(deps: Pick<Deps, "config">, receipt: Receipt): `0x${string}` {
  return receiptHash(receiptDomainOf(deps), receipt);
}

/** Undefined for a payment that was not charged, or from before receipts. */
export function sessionReceipt(payment: Payment, { config }: Pick<Channel, "config">): ReceiptFacts | undefined {
  const { charged, chargedCumulative, requestNumber, outputHash, startedAt, endedAt } = payment;
  if (charged === undefined || chargedCumulative === undefined || requestNumber === undefined) return undefined;
  if (outputHash === undefined || startedAt === undefined || endedAt === undefined) return undefined;
  const parties = { scheme: "batch-settlement", payer: payment.payer, receiver: config.receiver, token: config.token, channelId: payment.channelId };
  const what = { paymentId: payment.paymentId, resource: payment.resource, inputHash: payment.requestHash, outputHash, ...times(startedAt, endedAt) };
  return { receipt: { ...what, ...parties, requestNumber, amount: charged, cumulative: chargedCumulative, ...payment.agreed }, signer: config.receiverAuthorizer };
}

export type DirectPayment = Pick<Payment, "paymentId" | "payer" | "resource" | "requestHash"> & {
  scheme: string;
  receiver: Address;
  token: Address;
  /** Atomic units. */
  amount: bigint;
  outputHash: `0x${string}`;
  startedAt: Date;
  endedAt: Date;
  agreed: Payment["agreed"];
};

/** The receipt of a payment that no channel paid for (exact, transfer), signed by the active key. */
export function directReceipt(deps: Pick<Deps, "keyring">, payment: DirectPayment): ReceiptFacts {
  const { paymentId, scheme, resource, payer, receiver, token, requestHash, outputHash, amount, startedAt, endedAt, agreed } = payment;
  const receipt = { paymentId, scheme, resource, payer, receiver, token, channelId: NO_CHANNEL, requestNumber: 1n, inputHash: requestHash, outputHash, amount, cumulative: amount, ...times(startedAt, endedAt), ...agreed };
  return { receipt, signer: deps.keyring.active };
}

function times(startedAt: Date, endedAt: Date): Pick<Receipt, "startedAtMs" | "endedAtMs" | "latencyMs"> {
  const [started, ended] = [BigInt(startedAt.getTime()), BigInt(endedAt.getTime())];
  return { startedAtMs: started, endedAtMs: ended, latencyMs: ended - started };
}
