// Services as search has them, in numbers: written by the functions that sync and prober write with.
import { keccak256, toHex, type Address, type Hex } from "viem";
import { setDocument } from "../../relayer/src/capabilities/discovery/document-store.ts";
import { readDocument } from "../../relayer/src/capabilities/discovery/document.ts";
import { copyHealth } from "../../relayer/src/capabilities/discovery/probe-store.ts";
import { rankAgain } from "../../relayer/src/capabilities/discovery/sync.ts";
import { setReputations, upsertServices } from "../../relayer/src/capabilities/discovery/sync-store.ts";
import type { ChainService } from "../../relayer/src/capabilities/discovery/types.ts";
import type { Deps } from "../../relayer/src/deps.ts";
import { metadataBytes, type Metadata } from "../../sdk/src/bazaar/metadata.ts";

export const WORDS =
  "weather forecast rain wind storm climate search web news article summary translate german english french text voice speech image picture video music chart price stock token wallet chain block gas market risk credit bank invoice tax legal contract patent court health drug gene protein cell hospital map route traffic flight hotel train ship cargo port crop soil water solar grid battery sensor robot code review test deploy build log metric alert trace cache vector embed rank score label train tune prompt chat agent plan task memory tool email sms push calendar meeting contact lead ad campaign shop order cart refund review rating sport game quiz recipe diet fitness sleep mood travel visa passport identity proof audit secret key sign vault backup archive store file table query join graph node edge path cluster sample noise signal filter wave radar lidar orbit star moon".split(" ");
const CATEGORIES = ["inference", "search", "data", "finance", "media", "code", "compute"] as const;
export const CAPABILITIES = Array.from({ length: 60 }, (_, nth) => `${WORDS[nth * 2]}.${WORDS[nth * 2 + 1]}`);

/** Numbers that look random and are the same in every run. */
const noise = (seed: number, of: number): number => Number(BigInt(keccak256(toHex(seed))) % BigInt(of));

function metadataOf(nth: number, token: Address): Metadata {
  const word = (at: number) => WORDS[noise(nth * 64 + at, WORDS.length)]!;
  const words = (from: number, count: number) => Array.from({ length: count }, (_, at) => word(from + at)).join(" ");
  return {
    name: `${words(0, 2)} ${nth}`, description: `An api for ${words(2, 18)}.`, version: "1.0.0", capability: CAPABILITIES[nth % CAPABILITIES.length]!, categories: [CATEGORIES[nth % CATEGORIES.length]!],
    pricing: { model: "per-use", price: `0.00${1 + noise(nth, 9)}`, unit: "call", token }, sla: { maxLatencyMs: 100 + noise(nth, 2_000), minUptimePercent: 99 },
    endpoints: [{ method: "GET", path: `/${word(30)}`, description: words(31, 6), sampleInput: { q: word(40) } }], schemes: ["exact", "batch-settlement"],
  };
}

export async function seedServices(deps: Pick<Deps, "db" | "config">, count: number): Promise<void> {
  const { db, config } = deps;
  for (let from = 0; from < count; from += 500) {
    const page = Array.from({ length: Math.min(500, count - from) }, (_, at) => seeded(from + at, config.token.address));
    await upsertServices(db, page.map(({ service }) => service), "indexer");
    await inTurns(page, async ({ service, metadata }) => {
      await setDocument(db, service, readDocument(metadataBytes(metadata), service.contentHash, service), `https://provider.example/s/${service.serviceId.slice(2, 12)}`);
    });
    await setReputations(db, page.filter((_, at) => at % 3 !== 0).map(({ service, nth }) => ({ serviceId: service.serviceId, updatedAt: 1n, reputation: { overall: noise(nth, 101), trust: "trusted" } })));
    await inTurns(page.filter((_, at) => at % 4 !== 0), async ({ service, nth }) => {
      const p50Ms = 20 + noise(nth, 900);
      await copyHealth(db, service.serviceId, {
        probes: 100, since: new Date(0), lastProbedAt: new Date(), uptimePercent: 90 + noise(nth, 11), p50Ms, p90Ms: p50Ms * 2, p99Ms: p50Ms * 4, priceHonestyPercent: 100, hidden: undefined,
      });
    });
  }
  await rankAgain(deps, new Date(0));
  await db.query("VACUUM ANALYZE discovery_service");
}

async function inTurns<T>(items: readonly T[], once: (item: T) => Promise<void>): Promise<void> {
  const next = items.values();
  const lane = async (): Promise<void> => {
    for (const item of next) await once(item);
  };
  await Promise.all(Array.from({ length: 8 }, lane));
}

function seeded(nth: number, token: Address): { nth: number; metadata: Metadata; service: ChainService } {
  const metadata = metadataOf(nth, token);
  const contentHash = keccak256(metadataBytes(metadata));
  const payTo = `0x${keccak256(toHex(`payee ${nth}`)).slice(-40)}` as Address;
  const service: ChainService = {
    serviceId: keccak256(toHex(`service ${nth}`)) as Hex, owner: payTo, agentKey: 0n, payTo, token, price: BigInt(1 + noise(nth, 9)) * 1_000n, capability: metadata.capability, categories: BigInt(1 << (nth % CATEGORIES.length)), schemes: 3, visibility: "public",
    status: "listed", version: 1, contentHash, uri: "https://provider.example/metadata.json", bond: BigInt(noise(nth, 200)) * 1_000_000n, ratingCount: 0, updatedAt: BigInt(1_700_000_000 + nth),
  };
  return { nth, metadata, service };
}
