// Which BazaarRegistry counts: those that the SDK knows, or the one that its user names; never just any that a relayer speaks of.
import type { Address } from "viem";
import { deployments } from "../addresses.ts";
import { bazaarRegistryDomain, type BazaarRegistryDomain } from "../bazaar.ts";
import { LOCAL_BAZAAR_REGISTRY } from "../constants.ts";

/** @param wanted the only one that counts; the published one of the chain, or that of the local world, when left out. */
export function knownRegistries(chainId: number, wanted: Address | undefined): Address[] {
  if (wanted !== undefined) return [wanted];
  return [...(chainId === 84_532 ? [LOCAL_BAZAAR_REGISTRY] : []), ...(chainId === 8_453 || chainId === 84_532 ? [deployments[chainId].contracts.BazaarRegistry] : [])];
}

/** The registry that was told of, where it is one of those; else undefined. */
export function registryOf(chainId: number, told: Address, wanted: Address | undefined): BazaarRegistryDomain | undefined {
  const found = knownRegistries(chainId, wanted).find((address) => address.toLowerCase() === told.toLowerCase());
  return found === undefined ? undefined : bazaarRegistryDomain(chainId, found);
}
