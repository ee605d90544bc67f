// Does the seller's receipt say what we asked, got and paid? And the acknowledgements we send back, in batches, in the background.
import { isAddressEqual, type Address, type Hex } from "viem";
import { TallystickError } from "../errors.ts";
import { fromWireReceipt, NO_CHANNEL, receiptHash, receiptSigner, RECEIPT_EXTENSION, type SignedReceipt } from "../receipt.ts";
import { receiptAckTypes, type ReceiptDomain } from "../typed-data.ts";
import type { Signer } from "./payments.ts";
import { objectIn, type Settlement } from "./wire.ts";

export type ExpectedReceipt = {
  chainId: number;
  contract: Address;
  scheme: string;
  payer: Address;
  receiver: Address;
  token: Address;
  channelId: Hex | undefined;
  /** Who may sign: a channel's receiverAuthorizer, else whoever signed the offer; undefined when nobody is known. */
  signer: Address | undefined;
  amount: bigint;
  cumulative: bigint;
  inputHash: Hex;
  /** Undefined when the answer was not read to its end. */
  outputHash: Hex | undefined;
};

/** Undefined when the seller gave none. */
export function receiptIn(settlement: Settlement): SignedReceipt | undefined {
  const info = objectIn(objectIn(settlement.extensions, RECEIPT_EXTENSION) ?? {}, "info");
  return info?.["receipt"] as SignedReceipt | undefined;
}

/** @throws TallystickError `receipt_invalid` that names the field. */
export async function checkReceipt(signed: SignedReceipt, expected: ExpectedReceipt): Promise<void> {
  const { domain, payload } = signed;
  const wrong = (field: string, told: unknown, ours: unknown) =>
    new TallystickError({ code: "receipt_invalid", status: 502, retry: "never", field: `receipt.${field}`, detail: `The receipt's ${field} is ${String(told)}, not ${String(ours)}.` });
  if (domain.chainId !== expected.chainId) throw wrong("domain.chainId", domain.chainId, expected.chainId);
  if (!isAddressEqual(domain.verifyingContract, expected.contract)) throw wrong("domain.verifyingContract", domain.verifyingContract, expected.contract);
  const exact = { scheme: expected.scheme, inputHash: expected.inputHash, channelId: expected.channelId ?? NO_CHANNEL, amount: String(expected.amount), cumulative: String(expected.cumulative), ...(expected.outputHash === undefined ? {} : { outputHash: expected.outputHash }) };
  for (const [field, value] of Object.entries(exact)) if (payload[field as keyof typeof payload] !== value) throw wrong(field, payload[field as keyof typeof payload], value);
  for (const field of ["payer", "receiver", "token"] as const) if (!isAddressEqual(payload[field], expected[field])) throw wrong(field, payload[field], expected[field]);
  const signer = await signerOf(signed);
  if (expected.signer !== undefined && (signer === undefined || !isAddressEqual(signer, expected.signer))) throw wrong("signature", signer ?? "nobody's", `one of ${expected.signer}`);
}

async function signerOf(signed: SignedReceipt): Promise<Address | undefined> {
  try {
    return await receiptSigner(signed);
  } catch {
    return undefined; // no signature at all: told as such
  }
}

type Ack = { origin: string; paymentId: string; domain: ReceiptDomain; hash: Hex };

const BATCH = 100;
const LINGER_MS = 1_000;
const MOST_WAITING = 10_000;

/** Sends signed ReceiptAcks; a seller that does not take them costs nothing but the request. */
export class Acknowledger {
  readonly #signer: Signer;
  readonly #fetch: typeof fetch;
  readonly #onError: (error: unknown) => void;
  #waiting: Ack[] = [];
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(signer: Signer, fetcher: typeof fetch, onError: (error: unknown) => void) {
    this.#signer = signer;
    this.#fetch = fetcher;
    this.#onError = onError;
  }

  add(origin: string, { domain, payload }: SignedReceipt): void {
    if (this.#waiting.length >= MOST_WAITING) return;
    this.#waiting.push({ origin, paymentId: payload.paymentId, domain, hash: receiptHash(domain, fromWireReceipt(payload)) });
    this.#timer ??= setTimeout(() => void this.flush(), LINGER_MS);
    // A waiting acknowledgement must not keep a Node process alive; close() sends what is left.
    (this.#timer as { unref?: () => void }).unref?.();
  }

  async flush(): Promise<void> {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const origin of new Set(waiting.map((ack) => ack.origin))) {
      const acks = waiting.filter((ack) => ack.origin === origin);
      for (let start = 0; start < acks.length; start += BATCH) await this.#send(origin, acks.slice(start, start + BATCH)).catch(this.#onError);
    }
  }

  async #send(origin: string, acks: Ack[]): Promise<void> {
    const signed = await Promise.all(
      acks.map(async ({ paymentId, domain, hash }) => ({
        paymentId,
        receiptHash: hash,
        signature: await this.#signer.signTypedData({ domain, types: receiptAckTypes, primaryType: "ReceiptAck", message: { receiptHash: hash } }),
      })),
    );
    const response = await this.#fetch(`${origin}/api/v1/receipts/acks`, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ acks: signed }) });
    if (!response.ok) throw new TallystickError({ code: "acks_refused", status: response.status, retry: "safe", detail: `${origin} answered ${response.status} to ${acks.length} acknowledgements.` });
    await response.body?.cancel();
  }
}
