// A service whose provider owes the relayer for too long is not sold (RELAYER_FEE_GRACE_S). Nothing that was paid is lost by it: answers are
// fetched again, and what is under way is finished.
import { TallystickError } from "../../../../sdk/src/errors.ts";
import type { Service } from "./store.ts";

const RETRY_AFTER_S = 3_600;

/** Undefined for a service that is sold. */
export function pauseOf({ name, pausedSince }: Pick<Service, "name" | "pausedSince">): TallystickError | undefined {
  if (pausedSince === undefined) return undefined;
  return new TallystickError({
    code: "service_paused", status: 503, retry: "safe", field: "service", extra: { pausedSince: pausedSince.toISOString(), retryAfterS: RETRY_AFTER_S },
    detail: `${name} is not sold at present: its provider has an invoice to pay. Nothing was charged.`,
  });
}

/** @throws TallystickError 503 `service_paused`. */
export function checkOnSale(service: Pick<Service, "name" | "pausedSince">): void {
  const pause = pauseOf(service);
  if (pause !== undefined) throw pause;
}
