// How a listed service is called, for its 402: the bazaar extension of the endpoint that was asked for. Made once for a document, which never
// changes, and only for what is listed: any other call pays nothing for it.
import type { Hex } from "viem";
import type { Deps } from "../../deps.ts";
import { findMetadata } from "../agents/store.ts";
import type { ListingViews } from "../agents/views.ts";
import { readDocument } from "./document.ts";
import { BAZAAR, bazaarExtension, endpointAt } from "./item.ts";
import type { DocumentFacts } from "./types.ts";
import { TallystickError } from "../../../../sdk/src/errors.ts";

export type Cards = {
  /** The extension for a 402 at that URL; nothing for what is not listed or does not say how it is called. */
  extensionFor(service: string, url: string): Promise<Record<string, unknown>>;
};

/** Documents kept; with more, the oldest is made again. */
const MOST = 1_000;
/** It is echoed in the header of the payment, where a server takes 16 KiB in all. */
const MOST_BYTES = 3_000;

export function createCards({ db, config }: Pick<Deps, "db" | "config">, listings: ListingViews): Cards {
  const kept = new Map<Hex, { facts: Promise<DocumentFacts | undefined>; made: Map<string, Record<string, unknown>> }>();
  const load = async (contentHash: Hex): Promise<DocumentFacts | undefined> => {
    const body = await findMetadata(db, contentHash);
    return body === undefined ? undefined : factsIn(body, contentHash);
  };
  const cardOf = (contentHash: Hex) => {
    const known = kept.get(contentHash);
    if (known !== undefined) return known;
    const facts = load(contentHash);
    facts.then((found) => found === undefined && kept.delete(contentHash), () => kept.delete(contentHash));
    if (kept.size >= MOST) kept.delete(kept.keys().next().value!);
    const card = { facts, made: new Map<string, Record<string, unknown>>() };
    kept.set(contentHash, card);
    return card;
  };
  return {
    async extensionFor(service, url) {
      const listed = listings.find(service);
      if (listed === undefined || listed.status !== "listed") return {};
      const { facts: reading, made } = cardOf(listed.contentHash);
      const facts = await reading;
      const path = pathBelow(url, `${config.publicUrl}/s/${service}`);
      const endpoint = facts === undefined || path === undefined ? undefined : endpointAt(facts, path);
      if (endpoint === undefined) return {};
      const key = `${endpoint.method} ${endpoint.path}`;
      const extension = made.get(key) ?? wrapped(bazaarExtension(endpoint));
      made.set(key, extension);
      return extension;
    },
  };
}

function wrapped(extension: ReturnType<typeof bazaarExtension>): Record<string, unknown> {
  return extension === undefined || JSON.stringify(extension).length > MOST_BYTES ? {} : { [BAZAAR]: extension };
}

function pathBelow(url: string, base: string): string | undefined {
  return url.startsWith(base) ? url.slice(base.length).split("?")[0]! : undefined;
}

function factsIn(body: Uint8Array, contentHash: Hex): DocumentFacts | undefined {
  try {
    return readDocument(body, contentHash, { capability: "", categories: 0n }).facts;
  } catch (error) {
    if (error instanceof TallystickError) return undefined;
    throw error;
  }
}
