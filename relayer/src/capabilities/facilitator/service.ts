// The x402 facilitator, for anybody's server: is this payment good, and carry it to the chain. exact and batch-settlement.
import type { PaymentRequirements, SettleResponse, SupportedResponse, VerifyResponse } from "@x402/core/types";
import { isAddress, isAddressEqual, type Address } from "viem";
import { BATCH_SETTLEMENT } from "../../../../sdk/src/constants.ts";
import { TallystickError } from "../../../../sdk/src/errors.ts";
import { checkAuthorization, checkAuthorizationTerms, checkSigned, isSignedByKey, type Wanted } from "../exact/authorization.ts";
import { decodeExactPayload } from "../exact/schemas.ts";
import { settleAuthorization } from "../exact/service.ts";
import type { SettlementKey } from "../exact/store.ts";
import { EXACT_FAULTS, type Authorization, type Settled } from "../exact/types.ts";
import { isUsed } from "../exact/use.ts";
import { admitForeign } from "../firewall/foreign.ts";
import type { GatewayDeps } from "../gateway/rail.ts";
import { servedReceivers } from "../gateway/store.ts";
import { settleSession, verifySession, type Refusing } from "./session.ts";
import type { FacilitatorRequest } from "./schemas.ts";

export type Asking = {
  /** The signed-in address, where the request carries one. */
  caller: Address | undefined;
  /** Who is told: the Idempotency-Key, or something unique to this request. */
  toldTo: string;
};

export function supported({ config, keyring, submitter }: GatewayDeps): SupportedResponse {
  const kind = { x402Version: 2, network: config.network };
  return {
    kinds: [{ ...kind, scheme: "exact" }, { ...kind, scheme: BATCH_SETTLEMENT, extra: { receiverAuthorizer: keyring.active } }],
    extensions: [],
    signers: { "eip155:*": [...submitter.addresses] },
  };
}

/** Every fault of the payment is an answer; ours (503) are thrown. */
export async function verify(deps: GatewayDeps, request: FacilitatorRequest): Promise<VerifyResponse> {
  try {
    checkMatch(deps, request);
    if (request.requirements.scheme === BATCH_SETTLEMENT) return await verifySession(deps, request);
    return await verifyExact(deps, request);
  } catch (error) {
    return { isValid: false, ...told(error) };
  }
}

export async function settle(deps: GatewayDeps, request: FacilitatorRequest, asking: Asking): Promise<SettleResponse> {
  const { requirements } = request;
  try {
    checkMatch(deps, request);
    await checkServed(deps, requirements);
    if (requirements.scheme === BATCH_SETTLEMENT) return await settleSession(deps, request, asking.caller);
    return await settleExact(deps, request, asking.toldTo);
  } catch (error) {
    const { invalidReason, invalidMessage } = told(error);
    const txHash = error instanceof TallystickError ? error.extra["txHash"] : undefined;
    return { success: false, errorReason: invalidReason, errorMessage: invalidMessage, transaction: typeof txHash === "string" ? txHash : "", network: requirements.network };
  }
}

/** The buyer's word must be the seller's, and the chain and token ours. */
function checkMatch({ config }: GatewayDeps, { payload, requirements }: FacilitatorRequest): void {
  const refuse = (field: string, x402Error: string, detail: string) => new TallystickError({ code: "requirements_mismatch", status: 402, retry: "never", field, detail, extra: { x402Error } });
  const { scheme, network, asset } = requirements;
  if (scheme !== "exact" && scheme !== BATCH_SETTLEMENT) throw refuse("paymentRequirements.scheme", "unsupported_scheme", `The scheme ${scheme} is not served here.`);
  if (payload.accepted.scheme !== scheme) throw refuse("paymentPayload.accepted.scheme", "invalid_scheme", `The payment is by ${payload.accepted.scheme}, the seller asks for ${scheme}.`);
  if (network !== config.network || payload.accepted.network !== network) throw refuse("network", "invalid_network", `The payment is on ${payload.accepted.network}, the seller asks for ${network}, and this facilitator serves ${config.network}.`);
  if (asset.toLowerCase() !== config.token.address.toLowerCase()) throw refuse("paymentRequirements.asset", "invalid_payment_requirements", `The asset is ${asset}; ${config.token.address} is served here.`);
  checkSense(requirements);
  const method = requirements.extra?.["assetTransferMethod"] ?? "eip3009";
  if (method !== "eip3009") throw refuse("paymentRequirements.extra.assetTransferMethod", "unsupported_payload_type", `assetTransferMethod is ${String(method)}; eip3009 is served here.`);
}

/** The official schema takes any text here, and another network's addresses look otherwise: so this comes after the network's check. */
function checkSense({ amount, payTo, extra }: PaymentRequirements): void {
  const authorizer = extra?.["receiverAuthorizer"];
  const bad = !/^(0|[1-9][0-9]{0,77})$/.test(amount) ? "amount" : !isAddress(payTo, { strict: false }) ? "payTo" : typeof authorizer === "string" && !isAddress(authorizer, { strict: false }) ? "extra.receiverAuthorizer" : undefined;
  if (bad !== undefined) throw new TallystickError({ code: "requirements_mismatch", status: 402, retry: "never", field: `paymentRequirements.${bad}`, detail: `paymentRequirements.${bad} makes no sense on this network.`, extra: { x402Error: "invalid_payment_requirements" } });
}

/** Whose gas we pay: everybody's, nobody's, our own sellers', or a list. */
async function checkServed(deps: GatewayDeps, { payTo }: PaymentRequirements): Promise<void> {
  const { facilitator } = deps.config;
  if (facilitator === "open") return;
  const receivers = facilitator === "off" ? [] : facilitator === "services" ? await servedReceivers(deps.db) : facilitator;
  if (receivers.some((receiver) => isAddressEqual(receiver, payTo as Address))) return;
  throw new TallystickError({ code: "receiver_not_served", status: 403, retry: "never", field: "paymentRequirements.payTo", detail: `This facilitator does not settle for ${payTo}.`, extra: { x402Error: "receiver_not_served" } });
}

/** What went wrong with the payment, in x402's words. @throws what is ours: 5xx. */
function told(error: unknown): Refusing {
  if (!(error instanceof TallystickError) || (error.status >= 500 && error.extra["txHash"] === undefined)) throw error;
  if (error.status === 400 && error.code !== "payment_malformed") throw error;
  const pending = error.status >= 500 ? "settlement_pending" : undefined;
  return { invalidReason: pending ?? String(error.extra["x402Error"] ?? (error.code === "payment_malformed" ? "invalid_payload" : error.code)), invalidMessage: error.message };
}

function exactOf({ payload, requirements }: FacilitatorRequest): { authorization: Authorization; wanted: Wanted } {
  return { authorization: decodeExactPayload(payload.payload), wanted: { payTo: requirements.payTo as Address, amount: BigInt(requirements.amount) } };
}

async function verifyExact(deps: GatewayDeps, request: FacilitatorRequest): Promise<VerifyResponse> {
  const { authorization, wanted } = exactOf(request);
  checkAuthorizationTerms(deps, authorization, wanted);
  const [{ used }, { paymentId }] = await Promise.all([checkAuthorization(deps, authorization), deps.exact.lookUp(authorization)]);
  if (used || paymentId !== undefined) return { isValid: false, invalidReason: EXACT_FAULTS.authorization_used, invalidMessage: "The authorisation has been used.", payer: authorization.from };
  await admitted(deps, request, authorization);
  return { isValid: true, payer: authorization.from };
}

const admitted = (deps: GatewayDeps, request: FacilitatorRequest, { from, to, nonce }: Authorization): Promise<void> =>
  admitForeign(deps, request, { identity: { scheme: "exact", nonce }, payer: from, payee: to as Address });

/**
 * Carries the transfer. Success is told once: a second seller that was shown the same authorisation at the same time hears that it
 * is used. The same request again (Idempotency-Key), or one that heard `settlement_pending`, is told as the first would have been.
 */
async function settleExact(deps: GatewayDeps, request: FacilitatorRequest, toldTo: string): Promise<SettleResponse> {
  const { authorization, wanted } = exactOf(request);
  const key = { token: deps.config.token.address, payer: authorization.from, nonce: authorization.nonce };
  const failed = (errorReason: string, errorMessage: string): SettleResponse => ({ success: false, errorReason, errorMessage, payer: authorization.from, transaction: "", network: deps.config.network });
  const known = await deps.exact.lookUp(authorization);
  if (known.paymentId !== undefined) return failed(EXACT_FAULTS.authorization_used, "The authorisation pays for a call of this relayer's own gateway.");
  const isKnown = known.queued || known.settlement !== undefined;
  await checkToSettle(deps, authorization, wanted, isKnown);
  if (authorization.value !== wanted.amount || !isAddressEqual(authorization.to, wanted.payTo)) return failed(EXACT_FAULTS.authorization_value_mismatch, "The authorisation is not for these terms.");
  // What was sent before is found out about, whatever policies say by now.
  if (!isKnown) await admitted(deps, request, authorization);
  const settled = await settleAuthorization(deps, authorization, { unknown: !isKnown });
  // The token's refusal has a reason, which a seller's server can act on.
  if (settled.status === "failed" && settled.reason === "transfer_refused") await checkAuthorization(deps, authorization);
  return tell(deps, key, settled, toldTo, failed);
}

/**
 * One that is used, or sent, is found out about, whatever the clock and the payer's purse say by now. A new one by a key is only looked at
 * here: it is tried with all others right before it is sent.
 */
async function checkToSettle(deps: GatewayDeps, authorization: Authorization, wanted: Wanted, known: boolean): Promise<void> {
  if (known) return checkSigned(deps, authorization);
  try {
    checkAuthorizationTerms(deps, authorization, wanted);
  } catch (error) {
    if (!(await isUsed(deps, authorization))) throw error;
    return checkSigned(deps, authorization);
  }
  if (await isSignedByKey(deps, authorization)) return;
  if (await isUsed(deps, authorization)) return checkSigned(deps, authorization);
  await checkAuthorization(deps, authorization);
}

async function tell(deps: GatewayDeps, key: SettlementKey, settled: Settled, toldTo: string, failed: (reason: string, message: string) => SettleResponse): Promise<SettleResponse> {
  const { network } = deps.config;
  if (settled.status === "pending") return { success: false, errorReason: "settlement_pending", errorMessage: "Under way, not confirmed yet: ask again.", payer: key.payer, transaction: settled.txHash ?? "", network };
  if (settled.status === "failed") return failed(EXACT_FAULTS[settled.reason], `The transfer did not happen (${settled.reason}).`);
  if (!(await deps.exact.takeTelling({ key, toldTo }))) return failed(EXACT_FAULTS.authorization_used, "Another request was told that this authorisation has paid.");
  return { success: true, payer: key.payer, transaction: settled.txHash, network };
}
