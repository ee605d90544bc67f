// What every payment of a listed service is held to, policy or not: the registry on chain says who is paid. Looked up in memory, so it costs a
// payment nothing; where nobody can tell any more, no payment of a listed service passes.
import { isAddressEqual, type Address } from "viem";
import { TallystickError } from "../../../../sdk/src/errors.ts";
import { EVENT } from "../../telemetry/log.ts";
import { payToOf, type ListedService } from "../agents/views.ts";
import type { GatewayDeps } from "../gateway/rail.ts";
import type { Asked } from "./gate.ts";
import { movedBy, neverMoved } from "./logic.ts";

export const PAY_TO_RULE = "registry.pay_to";

/** Why a payment may not pass; undefined where the service is not listed, or the payee is the registry's. */
export type Fault = { listed: ListedService; kind: "stale" | "unknown_terms" | "swapped"; registered: Address | undefined };

export function faultOf({ listings }: Pick<GatewayDeps, "listings">, { service, payee }: Pick<Asked, "service" | "payee">): Fault | undefined {
  const listed = listings.find(service);
  if (listed === undefined) return undefined;
  const registered = payToOf(listed);
  if (!listings.isFresh()) return { listed, kind: "stale", registered };
  if (registered === undefined) return { listed, kind: "unknown_terms", registered };
  return isAddressEqual(registered, payee) ? undefined : { listed, kind: "swapped", registered };
}

/** @throws TallystickError 403 `firewall_rejected` with rule and proof, 503 `registry_stale` (safe); the payment's own fault first. What was paid before passes. */
export async function refuseUnregistered(deps: GatewayDeps, asked: Asked, fault: Fault): Promise<void> {
  if ((await asked.isPaid?.()) === true) return;
  if (fault.kind === "stale") throw registryStale();
  await asked.prove?.();
  deps.policies.countRefusal(asked.payer);
  const { paymentId, payer, payee, channelId, service } = asked;
  const { listed, registered } = fault;
  const reason = reasonOf(asked, fault);
  await deps.audit.recordDurably({
    kind: "payment.rejected", subject: paymentId, rule: PAY_TO_RULE, reason, payer, payee, amountAtomic: asked.price,
    data: { code: "firewall_rejected", service, serviceId: listed.serviceId, registered, channelId, scheme: asked.identity.scheme, moved: asked.movedBy ?? "0" },
  });
  deps.metrics.refusals.inc({ code: "firewall_rejected" });
  deps.log.info({ event: EVENT.firewallRefused, paymentId, rule: PAY_TO_RULE, priceAtomic: String(asked.price) }, reason);
  throw new TallystickError({
    code: "firewall_rejected", status: 403, retry: "never", detail: `${PAY_TO_RULE}: ${reason}`,
    extra: { decision: "REJECTED", rule: PAY_TO_RULE, reason, proof: asked.movedBy === undefined ? neverMoved(paymentId) : movedBy(asked.movedBy, paymentId), paymentId, serviceId: listed.serviceId, x402Error: "firewall_rejected" },
  });
}

export function reasonOf({ service, payee }: Pick<Asked, "service" | "payee">, { kind, registered }: Fault): string {
  if (kind === "stale") return "The registry was not read lately, so nobody here knows whom this service is paid to.";
  if (registered === undefined) return `The terms that the registry has of ${service} are not known here, so ${payee} may not be whom it is paid to.`;
  return `The payee is ${payee}; the registry says that ${service} is paid to ${registered}. A channel to somebody else buys nothing of it: open one under the terms of a new 402.`;
}

/** Ours: the payment may be good, and nobody here can tell. */
export function registryStale(): TallystickError {
  return new TallystickError({
    code: "registry_stale", status: 503, retry: "safe", extra: { retryAfterS: 1 },
    detail: "The registry was not read lately, so nobody here knows whom this service is paid to; nothing was reserved or charged. Send the same payment again.",
  });
}
