// From a metadata document to the terms that its owner signs, and the typed data of each act. The same here and at the relayer, so that
// whoever signs builds what it signs itself.
import { isAddressEqual, keccak256, stringToHex, zeroAddress, type Address, type Hex } from "viem";
import {
  agentKey, bazaarRegistryDomain, bitmapOf, capabilityTag, SERVICE_CATEGORIES, SERVICE_SCHEMES, SERVICE_STATUSES, SERVICE_VISIBILITIES, serviceIdOf, termsHashOf,
  type BazaarRegistryDomain, type ServiceKey, type ServiceStatus, type ServiceTerms, type ServiceVisibility,
} from "../bazaar.ts";
import { listServiceTypes, setServiceStatusTypes, updateServiceTypes } from "../bazaar-messages.ts";
import { contentHashOf, priceAtomicOf, type Metadata } from "./metadata.ts";

/** Where a relayer serves a document. */
export const metadataUri = (relayerUrl: string, contentHash: Hex): string => `${relayerUrl.replace(/\/+$/, "")}/api/v1/metadata/${contentHash}`;

export type TermsOptions = { payTo: Address; visibility?: ServiceVisibility; /** Where the document is found. */ uri: string };

/** @throws TallystickError 400 `metadata_malformed`. */
export function termsOfMetadata(metadata: Metadata, { payTo, visibility = "public", uri }: TermsOptions): ServiceTerms {
  return {
    payTo,
    token: metadata.pricing.token,
    offer: {
      capability: capabilityTag(metadata.capability),
      categories: bitmapOf(SERVICE_CATEGORIES, metadata.categories),
      price: priceAtomicOf(metadata.pricing),
      schemes: Number(bitmapOf(SERVICE_SCHEMES, metadata.schemes)),
      visibility: SERVICE_VISIBILITIES.indexOf(visibility),
      contentHash: contentHashOf(metadata),
      uri,
    },
  };
}

/** One owner's services are told apart by their names. */
export const saltOfName = (name: string): Hex => keccak256(stringToHex(name));

/** @param agentId of the ERC-8004 identity that owns it; without one `owner` does. */
export function serviceKeyOf(owner: Address, salt: Hex, agentId?: bigint): ServiceKey {
  return agentId === undefined ? { agent: 0n, owner, salt } : agentKey(agentId, salt);
}

/** Of a service that an identity owns, the key names no owner. */
export const keyFrom = ({ agentKey: agent, owner, salt }: { agentKey: bigint; owner: Address; salt: Hex }): ServiceKey => ({ agent, owner: agent === 0n ? owner : zeroAddress, salt });

/** Deadlines are Unix seconds. */
export type Act =
  | { kind: "list"; serviceId: Hex; terms: ServiceTerms; publish: boolean; deadline: bigint }
  | { kind: "update"; serviceId: Hex; revision: number; terms: ServiceTerms; deadline: bigint }
  | { kind: "status"; serviceId: Hex; revision: number; status: ServiceStatus; deadline: bigint };

/** What the owner signs for an act. */
export function actTypedData(domain: BazaarRegistryDomain, act: Act) {
  const { serviceId, deadline } = act;
  if (act.kind === "list") return { domain, types: listServiceTypes, primaryType: "ListService", message: { serviceId, terms: act.terms, publish: act.publish, deadline } } as const;
  if (act.kind === "update") return { domain, types: updateServiceTypes, primaryType: "UpdateService", message: { serviceId, revision: act.revision, terms: act.terms, deadline } } as const;
  return { domain, types: setServiceStatusTypes, primaryType: "SetServiceStatus", message: { serviceId, revision: act.revision, status: SERVICE_STATUSES.indexOf(act.status), deadline } } as const;
}

export const sameTerms = (a: ServiceTerms, b: ServiceTerms): boolean => isAddressEqual(a.payTo, b.payTo) && termsHashOf(a) === termsHashOf(b);

export { bazaarRegistryDomain, serviceIdOf };
