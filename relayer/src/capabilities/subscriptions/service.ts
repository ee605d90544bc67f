// Months that stand, for their parties.
import type { Address } from "viem";
import type { Deps } from "../../deps.ts";
import { standing, type Subscription } from "./store.ts";

const PAGE = 50;

/** Those that the caller pays for, signs for, or is paid for. */
export function subscriptionsOf({ db }: Pick<Deps, "db">, caller: Address, { service, limit = PAGE }: { service?: string; limit?: number }): Promise<Subscription[]> {
  return standing(db, caller, service, limit);
}
