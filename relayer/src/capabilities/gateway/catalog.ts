// What is for sale, kept for a moment: every call asks for its service. A change made by this process counts at once, one made by another
// within FRESH_MS; until then a call is sold at the terms that stood a moment ago.
import type { Db } from "../../db/pool.ts";
import { findService, type Service } from "./store.ts";

export type Catalog = {
  find(name: string): Promise<Service | undefined>;
  /** The next find reads it again. */
  changed(name: string): void;
};

const FRESH_MS = 1_000;
/** Services kept; with more, each call reads its own. */
const MOST = 10_000;

export function createCatalog(db: Db): Catalog {
  const kept = new Map<string, { service: Promise<Service | undefined>; until: number }>();
  return {
    find(name) {
      const known = kept.get(name);
      if (known !== undefined && performance.now() < known.until) return known.service;
      const service = findService(db, name);
      kept.delete(name);
      if (kept.size < MOST) kept.set(name, { service, until: performance.now() + FRESH_MS });
      // Only what is for sale is kept: names that do not exist are anybody's to invent.
      service.then((found) => found === undefined && kept.delete(name), () => kept.delete(name));
      return service;
    },
    changed: (name) => void kept.delete(name),
  };
}
