// What an agent asks its guard, and signs with its own key: a voucher for one call on one channel, under one mandate.
import { isAddress, isHex, recoverTypedDataAddress, size, type Address, type Hex, type TypedDataDomain } from "viem";
import { TallystickError } from "../errors.ts";
import type { GuardBinding } from "../guard-binding.ts";
import type { ChannelConfig } from "../typed-data.ts";

export const guardRequestTypes = {
  GuardRequest: [
    { name: "mandateId", type: "bytes32" },
    { name: "channelId", type: "bytes32" },
    { name: "method", type: "string" },
    { name: "url", type: "string" },
    { name: "bodyHash", type: "bytes32" },
    { name: "payTo", type: "address" },
    { name: "price", type: "uint128" },
    { name: "ceiling", type: "uint128" },
    { name: "nonce", type: "bytes32" },
    { name: "expiresAt", type: "uint40" },
  ],
} as const;

export type SignedBinding = GuardBinding & { signature: Hex };

/** Amounts are atomic units. */
export type GuardRequest = {
  mandateId: Hex;
  /** The hash of the channel's terms, of chain and contract too. */
  channelId: Hex;
  method: string;
  url: string;
  /** keccak256 of the request's body. */
  bodyHash: Hex;
  payTo: Address;
  /** Most that this call may cost; 0 for one that was approved before (a stream goes on) and to get money back. */
  price: bigint;
  /** The voucher's ceiling. */
  ceiling: bigint;
  /** Random: the same request twice gets the same answer and is counted once. */
  nonce: Hex;
  /** Unix seconds; the last one in which it counts. */
  expiresAt: number;
};

/** A request as it is sent. */
export type Order = {
  config: ChannelConfig;
  request: GuardRequest;
  /** The entry of the 402 that is paid, as the seller wrote it. */
  accepts: Record<string, unknown> | undefined;
  /** The delegate's, over the request. */
  signature: Hex;
};

/** What is guarded is a registry's mandates, so the registry's address tells one guard's world from another. */
export function guardDomain(chainId: number, registry: Address) {
  return { name: "Tallystick Guard", version: "1", chainId, verifyingContract: registry } as const satisfies TypedDataDomain;
}

export type GuardDomain = ReturnType<typeof guardDomain>;

/** Requests in one call: what one channel has in flight. */
export const MAX_ORDERS = 64;

/** Vouchers that are under way together need different ceilings: they lie apart by an atomic unit, above what is approved by this at most. */
export const APART = BigInt(MAX_ORDERS);

/** How long a request may stand at most, seconds. */
export const MAX_REQUEST_AGE_S = 120;

export async function requestSigner(domain: GuardDomain, { request, signature }: Pick<Order, "request" | "signature">): Promise<Address | undefined> {
  return recoverTypedDataAddress({ domain, types: guardRequestTypes, primaryType: "GuardRequest", message: request, signature }).catch(() => undefined);
}

export function toWireOrder({ config, request, accepts, signature }: Order): Record<string, unknown> {
  return { config, request: { ...request, price: String(request.price), ceiling: String(request.ceiling) }, ...(accepts === undefined ? {} : { accepts }), signature };
}

/** @throws TallystickError 400 `guard_request_malformed` that names the field. */
export function parseOrder(input: unknown, at = "order"): Order {
  const { config, request, accepts, signature } = record(input, at);
  const asked = record(request, `${at}.request`);
  if (accepts !== undefined) record(accepts, `${at}.accepts`);
  if (!isHex(signature) || size(signature) > 4_096) throw malformed(`${at}.signature`, "must be hex");
  const text = (field: string, most: number) => {
    const value = asked[field];
    if (typeof value === "string" && value.length > 0 && value.length <= most) return value;
    throw malformed(`${at}.request.${field}`, `must be text of at most ${most} characters`);
  };
  return {
    config: parseConfig(config, `${at}.config`),
    request: {
      mandateId: hash(asked, "mandateId", `${at}.request`), channelId: hash(asked, "channelId", `${at}.request`), method: text("method", 32), url: text("url", 8_192), bodyHash: hash(asked, "bodyHash", `${at}.request`),
      payTo: address(asked, "payTo", `${at}.request`), price: amount(asked, "price", `${at}.request`), ceiling: amount(asked, "ceiling", `${at}.request`),
      nonce: hash(asked, "nonce", `${at}.request`), expiresAt: whole(asked, "expiresAt", 2 ** 40 - 1, `${at}.request`),
    },
    accepts: accepts as Record<string, unknown> | undefined,
    signature,
  };
}

/** @throws TallystickError 400 `guard_request_malformed`. */
export function parseConfig(input: unknown, at = "config"): ChannelConfig {
  const terms = record(input, at);
  return {
    payer: address(terms, "payer", at), payerAuthorizer: address(terms, "payerAuthorizer", at), receiver: address(terms, "receiver", at), receiverAuthorizer: address(terms, "receiverAuthorizer", at),
    token: address(terms, "token", at), withdrawDelay: whole(terms, "withdrawDelay", 2 ** 40 - 1, at), salt: hash(terms, "salt", at),
  };
}

type Fields = Record<string, unknown>;

function record(input: unknown, at: string): Fields {
  if (typeof input === "object" && input !== null && !Array.isArray(input)) return input as Fields;
  throw malformed(at, "must be an object");
}

function address(from: Fields, field: string, at: string): Address {
  const value = from[field];
  if (typeof value === "string" && isAddress(value, { strict: false })) return value as Address;
  throw malformed(`${at}.${field}`, "must be an address");
}

function hash(from: Fields, field: string, at: string): Hex {
  const value = from[field];
  if (typeof value === "string" && /^0x[0-9a-fA-F]{64}$/.test(value)) return value.toLowerCase() as Hex;
  throw malformed(`${at}.${field}`, "must be 32 bytes of hex");
}

function amount(from: Fields, field: string, at: string): bigint {
  const value = from[field];
  if (typeof value === "string" && /^\d{1,39}$/.test(value) && BigInt(value) < 1n << 128n) return BigInt(value);
  throw malformed(`${at}.${field}`, "must be a decimal string of atomic units");
}

function whole(from: Fields, field: string, most: number, at: string): number {
  const value = from[field];
  if (Number.isSafeInteger(value) && (value as number) >= 0 && (value as number) <= most) return value as number;
  throw malformed(`${at}.${field}`, `must be a whole number from 0 to ${most}`);
}

function malformed(field: string, why: string): TallystickError {
  return new TallystickError({ code: "guard_request_malformed", status: 400, retry: "never", field, detail: `${field} ${why}.` });
}
