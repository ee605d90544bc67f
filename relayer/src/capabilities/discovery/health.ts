// What the prober measured of a service, with its history: public.
import type { Hex } from "viem";
import type { Deps } from "../../deps.ts";
import { probeHistory, serviceHealth, type ProbeEntry, type ServiceHealth } from "./health-store.ts";
import { knownService } from "./search.ts";

/** @throws TallystickError 404 `service_unknown`. */
export async function healthOf(deps: Pick<Deps, "db">, idOrName: string, most: number): Promise<{ serviceId: Hex; health: ServiceHealth; history: ProbeEntry[] }> {
  const { serviceId } = await knownService(deps, idOrName);
  const [health, history] = await Promise.all([serviceHealth(deps.db, serviceId), probeHistory(deps.db, serviceId, most)]);
  return { serviceId, health, history };
}
