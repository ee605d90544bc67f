// Calls that bring a session's id and token and nothing else: paid by the voucher that its agent left here. The voucher is the agent's signature
// for no more than the session's budget; the token says who may use it; the ledger takes each call as any other of the session.
import { timingSafeEqual } from "node:crypto";
import { isValidPaymentId } from "@x402/extensions/payment-identifier";
import type { Hex } from "viem";
import { TallystickError } from "../../../../sdk/src/errors.ts";
import { newPaymentId } from "../../payment-id.ts";
import { findOrTakeIn } from "../channels/service.ts";
import { findChannel } from "../channels/store.ts";
import type { GatewayDeps } from "../gateway/rail.ts";
import type { ReadPayment } from "../gateway/service.ts";
import { decodeSchemePayload, type Envelope } from "../gateway/schemas.ts";
import { checkConfig, sessionTerms } from "../gateway/terms.ts";
import type { AgreedService } from "./agreed.ts";
import { isSessionRefusal, sessionRefused } from "./refusals.ts";
import { refuse, sessionTokenHash } from "./service.ts";
import { findSession, type NegotiatedSession } from "./session-store.ts";
import { findVoucher, keepVoucher, type Kept } from "./voucher-store.ts";

type Headers = Record<string, string | string[] | undefined>;

/** X-402-Session-Token, or Authorization: Bearer where that is a session's token; another bearer is the service's own. */
export function sessionTokenOf(headers: Headers): string | undefined {
  const named = headers["x-402-session-token"];
  if (typeof named === "string") return named;
  return /^bearer\s+(tsn_\S+)$/i.exec(String(headers["authorization"] ?? ""))?.[1];
}

function isTokenOf({ tokenHash }: NegotiatedSession, token: string): boolean {
  return timingSafeEqual(Buffer.from(sessionTokenHash(token).slice(2), "hex"), Buffer.from(tokenHash.slice(2), "hex"));
}

export type StandingPayment = ReadPayment & { standing: object };

/** Undefined without a token; a refusal (402) that goes with the terms. @throws TallystickError 400 for an identifier that is none. */
export async function standingPayment(deps: GatewayDeps, { session, service, over }: AgreedService, headers: Headers): Promise<StandingPayment | TallystickError | undefined> {
  const token = sessionTokenOf(headers);
  if (token === undefined) return undefined;
  if (!isTokenOf(session, token)) return sessionRefused("session_token", session.sessionId);
  // One that is over or used up still hands out what it sold: the ledger tells.
  if (over === "session_service") return sessionRefused(over, session.sessionId);
  const voucher = await findVoucher(deps.db, session.sessionId);
  const channel = voucher === undefined ? undefined : await findChannel(deps.db, voucher.channelId);
  if (voucher === undefined || channel === undefined) return sessionRefused("session_voucher_missing", session.sessionId);
  const clientId = callIdOf(headers);
  const paymentId = newPaymentId();
  const envelope: Envelope = {
    x402Version: 2, accepted: sessionTerms(deps.config, service, deps.keyring.active, paymentId) as Envelope["accepted"],
    payload: { type: "voucher", channelConfig: channel.config, voucher: { channelId: voucher.channelId, maxClaimableAmount: voucher.ceiling.toString(), signature: voucher.signature } },
  };
  return { envelope, paymentId, standing: { clientId } };
}

/** What tells a repetition from a new call; without it each request is one. */
function callIdOf(headers: Headers): string | undefined {
  const given = [headers["payment-identifier"], headers["idempotency-key"]].filter((value) => value !== undefined);
  const [id] = given;
  if (id === undefined) return undefined;
  if (given.every((value) => value === id) && typeof id === "string" && isValidPaymentId(id)) return id;
  throw new TallystickError({ code: "payment_malformed", status: 400, retry: "never", field: "Idempotency-Key", detail: "Send one identifier of 16 to 128 characters of A-Z, a-z, 0-9, dash and underscore." });
}

export type LeftVoucher = { channelConfig: Record<string, unknown>; voucher: Record<string, unknown> };

/** Takes a voucher for a session, from whoever has its token. The same again changes nothing. @throws TallystickError 400, 402 and 403 that say what does not fit. */
export async function leaveVoucher(deps: GatewayDeps, sessionId: Hex, token: string | undefined, left: LeftVoucher): Promise<{ session: NegotiatedSession; ceiling: bigint }> {
  const session = await findSession(deps.db, sessionId);
  if (session === undefined || token === undefined || !isTokenOf(session, token)) throw refuse("session_token", 403, "There is no such session, or that is not its token.", "X-402-Session-Token");
  const { config, voucher } = decodeSchemePayload({ type: "voucher", ...left });
  const service = await deps.catalog.find(session.service);
  if (service === undefined) throw sessionRefused("session_service", sessionId);
  // Its server would see the token, and could spend the session alone.
  if (service.url !== undefined) throw refuse("service_self_hosted", 409, `${service.name} is sold by its provider's own server: pay for each call.`);
  checkConfig(config, sessionTerms(deps.config, service, deps.keyring.active, newPaymentId()), deps.keyring.has(config.receiverAuthorizer));
  if (deps.hasher.channelId(config) !== voucher.channelId) throw refuse("channel_id_mismatch", 400, "voucher.channelId is not that of channelConfig.", "voucher.channelId");
  if (!(await deps.hasher.isVoucherOf(config.payerAuthorizer, voucher.channelId, voucher.ceiling, voucher.signature))) throw refuse("voucher_signature_invalid", 403, `The voucher is not signed by ${config.payerAuthorizer}.`, "voucher.signature");
  await findOrTakeIn(deps, config, voucher.channelId);
  const outcome = await keepVoucher(deps.db, sessionId, voucher);
  if (outcome !== "kept") throw notKept(outcome, sessionId);
  return { session: (await findSession(deps.db, sessionId))!, ceiling: voucher.ceiling };
}

const WHY_NOT = {
  below: "It pays for no call beyond what the channel was charged.", above_balance: "It is above the channel's confirmed balance.",
  above_budget: "It is above what the channel was charged and what is left of the session's budget.", voucher_used: "It paid for a call of its own, or stands for another session.",
};

function notKept(outcome: Exclude<Kept, "kept">, sessionId: Hex): TallystickError {
  return isSessionRefusal(outcome) ? sessionRefused(outcome, sessionId) : refuse(`session_voucher_${outcome}`, 409, WHY_NOT[outcome], "voucher.maxClaimableAmount");
}
