// Services as providers list them in tests.
import { BASE_SEPOLIA } from "../../sdk/src/constants.ts";
import { LOCAL_BAZAAR_REGISTRY } from "../../sdk/src/constants.ts";
import { bazaarRegistryDomain } from "../../sdk/src/bazaar.ts";
import type { Metadata } from "../../sdk/src/bazaar/metadata.ts";
import { createListingClient, type ListingClient } from "../../sdk/src/bazaar/listing.ts";
import type { TestWorld } from "./relayer.ts";

export const bazaarDomain = bazaarRegistryDomain(BASE_SEPOLIA.chainId, LOCAL_BAZAAR_REGISTRY);

/** A forecast at two tenths of a cent a call. */
export const metadataOf = (change: Partial<Metadata> = {}): Metadata => ({
  name: "Weather", description: "Forecasts for any place", version: "1.0.0", capability: "weather.forecast", categories: ["data"],
  pricing: { model: "per-use", price: "0.002", unit: "call", token: BASE_SEPOLIA.usdc.address },
  sla: { maxLatencyMs: 800, minUptimePercent: 99.95 }, refundPolicy: { latencyCreditBps: 2_500, failureCreditBps: 10_000 },
  endpoints: [{ method: "GET", path: "/today", sampleOutput: { celsius: 18.5 } }],
  schemes: ["exact", "batch-settlement"], ...change,
});

export const listingClientOf = (world: TestWorld, index: number, url = world.url): ListingClient => createListingClient({ relayerUrl: url, account: world.chain.account(index) });
