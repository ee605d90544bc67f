// Whom to negotiate with: what discovery knows of a capability, the offers held against the listings that were seen, and which of them is taken.
import { isAddressEqual, zeroHash, type Address, type Hex } from "viem";
import { createDiscoveryClient } from "../bazaar/discover.ts";
import type { Agent as BazaarAgent } from "../bazaar/listing.ts";
import { TallystickError } from "../errors.ts";
import type { Declined, ProvenOffer } from "./client.ts";
import { formatAmount } from "./decimal.ts";
import type { Sla } from "./fields.ts";
import { keepsSla, priceOfCall } from "./terms.ts";

/** A service as its listing was seen, best first. */
export type SeenListing = { serviceId: Hex; payTo: Address; owner: Address; /** The gateway's name, where it was asked for by one. */ service?: string; /** All of it, where it was asked for alone. */ agent?: BazaarAgent };

/** Services that are bargained with at once. */
export const BEST_FEW = 3;
const MOST_FOUND = 50;

export function createListings(options: { relayerUrl: string; fetch?: typeof fetch }) {
  const { relayerUrl, fetch: ask = globalThis.fetch } = options;
  return {
    /** Empty where discovery knows of none, or cannot tell now: then whoever has a policy is asked. */
    async withCapability(capability: string): Promise<SeenListing[]> {
      const found = await createDiscoveryClient(options).discover({ capability, limit: MOST_FOUND }).catch((error: unknown) => {
        if (error instanceof TallystickError) return { agents: [] };
        throw error;
      });
      return found.agents.map(({ serviceId, payTo, owner }) => ({ serviceId, payTo, owner }));
    },
    /** By its id or name; undefined where it is not listed. @throws TallystickError when nobody can tell. */
    async find(idOrName: string): Promise<SeenListing | undefined> {
      const response = await ask(`${relayerUrl}/api/v1/agents/${encodeURIComponent(idOrName)}`);
      const told = (await response.json().catch(() => ({}))) as BazaarAgent;
      if (response.ok) return { serviceId: told.id, payTo: told.payTo, owner: told.owner, ...(told.name === null ? {} : { service: told.name }), agent: told };
      if (response.status === 404) return undefined;
      throw new TallystickError({ code: "listing_unknown", status: 503, retry: "safe", detail: `The relayer answered ${response.status} when it was asked for ${idOrName}'s listing.` });
    },
  };
}

/** Why an offer is not for the listing that was seen. */
export function listingFault({ offer: { message } }: ProvenOffer, listing: SeenListing | undefined): string | undefined {
  if (listing === undefined) return message.serviceId === zeroHash ? undefined : "its listing is not known";
  if (message.serviceId !== listing.serviceId) return "the offer names another listing";
  if (!isAddressEqual(message.payTo, listing.payTo)) return "the offer pays somebody else than its listing";
  return isAddressEqual(message.provider, listing.owner) ? undefined : "the offer is another provider's than the listing";
}

export type Wanted = { most: bigint; sla: Sla; nowS: number };

/**
 * Offers that keep what is wanted and agree with their listings: those of listed services, and where there are none, those of services that are
 * not listed. Cheapest first; where prices are the same, as discovery ranks them.
 */
export function candidates(offers: readonly ProvenOffer[], listings: readonly SeenListing[], { most, sla, nowS }: Wanted): { offers: ProvenOffer[]; refused: Declined[] } {
  const rank = new Map(listings.map(({ serviceId }, place) => [serviceId, place]));
  const refused: Declined[] = [];
  const fitting = offers.filter((proven) => {
    const { message } = proven.offer;
    const reason = listingFault(proven, listings[rank.get(message.serviceId) ?? -1])
      ?? (message.pricePerRequest > most ? "it asks for more" : message.expiresAt <= nowS ? "its offer is over" : keepsSla(message.sla, sla) ? undefined : "it does not promise the SLA");
    if (reason !== undefined) refused.push({ service: message.service, reason });
    return reason === undefined;
  });
  const listed = fitting.filter(({ offer }) => offer.message.serviceId !== zeroHash);
  const place = ({ offer }: ProvenOffer) => rank.get(offer.message.serviceId) ?? listings.length;
  return { offers: (listed.length > 0 ? listed : fitting).toSorted((a, b) => Number(firstPrice(a) - firstPrice(b)) || place(a) - place(b)), refused };
}

export const firstPrice = ({ offer }: ProvenOffer): bigint => priceOfCall(offer.message, 1);

export function noOffer(most: bigint, declined: readonly Declined[]): TallystickError {
  return new TallystickError({ code: "no_offer", status: 404, retry: "safe", detail: `Nobody offers it for ${formatAmount(most)}: ${declined.map(({ service, reason }) => `${service}: ${reason}`).join("; ") || "no service answers"}.` });
}
