// What is signed on the way to an agreed price: a provider's price policy, an agent's intent, offers, counter-offers, the acceptance.
// The domain binds chain and channel contract; every message names the one before it by its hash, so none can be used for another. Pure, browser-safe.
import { hashTypedData, recoverAddress, type Address, type Hex, type TypedDataDomain } from "viem";
import { fromJson, signedForm, signedTypes, toJson, type RefundPolicy, type Sla, type SignedTypes, type Spec, type VolumeTier } from "./fields.ts";

/** What an agent wants: a service by name, or whoever has the capability. Prices are atomic token units, times unix seconds. */
export type Intent = { intentId: Hex; agent: Address; service: string; capability: string; maxPricePerRequest: bigint; token: Address; sla: Sla; expiresAt: number };

/**
 * What a provider lets an operator offer in its name while it is away: never below `floorPrice`, at first `listPrice`. Tiers cost less
 * than any price that is agreed, or they do not count. Versions go up; the newest stands.
 */
export type PricePolicy = {
  service: string; serviceId: Hex; capability: string; provider: Address; operator: Address; payTo: Address; token: Address; listPrice: bigint; floorPrice: bigint; tiers: VolumeTier[]; sla: Sla;
  refundPolicy: RefundPolicy; offerTtlS: number; sessionTtlS: number; maxCalls: number; version: number; expiresAt: number;
};

/** A price for one agent. Signed by the provider; or by the operator that the provider's policy names, then `policyHash` is that policy's. */
export type Offer = {
  offerId: Hex; intentId: Hex; intentHash: Hex; agent: Address; provider: Address; service: string; serviceId: Hex; payTo: Address; token: Address; pricePerRequest: bigint; tiers: VolumeTier[]; sla: Sla;
  refundPolicy: RefundPolicy; maxCalls: number; sessionTtlS: number; round: number; policyHash: Hex; expiresAt: number;
};

/** The agent asks for less. */
export type Counter = { offerHash: Hex; agent: Address; pricePerRequest: bigint; expiresAt: number };

/** The agent takes the offer for calls worth `budget`, until `sessionExpiresAt`. Its hash is the session's id. */
export type Acceptance = { offerHash: Hex; agent: Address; budget: bigint; sessionExpiresAt: number };

export type Messages = { Intent: Intent; PricePolicy: PricePolicy; Offer: Offer; Counter: Counter; Acceptance: Acceptance };
export type MessageName = keyof Messages;
/** A message with its signature, as JSON carries it. */
export type SignedMessage = { message: Record<string, unknown>; signature: Hex };
export type Signed<Name extends MessageName> = { message: Messages[Name]; signature: Hex };

export const SPECS: Record<MessageName, Spec> = {
  Intent: [["intentId", "bytes32"], ["agent", "address"], ["service", "name"], ["capability", "name"], ["maxPricePerRequest", "price"], ["token", "address"], ["sla", "sla"], ["expiresAt", "time"]],
  PricePolicy: [
    ["service", "name"], ["serviceId", "bytes32"], ["capability", "name"], ["provider", "address"], ["operator", "address"], ["payTo", "address"], ["token", "address"], ["listPrice", "price"], ["floorPrice", "price"], ["tiers", "tiers"], ["sla", "sla"],
    ["refundPolicy", "refundPolicy"], ["offerTtlS", "seconds"], ["sessionTtlS", "seconds"], ["maxCalls", "calls"], ["version", "calls"], ["expiresAt", "time"],
  ],
  Offer: [
    ["offerId", "bytes32"], ["intentId", "bytes32"], ["intentHash", "bytes32"], ["agent", "address"], ["provider", "address"], ["service", "name"], ["serviceId", "bytes32"], ["payTo", "address"], ["token", "address"],
    ["pricePerRequest", "price"], ["tiers", "tiers"], ["sla", "sla"], ["refundPolicy", "refundPolicy"], ["maxCalls", "calls"], ["sessionTtlS", "seconds"], ["round", "round"], ["policyHash", "bytes32"], ["expiresAt", "time"],
  ],
  Counter: [["offerHash", "bytes32"], ["agent", "address"], ["pricePerRequest", "price"], ["expiresAt", "time"]],
  Acceptance: [["offerHash", "bytes32"], ["agent", "address"], ["budget", "price"], ["sessionExpiresAt", "time"]],
};

/** Domain of all of them; `verifyingContract` is the SessionChannels that is paid through. */
export function negotiationDomain(chainId: number, verifyingContract: Address) {
  return { name: "Tallystick Negotiation", version: "1", chainId, verifyingContract } as const satisfies TypedDataDomain;
}
export type NegotiationDomain = ReturnType<typeof negotiationDomain>;

/** For signTypedData. */
export function typedMessage<Name extends MessageName>(domain: NegotiationDomain, primaryType: Name, message: Messages[Name]): { domain: NegotiationDomain; types: SignedTypes; primaryType: Name; message: Record<string, unknown> } {
  const spec = SPECS[primaryType];
  return { domain, types: signedTypes(primaryType, spec), primaryType, message: signedForm(spec, message) };
}

export function messageHash<Name extends MessageName>(domain: NegotiationDomain, name: Name, message: Messages[Name]): Hex {
  return hashTypedData(typedMessage(domain, name, message) as Parameters<typeof hashTypedData>[0]);
}

/** Undefined when it is no signature of a key. */
export async function messageSigner<Name extends MessageName>(domain: NegotiationDomain, name: Name, { message, signature }: Signed<Name>): Promise<Address | undefined> {
  try {
    return await recoverAddress({ hash: messageHash(domain, name, message), signature });
  } catch {
    return undefined;
  }
}

/** Whoever signs: viem's local account, or anything of its shape. */
export type MessageSigner = { address: Address; signTypedData(typed: never): Promise<Hex> };

export async function signMessage<Name extends MessageName>(signer: MessageSigner, domain: NegotiationDomain, name: Name, message: Messages[Name]): Promise<Signed<Name>> {
  return { message, signature: await signer.signTypedData(typedMessage(domain, name, message) as never) };
}

export function toWire<Name extends MessageName>(name: Name, { message, signature }: Signed<Name>): SignedMessage {
  return { message: toJson(SPECS[name], message), signature };
}

/** @throws TallystickError `negotiation_malformed` that names the field. */
export function fromWire<Name extends MessageName>(name: Name, { message, signature }: SignedMessage): Signed<Name> {
  return { message: readMessage(name, message), signature };
}

export function readMessage<Name extends MessageName>(name: Name, json: unknown): Messages[Name] {
  return fromJson(SPECS[name], json, name.charAt(0).toLowerCase() + name.slice(1)) as unknown as Messages[Name];
}
