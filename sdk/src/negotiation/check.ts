// Did everybody keep to what was agreed? Judged from what was signed alone: offer, the policy behind it, acceptance, receipts. Pure.
import { isAddressEqual, zeroHash, type Address, type Hex } from "viem";
import { fromWireReceipt, receiptSigner, SLA, type SignedReceipt } from "../receipt.ts";
import { messageHash, messageSigner, type NegotiationDomain, type Offer, type Signed } from "./messages.ts";
import { callsFor, chargeWhenLate, isLate, outsidePolicy, priceOfCalls } from "./terms.ts";

export type Fault = { code: string; detail: string; paymentId?: string };

export type Agreement = { offer: Signed<"Offer">; /** Where the offer names one. */ policy?: Signed<"PricePolicy"> | undefined; acceptance: Signed<"Acceptance"> };

/** Who an offer has to be signed by: its provider, or the operator that the provider's policy names. */
export async function offerFaults(domain: NegotiationDomain, offer: Signed<"Offer">, policy: Signed<"PricePolicy"> | undefined): Promise<Fault[]> {
  const signer = await messageSigner(domain, "Offer", offer);
  const { provider, policyHash } = offer.message;
  if (signer === undefined) return [{ code: "offer_signature", detail: "The offer's signature is none." }];
  if (isAddressEqual(signer, provider)) return [];
  if (policyHash === zeroHash) return [{ code: "offer_signature", detail: `The offer is signed by ${signer}, not by its provider ${provider}.` }];
  if (policy === undefined) return [{ code: "policy_missing", detail: "The offer was made under a policy, and that is not here." }];
  if (messageHash(domain, "PricePolicy", policy.message) !== policyHash) return [{ code: "policy_other", detail: "The offer was made under another policy." }];
  const owner = await messageSigner(domain, "PricePolicy", policy);
  if (owner === undefined || !isAddressEqual(owner, provider)) return [{ code: "policy_signature", detail: `The policy is signed by ${owner ?? "nobody"}, not by the provider ${provider}.` }];
  if (!isAddressEqual(policy.message.operator, signer)) return [{ code: "offer_signature", detail: `The policy lets ${policy.message.operator} make offers, not ${signer}.` }];
  const outside = outsidePolicy(offer.message, policy.message);
  return outside === undefined ? [] : [{ code: "offer_outside_policy", detail: `The policy does not allow the offer's ${outside}.` }];
}

/** Whether the session that receipts name is one of this agreement, and what it may cost. */
export async function agreementFaults(domain: NegotiationDomain, { offer, policy, acceptance }: Agreement): Promise<Fault[]> {
  const faults = await offerFaults(domain, offer, policy);
  if (acceptance.message.offerHash !== messageHash(domain, "Offer", offer.message)) faults.push({ code: "acceptance_other", detail: "The acceptance is of another offer." });
  const agent = await messageSigner(domain, "Acceptance", acceptance);
  if (agent === undefined || !isAddressEqual(agent, offer.message.agent)) faults.push({ code: "acceptance_signature", detail: `The acceptance is signed by ${agent ?? "nobody"}, the offer is for ${offer.message.agent}.` });
  return faults;
}

/**
 * What is wrong with a session, given any of its receipts: none may cost more than its place allows, all together no more than the
 * budget, and a late answer no more than the refund policy leaves.
 * @param signer who may sign receipts of the channel: its receiverAuthorizer.
 */
export async function sessionFaults(domain: NegotiationDomain, agreement: Agreement, receipts: readonly SignedReceipt[], signer: Address): Promise<Fault[]> {
  const { message: offer } = agreement.offer;
  const sessionId = messageHash(domain, "Acceptance", agreement.acceptance.message);
  const faults = await agreementFaults(domain, agreement);
  for (const receipt of receipts) faults.push(...(await receiptFaults(offer, sessionId, messageHash(domain, "Offer", offer), receipt, signer)));
  return [...faults, ...totalFaults(agreement, receipts)];
}

/** What receipts come to together; `receipts` may be any of the session's. */
export function totalFaults({ offer: { message: offer }, acceptance }: Agreement, receipts: readonly SignedReceipt[]): Fault[] {
  const faults: Fault[] = [];
  const unique = new Map(receipts.map(({ payload }) => [payload.paymentId, BigInt(payload.amount)]));
  const total = [...unique.values()].reduce((sum, amount) => sum + amount, 0n);
  // Whatever receipts there are, the nth of them was at least the nth call, and later calls never cost more.
  const allowed = priceOfCalls(offer, unique.size);
  if (total > allowed) faults.push({ code: "charged_above_agreed", detail: `${unique.size} calls were charged ${total}, agreed are at most ${allowed}.` });
  if (total > acceptance.message.budget) faults.push({ code: "charged_above_budget", detail: `${total} were charged of a budget of ${acceptance.message.budget}.` });
  const calls = callsFor(offer, acceptance.message.budget);
  if (unique.size > calls) faults.push({ code: "too_many_calls", detail: `${unique.size} calls were charged, the session has ${calls}.` });
  return faults;
}

async function receiptFaults(offer: Offer, sessionId: Hex, offerHash: Hex, signed: SignedReceipt, signer: Address): Promise<Fault[]> {
  const receipt = fromWireReceipt(signed.payload);
  const { paymentId } = receipt;
  const faults: Fault[] = [];
  const fault = (code: string, detail: string) => faults.push({ code, detail, paymentId });
  const by = await receiptSigner(signed).catch(() => undefined);
  if (by === undefined || !isAddressEqual(by, signer)) fault("receipt_signature", `It is signed by ${by ?? "nobody"}, not by ${signer}.`);
  if (receipt.session !== sessionId) fault("receipt_session", `It names session ${receipt.session}.`);
  if (receipt.offer !== offerHash) fault("receipt_offer", `It names offer ${receipt.offer}.`);
  if (!isAddressEqual(receipt.receiver, offer.payTo)) fault("receipt_payee", `${receipt.receiver} was paid, agreed was ${offer.payTo}.`);
  if (!isAddressEqual(receipt.token, offer.token)) fault("receipt_token", `It was paid in ${receipt.token}, agreed was ${offer.token}.`);
  const late = isLate(receipt.latencyMs, offer.sla);
  if (offer.sla.maxLatencyMs > 0 && receipt.slaMet !== (late ? SLA.missed : SLA.met)) fault("receipt_sla", `It took ${receipt.latencyMs} ms of ${offer.sla.maxLatencyMs}, and says slaMet ${receipt.slaMet}.`);
  if (receipt.amount > offer.pricePerRequest) fault("charged_above_agreed", `It was charged ${receipt.amount}, agreed are ${offer.pricePerRequest}.`);
  return faults;
}

/** The most that an answer could cost once it was late before it was charged; a stream is charged before, and its credit comes off the next charges. */
export const mostWhenLate = (offer: Pick<Offer, "pricePerRequest" | "refundPolicy">): bigint => chargeWhenLate(offer.pricePerRequest, offer.refundPolicy);
