// What the firewall has to know of services and prices, each behind one function. Of a listed service the registry on chain decides; of another
// the gateway's table; and of a price what was negotiated.
import type { Address } from "viem";
import type { GatewayDeps } from "../gateway/rail.ts";
import type { Service } from "../gateway/store.ts";
import { payToOf } from "../agents/views.ts";
import { agreedPrice } from "../negotiation/session-store.ts";
import { serviceAt } from "./store.ts";

/** What is sold, as it is registered. No payTo: it is listed, and its terms on chain are not known here now. */
export type Registered = { name: string; owner: Address; payTo: Address | undefined; capability: string; price: bigint };

/** Who speaks for a service. One of the configuration has no owner: whoever is paid does. */
export const ownerOf = ({ owner, receiver }: Pick<Service, "owner" | "receiver">): Address => owner ?? receiver;

/** @param service a service's name. */
export async function registered(deps: Pick<GatewayDeps, "catalog" | "listings">, service: string | undefined): Promise<Registered | undefined> {
  const found = service === undefined ? undefined : await deps.catalog.find(service);
  if (found === undefined) return undefined;
  const listed = deps.listings.find(service);
  if (listed !== undefined) {
    const payTo = deps.listings.isFresh() ? payToOf(listed) : undefined;
    return { name: found.name, owner: ownerOf(found), payTo, capability: listed.capability === "" ? found.name : listed.capability, price: listed.price };
  }
  // Without a tag of its own, its name is its capability.
  return { name: found.name, owner: ownerOf(found), payTo: found.receiver, capability: found.name, price: found.price };
}

/** Whom the service is registered with; undefined when nobody knows it. */
export async function registeredPayTo(deps: Pick<GatewayDeps, "catalog" | "listings">, service: string | undefined): Promise<Address | undefined> {
  return (await registered(deps, service))?.payTo;
}

/** Which service is sold at a URL: here, or by its provider's own server. */
export async function serviceSoldAt({ config, db }: Pick<GatewayDeps, "config" | "db">, url: string | undefined): Promise<string | undefined> {
  if (url === undefined || !URL.canParse(url)) return undefined;
  const here = `${config.publicUrl}/s/`;
  if (url.startsWith(here)) return /^[a-z0-9][a-z0-9-]{0,62}/.exec(url.slice(here.length))?.[0];
  return serviceAt(db, url);
}

/** What payer, or whoever signs for it, and seller agreed on for a service: of the newest session that is not over. */
export async function negotiatedPrice({ db }: Pick<GatewayDeps, "db">, { payer, payerAuthorizer, service }: { payer: Address; payerAuthorizer?: Address | undefined; service: string | undefined }): Promise<bigint | undefined> {
  return service === undefined ? undefined : agreedPrice(db, payerAuthorizer === undefined ? [payer] : [payer, payerAuthorizer], service);
}
