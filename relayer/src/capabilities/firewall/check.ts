// Would this payment pass, and what became of one that was made? Nothing is reserved, asked or written by a question, but for the answer to
// an action contract, which is the same for the same key.
import { isAddressEqual, keccak256, stringToBytes, zeroHash, type Address, type Hex } from "viem";
import { TallystickError } from "../../../../sdk/src/errors.ts";
import type { Decision } from "../../../../sdk/src/firewall/evaluate.ts";
import { canonicalJson } from "../../../../sdk/src/firewall/policy.ts";
import type { Deps } from "../../deps.ts";
import { newPaymentId, paymentIdFrom } from "../../payment-id.ts";
import { checkSigned } from "../exact/authorization.ts";
import { decodeExactPayload } from "../exact/schemas.ts";
import type { GatewayDeps } from "../gateway/rail.ts";
import { decodeEnvelope, decodeSchemePayload, type Envelope } from "../gateway/schemas.ts";
import { paymentFor } from "../payments/service.ts";
import { decide, type Asked } from "./gate.ts";
import { faultOf, PAY_TO_RULE, reasonOf, registryStale } from "./listed.ts";
import { movedBy, neverMoved, paymentKeyOf, type Proof } from "./logic.ts";
import { registered, serviceSoldAt } from "./registry.ts";
import type { WireAction, WireCheck } from "./schemas.ts";
import * as store from "./store.ts";

export type Answer = { decision: "APPROVED" | "REJECTED"; rule: string; reason: string; proof: Proof | null; policy?: Decision["policy"]; paymentId?: string; pending?: true };
export type ActionAnswer = Answer & { action: { type: string; idempotencyKey: string; expected: string; met: boolean } };

/** Who asks, where it matters: whose session, whose payment. */
export type Caller = () => Promise<Address>;

const KEPT_S = 30 * 86_400;
const DELETE_BATCH = 1_000;

/** @throws TallystickError 400 that names the field; 401 where who asks has to be known; 404 for what is not the caller's. */
export async function check(deps: GatewayDeps, wire: WireCheck, caller: Caller): Promise<Answer> {
  if (wire.paymentId !== undefined) return became(deps, wire.paymentId, await caller());
  const asked = wire.payment !== undefined ? await ofPayment(deps, wire.payment, wire.service) : wire.sessionId !== undefined ? await ofSession(deps, wire, await caller()) : await ofNegotiation(deps, wire.negotiation, await caller());
  return judged(deps, asked);
}

/** An action contract, under an intent in words that is for people alone. */
export async function act(deps: GatewayDeps, { type, idempotencyKey, inputs, expected }: WireAction, caller: Caller): Promise<ActionAnswer> {
  const address = await caller();
  const contentHash = keccak256(stringToBytes(canonicalJson({ type, inputs, expected })));
  const known = await store.findAction(deps.db, address, idempotencyKey);
  if (known !== undefined) return sameAction(known, contentHash, idempotencyKey);
  const answer = await check(deps, inputs, async () => address);
  const met = answer.proof?.type === expected;
  const told = { ...answer, action: { type, idempotencyKey, expected, met } };
  // Before the money has settled there is nothing to hold on to: the same key may ask again.
  if (answer.proof === null) return told;
  const first = await store.keepAction(deps.db, address, idempotencyKey, contentHash, told);
  return first === undefined ? told : sameAction(first, contentHash, idempotencyKey);
}

function sameAction(known: { contentHash: Hex; answer: unknown }, contentHash: Hex, key: string): ActionAnswer {
  if (known.contentHash === contentHash) return known.answer as ActionAnswer;
  throw new TallystickError({ code: "idempotency_conflict", status: 409, retry: "never", field: "action.idempotencyKey", detail: `The key ${key} was used for another action.` });
}

/** As the gate would decide now. What a person still has to approve is not approved. */
async function judged(deps: GatewayDeps, asked: Asked): Promise<Answer> {
  const fault = faultOf(deps, asked);
  if (fault !== undefined) return { decision: "REJECTED", rule: PAY_TO_RULE, reason: reasonOf(asked, fault), proof: neverMoved() };
  await deps.policies.confirm();
  const { decision } = await decide(deps, asked, deps.policies.concerning(asked), asked.identity.scheme === "stream" ? undefined : paymentKeyOf(asked.identity, asked));
  const { rule, reason, policy } = decision;
  const told = { rule, reason, ...(policy === undefined ? {} : { policy }) };
  if (decision.decision === "APPROVED") return { decision: "APPROVED", ...told, proof: null };
  return { decision: "REJECTED", ...told, ...(decision.decision === "PENDING" ? { pending: true as const } : {}), proof: neverMoved() };
}

/** What a payment of the caller came to: its transaction, or that its money never moved. */
async function became(deps: GatewayDeps, paymentId: string, caller: Address): Promise<Answer> {
  const { status, refusal } = await paymentFor(deps, paymentId, caller);
  if (refusal !== undefined) return { decision: "REJECTED", rule: refusal.rule, reason: refusal.reason, policy: refusal.policy, paymentId, proof: neverMoved(paymentId) };
  const proof = status.status === "NEVER" ? neverMoved(paymentId) : status.status === "SETTLED" && status.transaction !== undefined ? movedBy(status.transaction, paymentId) : null;
  return { decision: "APPROVED", rule: "all", reason: status.detail, paymentId, proof };
}

async function ofPayment(deps: GatewayDeps, payment: string | Record<string, unknown>, named: string | undefined): Promise<Asked> {
  const envelope = decodeEnvelope(typeof payment === "string" ? payment : Buffer.from(JSON.stringify(payment)).toString("base64"));
  const url = (envelope.resource as { url?: string } | undefined)?.url;
  const service = await registered(deps, named ?? (await serviceSoldAt(deps, url)));
  const common = { paymentId: paymentIdFrom(envelope.accepted.extra?.["paymentId"]), service: service?.name ?? named, serviceOwner: service?.owner, resource: url ?? "", price: priceOf(envelope) };
  // The request is not part of the question, so a decision of a person about one is not found by it.
  return envelope.accepted.scheme === "exact" ? ofExact(deps, envelope, common) : ofVoucher(deps, envelope, common);
}

type Common = Pick<Asked, "paymentId" | "service" | "serviceOwner" | "resource" | "price">;

async function ofExact(deps: GatewayDeps, { payload }: Envelope, common: Common): Promise<Asked> {
  const authorization = decodeExactPayload(payload);
  await checkSigned(deps, authorization);
  return { ...common, price: authorization.value, identity: { scheme: "exact", token: deps.config.token.address, nonce: authorization.nonce, requestHash: zeroHash }, payer: authorization.from, payee: authorization.to };
}

async function ofVoucher(deps: GatewayDeps, envelope: Envelope, common: Common): Promise<Asked> {
  const { config, voucher } = decodeSchemePayload(envelope.payload);
  const channelId = deps.hasher.channelId(config);
  if (channelId !== voucher.channelId || !(await deps.hasher.isVoucherOf(config.payerAuthorizer, channelId, voucher.ceiling, voucher.signature))) {
    throw new TallystickError({ code: "voucher_signature_invalid", status: 402, retry: "never", field: "payment.payload.voucher.signature", detail: "The voucher is not signed by its channel's payerAuthorizer." });
  }
  return { ...common, identity: { scheme: "batch-settlement", channelId, ceiling: voucher.ceiling, requestHash: zeroHash }, channelId, payer: config.payer, payerAuthorizer: config.payerAuthorizer, payee: config.receiver };
}

function priceOf({ accepted: { amount } }: Envelope): bigint {
  if (/^(0|[1-9][0-9]{0,38})$/.test(amount)) return BigInt(amount);
  throw new TallystickError({ code: "payment_malformed", status: 400, retry: "never", field: "payment.accepted.amount", detail: "The amount is a decimal string of atomic units." });
}

async function ofSession(deps: GatewayDeps, { sessionId, service: named, priceAtomic }: WireCheck, caller: Address): Promise<Asked> {
  const channelId = sessionId!.toLowerCase() as Hex;
  const parties = await store.channelParties(deps.db, channelId);
  if (parties === undefined || !Object.values(parties).some((party) => isAddressEqual(party, caller))) throw new TallystickError({ code: "not_found", status: 404, retry: "never", field: "sessionId", detail: "No such session, or none of yours." });
  const service = await registered(deps, named);
  const price = priceAtomic === undefined ? (service?.price ?? 0n) : BigInt(priceAtomic);
  return {
    identity: { scheme: "batch-settlement", channelId, ceiling: 0n, requestHash: zeroHash }, channelId, paymentId: newPaymentId(), payer: parties.payer, payerAuthorizer: parties.payerAuthorizer, payee: parties.receiver,
    service: service?.name ?? named, serviceOwner: service?.owner, resource: "", price,
  };
}

/** A deal before it is made: what the caller would pay for a service. */
async function ofNegotiation(deps: GatewayDeps, negotiation: WireCheck["negotiation"], caller: Address): Promise<Asked> {
  const { service: name, priceAtomic } = negotiation!;
  const service = await registered(deps, name);
  if (service === undefined) throw new TallystickError({ code: "service_unknown", status: 404, retry: "never", field: "negotiation.service", detail: `No service is called ${name}.` });
  if (service.payTo === undefined) throw registryStale();
  return {
    identity: { scheme: "batch-settlement", channelId: zeroHash, ceiling: 0n, requestHash: zeroHash }, paymentId: newPaymentId(), payer: caller, payee: service.payTo, service: service.name, serviceOwner: service.owner, resource: "", price: BigInt(priceAtomic),
  };
}

/** Forgets what nobody will ask again. */
export async function sweepActions({ db }: Pick<Deps, "db">): Promise<void> {
  await store.deleteOldActions(db, KEPT_S, DELETE_BATCH);
}
