// One call of a provider's own server, sold under the relayer's money rules: take before the handler, charge before the first byte of
// the answer, release when there is none to sell. Knows nothing of any web framework.
import { randomUUID } from "node:crypto";
import type { Address } from "viem";
import { TallystickError, toProblem } from "../errors.ts";
import { inputHash, type SignedReceipt } from "../receipt.ts";
import type { RelayerClient } from "./relayer-client.ts";

export type Headers = Record<string, string | string[]>;
/** An answer, whole. */
export type Answer = { status: number; headers: Headers; body: Uint8Array };

/** A call as it came in. */
export type Incoming = {
  method: string;
  /** Path and query as sent. */
  target: string;
  contentType: string;
  /** As sent, before anything parsed it. */
  body: Uint8Array;
  /** The PAYMENT-SIGNATURE header. */
  payment: string | undefined;
  /** The X-402-Session-Id header: a session that its buyer negotiated is sold at the agreed price. */
  session?: string | undefined;
};

export type Delivered = { answer: Answer; /** Atomic units, at most the price. */ amount: bigint; startedAtMs: number; endedAtMs: number };

export type Sale = {
  paymentId: string;
  payer: Address;
  /** The most that may be charged, atomic units. */
  price: bigint;
  /** How long the price stays set aside: after it nothing can be charged. */
  leaseMs: number;
  /** Charges and stores the answer in one commit. `charged`: deliver it, with these headers. `instead`: nothing of it may be delivered. */
  charge(delivered: Delivered): Promise<{ charged: bigint; headers: Headers; receipt: SignedReceipt | undefined } | { instead: Answer }>;
  /** Gives the price back. @returns headers for whatever is answered. Never throws: a reservation that cannot be given back runs out. */
  release(reason: string): Promise<Headers>;
};

/** `instead`: send this and run nothing (not paid, refused, or paid before). */
export type Taken = { sale: Sale } | { instead: Answer };

export type Seller = { client: RelayerClient; service: string; publicUrl: string; onProblem: (error: unknown) => void };

type WireAnswer = { status: number; headers: Headers; bodyBase64: string };
type WireTaken = { outcome: "reserved"; paymentId: string; payer: Address; priceAtomic: string; leaseMs: number } | { outcome: "unpaid" | "refused" | "replay"; answer: WireAnswer };
type WireCharged = { outcome: "charged"; chargedAtomic: string; headers: Headers; receipt?: SignedReceipt } | { outcome: "refused"; answer: WireAnswer };

/** Sets the price aside. Never throws: what goes wrong is ours, not the buyer's, so it is a 503 and never a 402. */
export async function take(seller: Seller, incoming: Incoming, price: bigint): Promise<Taken> {
  const resource = seller.publicUrl + incoming.target;
  const target = resource.slice(new URL(seller.publicUrl).origin.length);
  const body = {
    service: seller.service, priceAtomic: price.toString(), resource,
    inputHash: inputHash({ method: incoming.method, target, contentType: incoming.contentType, body: incoming.body }),
    ...(incoming.payment === undefined ? {} : { payment: incoming.payment }),
    ...(/^0x[0-9a-fA-F]{64}$/.test(incoming.session ?? "") ? { session: incoming.session } : {}),
  };
  try {
    const taken = await seller.client.call<WireTaken>("/api/v1/sales", { method: "POST", body, headers: { "idempotency-key": randomUUID() } });
    return taken.outcome === "reserved" ? { sale: saleOf(seller, taken) } : { instead: answerOf(taken.answer) };
  } catch (error) {
    seller.onProblem(error);
    return { instead: notNow(error) };
  }
}

function saleOf(seller: Seller, { paymentId, payer, priceAtomic, leaseMs }: Extract<WireTaken, { outcome: "reserved" }>): Sale {
  const path = `/api/v1/sales/${paymentId}`;
  return {
    paymentId, payer, leaseMs, price: BigInt(priceAtomic),
    async charge({ answer: { status, headers, body }, amount, startedAtMs, endedAtMs }) {
      const wire = { amountAtomic: amount.toString(), answer: { status, headers, bodyBase64: Buffer.from(body).toString("base64") }, startedAtMs, endedAtMs };
      try {
        const done = await seller.client.call<WireCharged>(`${path}/charge`, { method: "POST", body: wire });
        return done.outcome === "charged" ? { charged: BigInt(done.chargedAtomic), headers: done.headers, receipt: done.receipt } : { instead: answerOf(done.answer) };
      } catch (error) {
        seller.onProblem(error);
        return { instead: notNow(error, paymentId) };
      }
    },
    async release(reason) {
      try {
        return (await seller.client.call<{ headers: Headers }>(`${path}/release`, { method: "POST", body: { reason } })).headers;
      } catch (error) {
        seller.onProblem(error);
        return {};
      }
    },
  };
}

const answerOf = ({ status, headers, bodyBase64 }: WireAnswer): Answer => ({ status, headers, body: Buffer.from(bodyBase64, "base64") });

/** Codes that a buyer can do something about; the others are between seller and relayer. */
const FOR_THE_BUYER = new Set(["settlement_pending", "payment_in_progress", "answer_expired"]);

function notNow(error: unknown, paymentId?: string): Answer {
  if (error instanceof TallystickError && FOR_THE_BUYER.has(error.code)) return problemAnswer(error, paymentId);
  const detail = paymentId === undefined ? "The seller cannot take payments now; nothing was charged." : "The seller could not complete the sale; the same payment sent again gets the answer, or is taken anew. It is never charged twice.";
  const code = error instanceof TallystickError && error.code === "sale_released" ? "reservation_expired" : "payments_unavailable";
  return problemAnswer(new TallystickError({ code, status: 503, retry: "safe", detail, extra: { retryAfterS: 2 } }), paymentId);
}

/** An error as an answer (RFC 9457). */
export function problemAnswer(error: TallystickError, paymentId?: string): Answer {
  const retryAfter = error.extra["retryAfterS"];
  const headers: Headers = { "content-type": "application/problem+json", "cache-control": "no-store", ...(typeof retryAfter === "number" ? { "retry-after": String(retryAfter) } : {}), ...(paymentId === undefined ? {} : { "tallystick-payment-id": paymentId }) };
  return { status: error.status, headers, body: Buffer.from(JSON.stringify({ ...toProblem(error), ...(paymentId === undefined ? {} : { paymentId }) })) };
}
