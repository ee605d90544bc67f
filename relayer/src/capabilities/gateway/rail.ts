// What every x402 scheme has to do for the gateway. Order of a paid call: open (the price is set aside) -> run the upstream ->
// charge (committed with the answer) -> answer, or abandon. Each step stands in PostgreSQL, so another process can resume it.
import type { PaymentRequirements, SettleResponse } from "@x402/core/types";
import type { PassThrough } from "node:stream";
import type { Address, Hex } from "viem";
import type { SignedReceipt } from "../../../../sdk/src/receipt.ts";
import type { Hasher } from "../../crypto/voucher.ts";
import type { Deps } from "../../deps.ts";
import type { ListingViews } from "../agents/views.ts";
import type { Cards } from "../discovery/cards.ts";
import type { KnownChannels } from "../channels/known.ts";
import type { Exact } from "../exact/exact.ts";
import type { Policies } from "../firewall/policies.ts";
import type { Answer, Delivery } from "../ledger/types.ts";
import type { Catalog } from "./catalog.ts";
import type { Handlers } from "./handler.ts";
import type { Envelope } from "./schemas.ts";
import type { MandateReads } from "../mandates/service.ts";
import type { Service } from "./store.ts";

export type GatewayDeps = Deps & MandateReads & { hasher: Hasher; exact: Exact; handlers: Handlers; knownChannels: KnownChannels; catalog: Catalog; policies: Policies; listings: ListingViews; cards: Cards };

/** What somebody wants to buy, and the payment it came with. */
export type Order = {
  /** Its price is the most that this call may be charged. */
  service: Service;
  /** Public URL of what is bought. */
  resource: string;
  requestHash: Hex;
  envelope: Envelope;
  /** Our own terms of the scheme that the envelope chose. */
  terms: PaymentRequirements;
  paymentId: string;
  /** x402 payment-identifier, when the client sent one. */
  clientId: string | undefined;
  /** It came with a session's token instead of a voucher. */
  standing?: true;
};

/** What the route sends: the answer, and the settle response when a payment took part. */
export type Sale = {
  answer: Answer;
  settlement: SettleResponse | undefined;
  paymentId: string;
  /** The body of an answer that passes as it is written; `answer.body` is empty then. */
  live?: PassThrough;
};

/** A payment whose price is set aside until its lease runs out (the service's time limit and a margin). */
export type OpenPayment = {
  paymentId: string;
  payer: Address;
  service: string;
  price: bigint;
  requestHash: Hex;
  /** Paid before it was asked for (a transfer): what is left is to deliver it. */
  prepaid?: true;
  /**
   * Charges and stores the answer in one durable commit, then hands out the sale.
   * @throws TallystickError `reservation_expired` (503, safe): the lease ran out, nothing was charged, nothing may be delivered.
   */
  charge(delivery: Delivery): Promise<Sale>;
  /** Gives the reservation back. @returns what stands all the same (a deposit), for PAYMENT-RESPONSE. */
  abandon(reason: string): Promise<SettleResponse | undefined>;
  /** How a streamed answer is sold. Undefined in schemes that settle before an answer leaves: there it is read whole first. */
  stream?: StreamSale;
};

export type StreamSale = {
  /** Paid before, and broken off by the upstream: the answer is still owed, and nothing is charged again. */
  owed: boolean;
  /** The PAYMENT-RESPONSE that leaves before the body: what is charged so far. */
  settlement(charged: bigint, cumulative: bigint): Promise<SettleResponse>;
  /** Once the stream is over. */
  receipt(): Promise<SignedReceipt | undefined>;
};

export type Opened =
  | { outcome: "open"; payment: OpenPayment }
  /** Nothing is left to run: paid before with the same request, or not a purchase at all (a refund). */
  | { outcome: "sold"; sale: Sale };

export type Rail = {
  /** x402 name. */
  scheme: string;
  /** How to pay a service in this scheme. Field order and values are stable, since buyers copy them. */
  terms(deps: Deps, service: Service, paymentId: string): PaymentRequirements;
  /**
   * Checks the payment and sets the price aside.
   * @throws TallystickError 400 malformed, 402 the buyer's to mend (terms are added by the route), 409, 429, 503.
   */
  open(deps: GatewayDeps, order: Order): Promise<Opened>;
  /** A payment of this scheme that an earlier call opened, maybe in another process. Undefined when it is unknown, or over without a charge. */
  resume(deps: GatewayDeps, paymentId: string): Promise<Opened | undefined>;
};
