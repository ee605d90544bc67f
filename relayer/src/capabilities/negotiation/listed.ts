// A policy or an offer for a service that is on chain names it, by its registry id, and pays whom the registry pays: what an agent found in the
// bazaar, what it agreed and what it pays are then the same thing. For a service that is not on chain the id says nothing, and is zero.
import { isAddressEqual, zeroHash, type Address, type Hex } from "viem";
import { payToOf } from "../agents/views.ts";
import { registryStale } from "../firewall/listed.ts";
import type { GatewayDeps } from "../gateway/rail.ts";

export type Named = { service: string; serviceId: Hex; payTo: Address; provider: Address };
export type Mismatch = { field: "serviceId" | "payTo" | "provider"; detail: string };

/** Undefined where it agrees with the registry, as this process knows that. */
export function listingMismatch({ listings }: Pick<GatewayDeps, "listings">, { service, serviceId, payTo, provider }: Named): Mismatch | undefined {
  const listed = listings.find(service);
  if (listed === undefined) return serviceId === zeroHash ? undefined : { field: "serviceId", detail: `${service} is not listed on chain, so its serviceId is zero.` };
  if (serviceId.toLowerCase() !== listed.serviceId) return { field: "serviceId", detail: `${service} is listed as ${listed.serviceId}.` };
  if (!isAddressEqual(provider, listed.owner)) return { field: "provider", detail: `${service} is listed by ${listed.owner}.` };
  const registered = payToOf(listed);
  if (registered === undefined) return { field: "payTo", detail: `The terms that the registry has of ${service} are not known here.` };
  return isAddressEqual(payTo, registered) ? undefined : { field: "payTo", detail: `The registry says that ${service} is paid to ${registered}.` };
}

/** As listingMismatch, with all that was written before this was asked. @throws TallystickError 503 `registry_stale` (safe): nobody can say. */
export async function mismatchNow({ listings }: Pick<GatewayDeps, "listings">, named: Named): Promise<Mismatch | undefined> {
  await listings.changed();
  if (listings.find(named.service) !== undefined && !listings.isFresh()) throw registryStale();
  return listingMismatch({ listings }, named);
}
