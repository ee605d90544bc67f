// The terms of a service in the bazaar, its id and the hashes that the BazaarRegistry keeps of it.
import { encodeAbiParameters, hashStruct, hashTypedData, hexToString, keccak256, size, stringToHex, toHex, zeroAddress, type Address, type Hex, type TypedDataDomain } from "viem";

/** Whose service it is; its typed-data hash is the service's id. */
export const serviceTypes = {
  Service: [
    { name: "agent", type: "uint256" },
    { name: "owner", type: "address" },
    { name: "salt", type: "bytes32" },
  ],
} as const;

export const serviceOfferTypes = {
  ServiceOffer: [
    { name: "capability", type: "bytes32" },
    { name: "categories", type: "uint64" },
    { name: "price", type: "uint128" },
    { name: "schemes", type: "uint16" },
    { name: "visibility", type: "uint8" },
    { name: "contentHash", type: "bytes32" },
    { name: "uri", type: "string" },
  ],
} as const;

export const serviceTermsTypes = {
  ServiceTerms: [
    { name: "payTo", type: "address" },
    { name: "token", type: "address" },
    { name: "offer", type: "ServiceOffer" },
  ],
  ...serviceOfferTypes,
} as const;

export type ServiceKey = {
  /** agentId + 1 of the ERC-8004 identity that owns it (see agentKey), or 0: owned by `owner`. */
  agent: bigint;
  /** The zero address when an identity owns it. */
  owner: Address;
  salt: Hex;
};

/** In the order of the contract's enum. */
export const SERVICE_STATUSES = ["none", "draft", "pending_review", "listed", "suspended", "delisted"] as const;
export type ServiceStatus = (typeof SERVICE_STATUSES)[number];
export const SERVICE_VISIBILITIES = ["public", "unlisted"] as const;
export type ServiceVisibility = (typeof SERVICE_VISIBILITIES)[number];

/** Payment schemes, by their bit. Bits are only ever added. */
export const SERVICE_SCHEMES = ["exact", "batch-settlement", "upto", "escrow"] as const;
/** Categories, by their bit. Bits are only ever added. */
export const SERVICE_CATEGORIES = [
  "inference", "search", "data", "finance", "media", "code", "compute", "storage", "communication", "identity", "research", "translation", "commerce", "security", "other",
] as const;

/** What is offered. Price in atomic token units. */
export type ServiceOffer = {
  /** See capabilityTag. */
  capability: Hex;
  /** See bitmapOf and SERVICE_CATEGORIES. */
  categories: bigint;
  price: bigint;
  /** See bitmapOf and SERVICE_SCHEMES. */
  schemes: number;
  /** Index into SERVICE_VISIBILITIES. */
  visibility: number;
  /** Hash of the metadata document at `uri`. */
  contentHash: Hex;
  uri: string;
};

export type ServiceTerms = { payTo: Address; token: Address; offer: ServiceOffer };
/** Terms with the offer by its hash: what a rating and an update name. */
export type ServiceTermsRef = { payTo: Address; token: Address; offerHash: Hex };

/** Domain of every BazaarRegistry signature; it binds chain and contract. */
export function bazaarRegistryDomain(chainId: number, verifyingContract: Address) {
  return { name: "Tallystick Bazaar Registry", version: "1", chainId, verifyingContract } as const satisfies TypedDataDomain;
}

export type BazaarRegistryDomain = ReturnType<typeof bazaarRegistryDomain>;

/** The key of a service that an ERC-8004 identity owns; the agentId may be 0. */
export function agentKey(agentId: bigint, salt: Hex): ServiceKey {
  return { agent: agentId + 1n, owner: zeroAddress, salt };
}

export function serviceIdOf(domain: BazaarRegistryDomain, key: ServiceKey): Hex {
  return hashTypedData({ domain, types: serviceTypes, primaryType: "Service", message: key });
}

export function offerHashOf(offer: ServiceOffer): Hex {
  return hashStruct({ data: offer, types: serviceOfferTypes, primaryType: "ServiceOffer" });
}

export function termsRefOf({ payTo, token, offer }: ServiceTerms): ServiceTermsRef {
  return { payTo, token, offerHash: offerHashOf(offer) };
}

/** Of which the registry keeps the first 25 bytes (`termsTag`). */
export function termsHashOf(terms: ServiceTerms): Hex {
  return hashStruct({ data: terms, types: serviceTermsTypes, primaryType: "ServiceTerms" });
}

/**
 * A capability tag as the registry takes it: ASCII, left-aligned.
 * @throws RangeError when it is empty, longer than 32 bytes, or holds anything but a-z, 0-9, ".", "-" and "_".
 */
export function capabilityTag(tag: string): Hex {
  if (!/^[a-z0-9][a-z0-9._-]{0,31}$/.test(tag)) throw new RangeError(`not a capability tag: ${JSON.stringify(tag)}`);
  return stringToHex(tag, { size: 32 });
}

/** The tag of a capability word; whatever else a provider put there reads as undefined. */
export function readCapabilityTag(capability: Hex): string | undefined {
  const tag = size(capability) === 32 ? hexToString(capability, { size: 32 }) : "";
  return /^[a-z0-9][a-z0-9._-]{0,31}$/.test(tag) ? tag : undefined;
}

/** What a mandate's `capability` names for that tag. */
export function mandateCapability(tag: string): Hex {
  return keccak256(toHex(tag));
}

/** @throws RangeError when a name is none of `names`. */
export function bitmapOf(names: readonly string[], chosen: readonly string[]): bigint {
  return chosen.reduce((bits, name) => {
    const bit = names.indexOf(name);
    if (bit < 0) throw new RangeError(`${JSON.stringify(name)} is none of ${names.join(", ")}`);
    return bits | (1n << BigInt(bit));
  }, 0n);
}

/** The names of the bits that are set; bits without a name are left out. */
export function namesOf<Name extends string>(names: readonly Name[], bitmap: bigint): Name[] {
  return names.filter((_, bit) => ((bitmap >> BigInt(bit)) & 1n) === 1n);
}

/** What a rating by a job names as its source. */
export function jobSourceOf(chainId: number, jobs: Address, jobId: bigint): Hex {
  return keccak256(encodeAbiParameters([{ type: "uint256" }, { type: "address" }, { type: "uint256" }], [BigInt(chainId), jobs, jobId]));
}
