// Services on the registry of the local chain, listed by their owners' own transactions.
import { encodeFunctionData, keccak256, pad, toHex, type Hex, type LocalAccount } from "viem";
import { bazaarRegistryAbi } from "../../sdk/src/abi/bazaar-registry.ts";
import { metadataBytes, type Metadata } from "../../sdk/src/bazaar/metadata.ts";
import { bazaarRegistryDomain, bitmapOf, capabilityTag, SERVICE_CATEGORIES, SERVICE_SCHEMES, SERVICE_STATUSES, serviceIdOf, termsRefOf, type ServiceKey, type ServiceStatus, type ServiceTerms } from "../../sdk/src/bazaar.ts";
import { BASE_SEPOLIA, LOCAL_BAZAAR_REGISTRY } from "../../sdk/src/constants.ts";
import { Sessions } from "./session.ts";
import type { TestChain } from "./chain.ts";

export const BAZAAR_DOMAIN = bazaarRegistryDomain(BASE_SEPOLIA.chainId, LOCAL_BAZAAR_REGISTRY);
const BY_SENDER = { deadline: 0n, signature: "0x" } as const;

export type OnChain = { key: ServiceKey; serviceId: Hex; terms: ServiceTerms; owner: LocalAccount };

export function metadataOf(change: Partial<Metadata> = {}): Metadata {
  return {
    name: "Web search", description: "Searches the web and answers with links.", version: "1.0.0", capability: "web.search", categories: ["search"],
    pricing: { model: "per-use", price: "0.001", unit: "call", token: BASE_SEPOLIA.usdc.address }, sla: { maxLatencyMs: 800, minUptimePercent: 99.5 },
    endpoints: [{ method: "GET", path: "/search", description: "One query", sampleInput: { q: "tally" }, inputSchema: { type: "object", properties: { q: { type: "string" } }, required: ["q"] } }],
    schemes: ["exact", "batch-settlement"], ...change,
  };
}

export const hashOfMetadata = (metadata: Metadata): Hex => keccak256(metadataBytes(metadata));

/** Sends the owner's transactions. */
export function bazaarOf(chain: TestChain) {
  const sessions = new Sessions(chain);
  const send = (owner: LocalAccount, functionName: "list" | "update" | "setStatus", args: readonly unknown[]) =>
    sessions.sendTo(owner, LOCAL_BAZAAR_REGISTRY, encodeFunctionData({ abi: bazaarRegistryAbi, functionName, args } as Parameters<typeof encodeFunctionData>[0]));
  let salts = 0n;
  return {
    async list(owner: LocalAccount, metadata: Metadata, more: Partial<ServiceTerms["offer"]> & { payTo?: Hex } = {}): Promise<OnChain> {
      const { payTo = owner.address, ...offer } = more;
      const key = { agent: 0n, owner: owner.address, salt: pad(toHex(++salts)) };
      const terms: ServiceTerms = {
        payTo, token: BASE_SEPOLIA.usdc.address,
        offer: {
          capability: capabilityTag(metadata.capability), categories: bitmapOf(SERVICE_CATEGORIES, metadata.categories), price: 1_000n, schemes: Number(bitmapOf(SERVICE_SCHEMES, metadata.schemes)), visibility: 0,
          contentHash: hashOfMetadata(metadata), uri: "https://nowhere.example/metadata.json", ...offer,
        },
      };
      await send(owner, "list", [key, terms, true, BY_SENDER]);
      return { key, serviceId: serviceIdOf(BAZAAR_DOMAIN, key), terms, owner };
    },
    async update(service: OnChain, offer: Partial<ServiceTerms["offer"]>, payTo = service.terms.payTo): Promise<OnChain> {
      const terms = { ...service.terms, payTo, offer: { ...service.terms.offer, ...offer } };
      await send(service.owner, "update", [service.key, termsRefOf(service.terms), terms, BY_SENDER]);
      return { ...service, terms };
    },
    setStatus: ({ owner, key }: OnChain, status: ServiceStatus) => send(owner, "setStatus", [key, SERVICE_STATUSES.indexOf(status), BY_SENDER]),
  };
}
