// The terms an agent pays by: chosen from a 402, checked, and remembered per scope so that the next call need not ask. Pure.
import type { Address, Hex } from "viem";
import { recoverTypedDataAddress } from "viem";
import { BATCH_SETTLEMENT, chainById, MAX_WITHDRAW_DELAY_S, MIN_WITHDRAW_DELAY_S } from "../constants.ts";
import { TallystickError } from "../errors.ts";
import { x402OfferDomain, x402OfferTypes } from "../typed-data.ts";
import { addressIn, amountIn, malformed, objectIn, requiredAmount, type Accepts, type PaymentRequired } from "./wire.ts";

export type Scheme = "batch-settlement" | "exact";

export type Terms = {
  scheme: Scheme;
  chainId: number;
  /** Price of one call at most, atomic units. */
  price: bigint;
  token: { address: Address; name: string; version: string };
  payTo: Address;
  /** Seconds an answer may take, as the seller says. */
  maxTimeoutS: number;
  /** Paths these terms hold for: everything below it, or this very path. */
  scope: string;
  /** True when the seller speaks our additions: headroom, receipts with acknowledgement. */
  tallystick: boolean;
  /** As the seller wrote it; what a payment copies. */
  accepts: Accepts;
  resource: { url: string } | undefined;
  extensions: Record<string, unknown>;
  /** Who signed the seller's offer for these terms, or undefined when it signed none. */
  offerSigner: Address | undefined;
} & SessionTerms;

type SessionTerms = {
  /** Zero values for `exact`. */
  receiverAuthorizer: Address | undefined;
  withdrawDelayS: number;
  minDeposit: bigint;
  maxInFlight: number;
  /** The contract itself where it takes ERC-3009 deposits without a collector. */
  collector: Address | undefined;
};

export type Acceptable = { schemes: readonly Scheme[]; chainId: number | undefined; sessionChannels: Address };

/**
 * The first way to pay that the agent knows and may use, in the order of its own preference.
 * @throws TallystickError `unsupported_terms` (nothing fits), `seller_malformed`, `offer_invalid`.
 */
export async function chooseTerms(required: PaymentRequired, url: URL, acceptable: Acceptable): Promise<Terms> {
  for (const scheme of acceptable.schemes) {
    const index = required.accepts.findIndex((entry) => entry.scheme === scheme && fits(entry, acceptable));
    const entry = required.accepts[index];
    if (entry !== undefined) return readTerms(required, entry, index, url, acceptable);
  }
  const offered = required.accepts.map(({ scheme, network, asset }) => `${scheme} on ${network} in ${asset}`).join(", ");
  throw new TallystickError({ code: "unsupported_terms", status: 402, retry: "never", field: "accepts", detail: `None of the seller's terms can be paid by this agent: ${offered}.` });
}

/** A known chain, its USDC, and a transfer method we can sign. */
function fits({ network, asset, extra = {} }: Accepts, { chainId }: Acceptable): boolean {
  const chain = chainById(Number(/^eip155:(\d{1,10})$/.exec(network)?.[1]));
  if (chain === undefined || (chainId !== undefined && chain.chainId !== chainId)) return false;
  const method = extra["assetTransferMethod"] ?? "eip3009";
  const flow = extra["paymentFlow"] ?? "authorization";
  return asset.toLowerCase() === chain.usdc.address.toLowerCase() && method === "eip3009" && flow === "authorization";
}

async function readTerms(required: PaymentRequired, accepts: Accepts, index: number, url: URL, acceptable: Acceptable): Promise<Terms> {
  const fields = accepts as unknown as Record<string, unknown>;
  const extra = accepts.extra ?? {};
  const { chainId, usdc } = chainById(Number(accepts.network.slice("eip155:".length)))!;
  const announced = objectIn(extra, "tallystick");
  const price = requiredAmount(fields, "amount");
  if (price <= 0n || price >= 1n << 128n) throw malformed("amount", "is not a positive uint128");
  if (!(Number.isFinite(accepts.maxTimeoutSeconds) && accepts.maxTimeoutSeconds > 0)) throw malformed("maxTimeoutSeconds", "is not a positive number");
  const common = {
    chainId, price, accepts,
    token: { address: usdc.address, name: usdc.name, version: usdc.version },
    payTo: addressIn(fields, "payTo"),
    maxTimeoutS: accepts.maxTimeoutSeconds,
    scope: scopeOf(announced?.["scope"], url),
    tallystick: announced?.["version"] === 1,
    resource: required.resource,
    extensions: required.extensions ?? {},
    offerSigner: await offerSigner(required, accepts, index),
  };
  if (accepts.scheme !== BATCH_SETTLEMENT) return { ...common, scheme: "exact", receiverAuthorizer: undefined, withdrawDelayS: 0, minDeposit: 0n, maxInFlight: 64, collector: undefined };
  return { ...common, scheme: "batch-settlement", ...sessionTerms(extra, announced, acceptable) };
}

/** Bounds of what a seller may announce, so that a hostile one cannot make us hold thousands of calls open. */
const MOST_IN_FLIGHT = 64;

function sessionTerms(extra: Record<string, unknown>, announced: Record<string, unknown> | undefined, { sessionChannels }: Acceptable): SessionTerms {
  const withdrawDelayS = extra["withdrawDelay"];
  if (!Number.isSafeInteger(withdrawDelayS) || (withdrawDelayS as number) < MIN_WITHDRAW_DELAY_S || (withdrawDelayS as number) > MAX_WITHDRAW_DELAY_S) {
    throw malformed("extra.withdrawDelay", `is not from ${MIN_WITHDRAW_DELAY_S} to ${MAX_WITHDRAW_DELAY_S} seconds`);
  }
  const inFlight = announced?.["version"] === 1 ? Number(announced["maxInFlight"] ?? 1) : 1;
  const collector = announced?.["collector"] === undefined ? undefined : addressIn(announced, "collector");
  return {
    receiverAuthorizer: addressIn(extra, "receiverAuthorizer"),
    withdrawDelayS: withdrawDelayS as number,
    minDeposit: amountIn(extra, "minDeposit") ?? 0n,
    maxInFlight: Math.max(1, Math.min(MOST_IN_FLIGHT, Number.isSafeInteger(inFlight) ? inFlight : 1)),
    // Anything but our own contract would be a stranger who may take the authorised amount.
    collector: collector === sessionChannels ? collector : undefined,
  };
}

/** Only a prefix of the path that was asked for is believed. */
function scopeOf(announced: unknown, url: URL): string {
  const path = url.pathname;
  if (typeof announced !== "string" || !announced.startsWith("/")) return path;
  return path === announced || path.startsWith(announced.endsWith("/") ? announced : `${announced}/`) ? announced : path;
}

/**
 * Checks the seller's signed offer of these terms, where there is one (extension offer-receipt).
 * @throws TallystickError `offer_invalid` when it says something else than the terms, or has no good signature.
 */
async function offerSigner(required: PaymentRequired, accepts: Accepts, index: number): Promise<Address | undefined> {
  const info = objectIn(objectIn(required.extensions ?? {}, "offer-receipt") ?? {}, "info");
  const offers = Array.isArray(info?.["offers"]) ? (info["offers"] as Record<string, unknown>[]) : [];
  const offer = offers.find((candidate) => candidate["format"] === "eip712" && candidate["acceptIndex"] === index);
  const payload = offer === undefined ? undefined : objectIn(offer, "payload");
  if (offer === undefined || payload === undefined) return undefined;
  for (const field of ["scheme", "network", "asset", "payTo", "amount"] as const) {
    if (payload[field] !== accepts[field]) throw offerInvalid(field, `The signed offer's ${field} is ${String(payload[field])}, the terms say ${accepts[field]}.`);
  }
  if (payload["resourceUrl"] !== required.resource?.url) throw offerInvalid("resourceUrl", "The signed offer is for another resource.");
  const { version, validUntil, ...rest } = payload as { version: number; validUntil?: number };
  try {
    const message = { ...rest, version: BigInt(version), validUntil: BigInt(validUntil ?? 0) } as never;
    return await recoverTypedDataAddress({ domain: x402OfferDomain, types: x402OfferTypes, primaryType: "Offer", message, signature: offer["signature"] as Hex });
  } catch (cause) {
    throw offerInvalid("signature", "The seller's offer carries no good signature.", cause);
  }
}

function offerInvalid(field: string, detail: string, cause?: unknown): TallystickError {
  return new TallystickError({ code: "offer_invalid", status: 502, retry: "never", field: `extensions.offer-receipt.${field}`, detail, cause });
}

/** A fresh label for a payment that is sent without asking first; see payment ids in the relayer. */
export function newPaymentId(): string {
  const random = [...crypto.getRandomValues(new Uint8Array(10))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return `pay_${Date.now().toString(16).padStart(12, "0")}${random}`;
}
