// The schemes that the gateway sells in, in the order a 402 offers them: a stock client takes the first it knows.
import type { PaymentRequirements } from "@x402/core/types";
import type { Deps } from "../../deps.ts";
import { exactRail } from "./exact-rail.ts";
import type { GatewayDeps, Opened, Rail } from "./rail.ts";
import { sessionRail } from "./session-rail.ts";
import type { Service } from "./store.ts";

export const RAILS: readonly Rail[] = [sessionRail, exactRail];

/** Sessions and months are paid by channel: only there a call that was agreed to cost less, or nothing, can be charged that. */
const railsOf = ({ agreed, subscription }: Pick<Service, "agreed" | "subscription">): readonly Rail[] => (agreed === undefined && subscription === undefined ? RAILS : [sessionRail]);

export function railOf(scheme: string, service: Pick<Service, "agreed" | "subscription">): Rail | undefined {
  return railsOf(service).find((rail) => rail.scheme === scheme);
}

export const schemesOf = (service: Pick<Service, "agreed" | "subscription">): string[] => railsOf(service).map(({ scheme }) => scheme);

export function allTerms(deps: Deps, service: Service, paymentId: string): PaymentRequirements[] {
  return railsOf(service).map((rail) => rail.terms(deps, service, paymentId));
}

/** A payment of whatever scheme that an earlier call opened, maybe in another process. */
export async function resumePayment(deps: GatewayDeps, paymentId: string): Promise<Opened | undefined> {
  for (const rail of RAILS) {
    const found = await rail.resume(deps, paymentId);
    if (found !== undefined) return found;
  }
  return undefined;
}
