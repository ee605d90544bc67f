// The 402 of a call, whoever sends it: the gateway, or a provider's own server.
import { BATCH_SETTLEMENT } from "../../../../sdk/src/constants.ts";
import { TallystickError, toProblem } from "../../../../sdk/src/errors.ts";
import { encodePaymentRequired } from "../../http/x402-headers.ts";
import { EVENT } from "../../telemetry/log.ts";
import type { Channel } from "../channels/store.ts";
import type { GatewayDeps } from "./rail.ts";
import { allTerms } from "./rails.ts";
import { offerExtension } from "./receipts.ts";
import type { Service } from "./store.ts";
import { paymentRequired, withChannelState } from "./terms.ts";

export type Challenge = { service: Service; url: string; paymentId: string; problem: TallystickError; /** What else its extensions say. */ extensions?: Record<string, unknown> };

export function unpaid(): TallystickError {
  return new TallystickError({ code: "payment_required", status: 402, retry: "safe", detail: "Pay for this call: the terms are in PAYMENT-REQUIRED.", extra: { x402Error: "Payment required" } });
}

/** 402 with the terms; with the channel's state where that lets the buyer catch up. */
export async function challengeOf(deps: GatewayDeps, { service, url, paymentId, problem, extensions }: Challenge): Promise<{ headers: Record<string, string>; problem: Record<string, unknown>; offers: Record<string, unknown> }> {
  const { channel, ...extra } = problem.extra as { channel?: Channel };
  const accepts = allTerms(deps, service, paymentId).map((terms) => (channel === undefined || terms.scheme !== BATCH_SETTLEMENT ? terms : withChannelState(terms, channel)));
  const offers = { ...(await offerExtension(deps, accepts, url)), ...extensions };
  const card = await deps.cards.extensionFor(service.name, url);
  const required = paymentRequired(accepts, url, service, String(problem.extra["x402Error"] ?? problem.code), { ...offers, ...card });
  deps.metrics.refusals.inc({ code: problem.code });
  const event = problem.code === "payment_required" ? EVENT.paymentRequired : EVENT.paymentRefused;
  deps.log.info({ event, paymentId, service: service.name, code: problem.code, field: problem.field }, problem.message);
  const headers = { "PAYMENT-REQUIRED": encodePaymentRequired(required), "Cache-Control": "no-store", "Tallystick-Payment-Id": paymentId, "Content-Type": "application/problem+json" };
  return { headers, problem: { ...toProblem(problem), ...extra, channel: undefined, paymentId }, offers };
}
