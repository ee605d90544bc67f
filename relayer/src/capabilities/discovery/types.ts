// What search knows of a service.
import type { Address, Hex } from "viem";
import type { RefundPolicy, Sla } from "../../../../sdk/src/bazaar/metadata.ts";
import type { ServiceStatus, ServiceVisibility } from "../../../../sdk/src/bazaar.ts";

/** What the registry says, or what was listed here and is not indexed yet. Prices in atomic units of `token`. */
export type ChainService = {
  serviceId: Hex;
  owner: Address;
  agentKey: bigint;
  payTo: Address;
  token: Address;
  price: bigint;
  /** Empty where the word on chain is no tag. */
  capability: string;
  categories: bigint;
  schemes: number;
  visibility: ServiceVisibility;
  status: ServiceStatus;
  version: number;
  contentHash: Hex;
  uri: string;
  /** What stands of its bond. */
  bond: bigint;
  ratingCount: number;
  /** Unix seconds. */
  updatedAt: bigint;
};

/** One way to call a service, as its provider describes it. */
export type EndpointFacts = { method: string; path: string; description?: string; inputSchema?: unknown; outputSchema?: unknown; sampleInput?: unknown; sampleOutput?: unknown };

/** What a metadata document says, beyond name and description. */
export type DocumentFacts = {
  documentVersion?: string;
  documentation?: string;
  provider?: string;
  pricing?: { model: string; unit: string; periodS?: number };
  sla?: Sla;
  refundPolicy?: RefundPolicy;
  endpoints: EndpointFacts[];
  /** How the first of them is called, in the form of x402's bazaar: made and validated once, when the document is read. null: in none that is valid. */
  card?: object | null;
};

export type Reputation = { overall: number; trust?: string; [score: string]: unknown };

export type Availability = "online" | "offline" | "busy";

/** What a service is ranked by, as it is stored. Percent from 0 to 100, milliseconds; undefined: not known. */
export type Measured = {
  reputation: number | undefined;
  uptime: number | undefined;
  p90Ms: number | undefined;
  honesty: number | undefined;
  promisedLatencyMs: number | undefined;
  price: bigint;
  token: Address;
  bond: bigint;
};

export type FoundService = ChainService &
  Measured & {
    /** The gateway's name, where it is sold here. */
    service: string | undefined;
    url: string;
    name: string;
    description: string;
    facts: DocumentFacts;
    promisedUptime: number | undefined;
    p50Ms: number | undefined;
    p99Ms: number | undefined;
    reputationDetail: Reputation | undefined;
    availability: Availability;
    availableAt: Date | undefined;
    changedAt: Date;
    quality: number;
    /** Of the text, from 0 to 1; undefined: no text was asked for. */
    textMatch: number | undefined;
  };
