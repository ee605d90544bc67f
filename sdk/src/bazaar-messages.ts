// What owners and raters sign for the BazaarRegistry, so that anyone may send the call. The domain of every signature here is
// bazaarRegistryDomain. A signature of an owner names the service's revision, which every change moves on: it works once.
import { hashTypedData, type Hex } from "viem";
import { SERVICE_STATUSES, serviceTermsTypes, type BazaarRegistryDomain, type ServiceStatus, type ServiceTerms } from "./bazaar.ts";

export const listServiceTypes = {
  ListService: [
    { name: "serviceId", type: "bytes32" },
    { name: "terms", type: "ServiceTerms" },
    { name: "publish", type: "bool" },
    { name: "deadline", type: "uint256" },
  ],
  ...serviceTermsTypes,
} as const;

export const updateServiceTypes = {
  UpdateService: [
    { name: "serviceId", type: "bytes32" },
    { name: "revision", type: "uint24" },
    { name: "terms", type: "ServiceTerms" },
    { name: "deadline", type: "uint256" },
  ],
  ...serviceTermsTypes,
} as const;

export const setServiceStatusTypes = {
  SetServiceStatus: [
    { name: "serviceId", type: "bytes32" },
    { name: "revision", type: "uint24" },
    { name: "status", type: "uint8" },
    { name: "deadline", type: "uint256" },
  ],
} as const;

export const unbondServiceTypes = {
  UnbondService: [
    { name: "serviceId", type: "bytes32" },
    { name: "revision", type: "uint24" },
    { name: "amount", type: "uint128" },
    { name: "deadline", type: "uint256" },
  ],
} as const;

export const rateServiceTypes = {
  RateService: [
    { name: "serviceId", type: "bytes32" },
    { name: "source", type: "bytes32" },
    { name: "claimed", type: "uint128" },
    { name: "score", type: "uint8" },
    { name: "details", type: "bytes32" },
    { name: "forward", type: "bool" },
    { name: "deadline", type: "uint256" },
  ],
} as const;

/** Times are Unix seconds, the last in which the signature counts. */
type Order = { serviceId: Hex; deadline: bigint };
/** A change of a service that stands at `revision`. */
type Change = Order & { revision: number };

export function listServiceDigest(domain: BazaarRegistryDomain, message: Order & { terms: ServiceTerms; publish: boolean }): Hex {
  return hashTypedData({ domain, types: listServiceTypes, primaryType: "ListService", message });
}

export function updateServiceDigest(domain: BazaarRegistryDomain, message: Change & { terms: ServiceTerms }): Hex {
  return hashTypedData({ domain, types: updateServiceTypes, primaryType: "UpdateService", message });
}

export function setServiceStatusDigest(domain: BazaarRegistryDomain, { status, ...rest }: Change & { status: ServiceStatus }): Hex {
  const message = { ...rest, status: SERVICE_STATUSES.indexOf(status) };
  return hashTypedData({ domain, types: setServiceStatusTypes, primaryType: "SetServiceStatus", message });
}

export function unbondServiceDigest(domain: BazaarRegistryDomain, message: Change & { amount: bigint }): Hex {
  return hashTypedData({ domain, types: unbondServiceTypes, primaryType: "UnbondService", message });
}

/** What the payer of a channel, or the client of a job, says of the service. */
export type Rating = Order & {
  /** Id of the channel, or jobSourceOf. */
  source: Hex;
  /** Of a channel the cumulative amount claimed; of a job what it paid. Atomic units. */
  claimed: bigint;
  /** 0 to 100. */
  score: number;
  details: Hex;
  /** Whether it goes on to the ERC-8004 reputation registry. */
  forward: boolean;
};

export function rateServiceDigest(domain: BazaarRegistryDomain, message: Rating): Hex {
  return hashTypedData({ domain, types: rateServiceTypes, primaryType: "RateService", message });
}
