// Holds a listing, as a relayer tells of it, against the registry on chain: it is listed, by that owner, with those terms and that document.
// A relayer that lies about whom a service pays, what it costs or what its metadata says is found out before anything is signed for it.
import { isAddressEqual, type Address, type Hex } from "viem";
import { bazaarRegistryAbi as abi } from "../abi/bazaar-registry.ts";
import type { ChainReader } from "../agent/chain.ts";
import { bitmapOf, capabilityTag, SERVICE_CATEGORIES, SERVICE_SCHEMES, SERVICE_STATUSES, SERVICE_VISIBILITIES, serviceIdOf, type ServiceKey, type ServiceTerms } from "../bazaar.ts";
import type { Agent } from "../bazaar/listing.ts";
import { registryOf } from "../bazaar/registry-of.ts";
import { serviceKeyOf } from "../bazaar/terms.ts";
import { TallystickError } from "../errors.ts";

export type ListingCheck = {
  reader: ChainReader;
  chainId: number;
  /** The registry that counts; the known ones when left out. */
  registry: Address | undefined;
};

/** Whom and what an offer is for. */
export type Claimed = { serviceId: Hex; provider: Address; payTo: Address; /** Where it was asked for by one. */ capability: string };

/**
 * @returns why the chain says otherwise, or undefined.
 * @throws TallystickError 503 `listing_unverified` (safe): the chain cannot be asked.
 */
export async function listingFaultOnChain({ reader, chainId, registry }: ListingCheck, agent: Agent, { serviceId, provider, payTo, capability }: Claimed): Promise<string | undefined> {
  const domain = registryOf(chainId, agent.registry, registry);
  if (domain === undefined) return `its listing is in a registry that is not known, ${agent.registry}`;
  const read = termsOf(agent);
  if (read === undefined) return "its listing cannot be read";
  const { key, terms } = read;
  if (serviceIdOf(domain, key) !== serviceId) return "its listing is of another id";
  if (capability !== "" && agent.capability !== capability) return `its listing is of ${agent.capability}`;
  if (!isAddressEqual(terms.payTo, payTo)) return "the offer pays somebody else than its listing";
  const at = { address: domain.verifyingContract, abi } as const;
  const [isCurrent, owner, { status }] = await Promise.all([
    reader.readContract({ ...at, functionName: "isCurrent", args: [serviceId, terms] }), reader.readContract({ ...at, functionName: "serviceOwner", args: [key] }), reader.readContract({ ...at, functionName: "services", args: [serviceId] }),
  ]).catch((cause: unknown) => {
    throw new TallystickError({ code: "listing_unverified", status: 503, retry: "safe", detail: `The registry at ${domain.verifyingContract} cannot be asked about ${serviceId}; nothing was signed.`, cause });
  });
  if (SERVICE_STATUSES[status] !== "listed") return `the registry says that it is ${SERVICE_STATUSES[status] ?? "unknown"}`;
  if (!isCurrent) return "its listing is not what the registry has: another payee, price or document";
  return isAddressEqual(owner, provider) ? undefined : `the registry says that it is ${owner}'s`;
}

/** Key and terms as the relayer shows them; undefined where they are none. */
function termsOf({ owner, salt, agentId, payTo, token, priceAtomic, capability, categories, schemes, visibility, contentHash, uri }: Agent): { key: ServiceKey; terms: ServiceTerms } | undefined {
  try {
    const offer = {
      capability: capabilityTag(capability), categories: bitmapOf(SERVICE_CATEGORIES, categories as never), price: BigInt(priceAtomic), schemes: Number(bitmapOf(SERVICE_SCHEMES, schemes as never)),
      visibility: SERVICE_VISIBILITIES.indexOf(visibility), contentHash, uri,
    };
    return { key: serviceKeyOf(owner, salt, agentId === null ? undefined : BigInt(agentId)), terms: { payTo, token, offer } };
  } catch {
    return undefined; // a name, a number or an address that is none
  }
}
