// What the gateway has to know of a session that a request names. Nothing is asked of the database for a request that names none.
import type { Hex } from "viem";
import { toWire } from "../../../../sdk/src/negotiation/messages.ts";
import { priceOfCall } from "../../../../sdk/src/negotiation/terms.ts";
import type { GatewayDeps } from "../gateway/rail.ts";
import type { Service } from "../gateway/store.ts";
import { findOffer } from "./store.ts";
import { sessionRefused, type SessionRefusal } from "./refusals.ts";
import { renewalFor } from "./service.ts";
import { findSession, type NegotiatedSession } from "./session-store.ts";

/** Key of what a 402 says of a session, in its `extensions`. */
export const NEGOTIATION_EXTENSION = "tallystick-negotiation";

export type AgreedService = { session: NegotiatedSession; /** The service at the agreed price. */ service: Service; /** Why the session takes no new call. */ over: SessionRefusal | undefined };

/** Undefined for a request that names no negotiated session of this service: it is sold at the list price. */
export async function agreedFor(deps: Pick<GatewayDeps, "db">, service: Service, named: string | string[] | undefined): Promise<AgreedService | undefined> {
  if (typeof named !== "string" || !/^0x[0-9a-fA-F]{64}$/.test(named)) return undefined;
  const session = await findSession(deps.db, named.toLowerCase() as Hex);
  if (session === undefined) return undefined; // a channel's id, as older clients send it back
  const { sessionId, offerHash, pricePerRequest, tiers, callsTaken, calls, payTo, token } = session;
  const over = session.service !== service.name || payTo !== service.receiver || token !== service.token ? "session_service" : session.state === "expired" ? "session_expired" : session.state === "exhausted" ? "session_exhausted" : undefined;
  const price = priceOfCall(session, callsTaken + 1);
  const minDepositCalls = Math.max(1, Math.min(service.minDepositCalls, calls - callsTaken));
  return { session, over, service: { ...service, subscription: undefined, price, minDepositCalls, agreed: { sessionId, offerHash, prices: [pricePerRequest, ...tiers.map((tier) => tier.pricePerRequest)] } } };
}

/** A session that is over is told so, unless its payer took the terms of everybody that it was shown. */
export const soldAs = ({ over, service }: AgreedService, listed: Service, amount: string): Service => (over !== undefined && amount === listed.price.toString() ? listed : service);

export const refusalOfSession = ({ session, over }: AgreedService) => (over === undefined ? undefined : sessionRefused(over, session.sessionId));

/** What a 402 tells of the session: how it stands, with the offer it goes by, or the one to go on with when it is over. */
export async function sessionExtension(deps: GatewayDeps, { session }: AgreedService): Promise<Record<string, unknown>> {
  const { sessionId, intentId, offerHash, state, calls, callsTaken, expiresAt, pricePerRequest } = session;
  const offer = state === "active" ? await findOffer(deps.db, offerHash) : await renewalFor(deps, session);
  const info = {
    sessionId, intentId, offerHash, state, calls, callsLeft: calls - callsTaken, priceAtomic: pricePerRequest.toString(), expiresAt: Math.floor(expiresAt.getTime() / 1000),
    ...(offer === undefined ? {} : { offer: { ...toWire("Offer", offer.offer), offerHash: offer.offerHash } }),
  };
  return { [NEGOTIATION_EXTENSION]: { info } };
}
