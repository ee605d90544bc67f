// A service whose provider owes the relayer for too long is not sold (RELAYER_FEE_GRACE_S), nor one that its owner paused or calls offline. Nothing that was paid is lost by it: answers are
// fetched again, and what is under way is finished.
import { TallystickError } from "../../../../sdk/src/errors.ts";
import type { Service } from "./store.ts";

const RETRY_AFTER_S = 3_600;

/** Undefined for a service that is sold. */
export function pauseOf({ name, pausedSince, closed }: Pick<Service, "name" | "pausedSince" | "closed">): TallystickError | undefined {
  if (pausedSince === undefined) return closed === undefined ? undefined : closedOf(name, closed);
  return new TallystickError({
    code: "service_paused", status: 503, retry: "safe", field: "service", extra: { pausedSince: pausedSince.toISOString(), retryAfterS: RETRY_AFTER_S },
    detail: `${name} is not sold at present: its provider has an invoice to pay. Nothing was charged.`,
  });
}

function closedOf(name: string, { why, until }: NonNullable<Service["closed"]>): TallystickError {
  const waitS = until === undefined ? RETRY_AFTER_S : Math.max(1, Math.ceil((until.getTime() - Date.now()) / 1_000));
  return new TallystickError({
    code: why === "paused" ? "service_paused" : "service_offline", status: 503, retry: "safe", field: "service", extra: { retryAfterS: waitS, ...(until === undefined ? {} : { availableAt: until.toISOString() }) },
    detail: `${name} is ${why === "paused" ? "paused by its owner" : "offline, its owner says"}${until === undefined ? "" : ` until ${until.toISOString()}`}. Nothing was charged.`,
  });
}

/** @throws TallystickError 503 `service_paused`, `service_offline`. */
export function checkOnSale(service: Pick<Service, "name" | "pausedSince" | "closed">): void {
  const pause = pauseOf(service);
  if (pause !== undefined) throw pause;
}
