import type { Address, Hex } from "viem";
import type { Agreed } from "../../../../sdk/src/receipt.ts";

/** One attempt to buy one answer with one voucher. Amounts in atomic units. */
export type PaymentRequest = {
  paymentId: string;
  channelId: Hex;
  payer: Address;
  /** The voucher: cumulative ceiling and its signature, already verified. */
  ceiling: bigint;
  signature: Hex;
  service: string;
  /** Public URL of what is bought. */
  resource: string;
  /** The most that may be charged. */
  price: bigint;
  /** sdk/src/receipt.ts inputHash: what a replay is compared by. */
  requestHash: Hex;
  /** x402 payment-identifier, when the client sent one. */
  clientId: string | undefined;
  /** The deposit this payment carried, once confirmed. */
  deposit: { hash: Hex; amount: bigint } | undefined;
  /** The negotiated session that the payer named. */
  session?: Hex | undefined;
  /** It was taken within a session, named or not: `price` is what was agreed. */
  inSession?: boolean;
  /** Paid by the voucher that was left for the session, which other calls share: a payment of its own by its `clientId` only. */
  sharedVoucher?: boolean;
};

export type Payment = PaymentRequest & {
  state: "reserved" | "charged" | "released";
  charged: bigint | undefined;
  chargedCumulative: bigint | undefined;
  requestNumber: bigint | undefined;
  outputHash: Hex | undefined;
  /** The upstream run. */
  startedAt: Date | undefined;
  endedAt: Date | undefined;
  /** What its receipt says was agreed before; undefined for a payment of before receipts said it. */
  agreed: Agreed | undefined;
};

/** What the upstream made of a payment: the answer, what it costs (at most the price), and when it ran. */
export type Delivery = { answer: Answer; amount: bigint; startedAt: Date; endedAt: Date; /** Sold by time: charged only where no such period of the buyer stands. */ periodS?: number };

/** A delivery as it is stored: the answer sealed. */
export type SealedDelivery = Pick<Delivery, "startedAt" | "endedAt"> & { status: number; sealed: Buffer; outputHash: Hex };

/** An upstream answer as it is stored and delivered. */
export type Answer = { status: number; headers: Record<string, string | string[]>; body: Buffer };
