// What search takes from a metadata document. Pure. The document was written by a stranger: it is checked by the SDK, and whatever does not
// pass is not shown.
import { keccak256, stringToBytes, type Hex } from "viem";
import { MAX_METADATA_BYTES, readMetadata, type Metadata } from "../../../../sdk/src/bazaar/metadata.ts";
import { SERVICE_CATEGORIES, namesOf } from "../../../../sdk/src/bazaar.ts";
import { bazaarExtension } from "./item.ts";
import type { ChainService, DocumentFacts } from "./types.ts";

export { MAX_METADATA_BYTES };

/** Endpoints that search keeps of a document. */
const MOST_ENDPOINTS = 20;

export type ReadDocument = {
  name: string;
  description: string;
  facts: DocumentFacts;
  maxLatencyMs: number | undefined;
  minUptime: number | undefined;
  /** Heaviest first, for the words of the index. */
  words: [title: string, tags: string, about: string];
};

/** @throws TallystickError 400 where the bytes are not the document of that hash, or not one. */
export function readDocument(bytes: Uint8Array, contentHash: Hex, { capability, categories }: Pick<ChainService, "capability" | "categories">): ReadDocument {
  const metadata = readMetadata(bytes, contentHash);
  return {
    name: metadata.name,
    description: metadata.description,
    facts: factsOf(metadata),
    maxLatencyMs: metadata.sla?.maxLatencyMs,
    minUptime: metadata.sla?.minUptimePercent,
    words: [metadata.name, tagsOf(capability, categories), [metadata.description, ...metadata.endpoints.slice(0, MOST_ENDPOINTS).map(({ description = "" }) => description)].join(" ").slice(0, 4_000)],
  };
}

/** Of a tag's parts each is a word too: "web.search" is found by "search". */
export function tagsOf(capability: string, categories: bigint): string {
  return [capability, ...capability.split(/[._-]/), ...namesOf(SERVICE_CATEGORIES, categories)].join(" ");
}

/** What vectors are made of, and its name. */
export function embeddedText({ name, description, capability }: { name: string; description: string; capability: string }): { text: string; hash: Hex } {
  const text = `${name}\n${capability}\n${description}`.slice(0, 4_000);
  return { text, hash: keccak256(stringToBytes(text)) };
}

function factsOf({ version, documentation, provider, pricing, sla, refundPolicy, endpoints }: Metadata): DocumentFacts {
  return {
    documentVersion: version,
    ...(documentation === undefined ? {} : { documentation }),
    ...(provider === undefined ? {} : { provider }),
    pricing: { model: pricing.model, unit: pricing.unit, ...(pricing.periodS === undefined ? {} : { periodS: pricing.periodS }) },
    ...(sla === undefined ? {} : { sla }),
    ...(refundPolicy === undefined ? {} : { refundPolicy }),
    endpoints: endpoints.slice(0, MOST_ENDPOINTS),
    card: endpoints[0] === undefined ? null : (bazaarExtension(endpoints[0]) ?? null),
  };
}
