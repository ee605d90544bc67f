// What the scheme needs in one process: prepared once, given to the gateway and the facilitator.
import { createBoundedCache, type BoundedCache } from "../../crypto/bounded-cache.ts";
import type { Deps } from "../../deps.ts";
import { createGroup } from "../../db/group.ts";
import { createDigest, type Digest } from "./digest.ts";
import { createEngine, type Engine } from "./engine.ts";
import { createProbe, type Probe } from "./probe.ts";
import { lookUp, type Known } from "./queue-store.ts";
import { takeTellings, type SettlementKey } from "./store.ts";
import type { Authorization } from "./types.ts";

export type Exact = {
  digest: Digest;
  /** Digest, signature and payer of what was found signed by the payer's key. */
  signed: BoundedCache<string, true>;
  probe: Probe;
  engine: Engine;
  /** What the database knows of an authorisation; asked for many at once. */
  lookUp(authorization: Authorization): Promise<Known>;
  /** Takes the one time that success is told. @returns false when another request was told. */
  takeTelling(telling: { key: SettlementKey; toldTo: string }): Promise<boolean>;
};

/** Signatures; some 400 bytes each. */
const REMEMBERED = 8_192;

export function createExact(deps: Pick<Deps, "config" | "db" | "chain" | "submitter" | "log" | "now" | "reached">): Exact {
  const probe = createProbe(deps);
  return {
    digest: createDigest(deps.config),
    signed: createBoundedCache(REMEMBERED),
    probe,
    engine: createEngine({ ...deps, probe }),
    lookUp: createGroup((keys: Authorization[]) => lookUp(deps.db, deps.config.token.address, keys), () => true),
    takeTelling: createGroup((tellings: { key: SettlementKey; toldTo: string }[]) => takeTellings(deps.db, tellings), () => true),
  };
}
