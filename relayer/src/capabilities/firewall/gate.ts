// The gate that every payment passes: after its signature was verified, before anything is reserved or moves. Where no policy is about a
// payment it costs a few lookups in memory, and no wait.
import type { Address, Hex } from "viem";
import { TallystickError } from "../../../../sdk/src/errors.ts";
import { evaluate, type CompiledPolicy, type Decision, type Facts } from "../../../../sdk/src/firewall/evaluate.ts";
import { newPaymentId } from "../../payment-id.ts";
import { EVENT } from "../../telemetry/log.ts";
import type { GatewayDeps } from "../gateway/rail.ts";
import type { Service } from "../gateway/store.ts";
import { isTaken } from "../ledger/store.ts";
import { askOnce, decidedAbout } from "./approval-store.ts";
import { insertEvents, type FirewallEventKind, type NewEvent } from "./event-store.ts";
import { approvalIdOf, movedBy, neverMoved, paymentKeyOf, refusalOf, type Identity, type Proof } from "./logic.ts";
import { faultOf, refuseUnregistered } from "./listed.ts";
import { mandateFactsOf } from "./mandates.ts";
import { firewallStale } from "./policies.ts";
import { negotiatedPrice, ownerOf, registered, type Registered } from "./registry.ts";

/** One payment as the gate sees it. What costs something is asked for only when a policy wants to know. */
export type Asked = {
  identity: Identity;
  paymentId: string;
  payer: Address;
  /** Who signs for the payer, where that is another key. */
  payerAuthorizer?: Address | undefined;
  payee: Address;
  /** By name; undefined where nothing registered is bought. */
  service: string | undefined;
  /** Whose it is; known where the service is. */
  serviceOwner: Address | undefined;
  /** Most that it can cost. */
  price: bigint;
  resource: string;
  channelId?: Hex | undefined;
  /** Anybody can name a payer: nothing is written of a payment before this has shown that it is one. @throws the payment's own fault. */
  prove?: () => Promise<void>;
  /** True when the money has moved long ago, and this only fetches what it bought. */
  isPaid?: () => Promise<boolean>;
  /** Moved by its owner before it was shown here. */
  movedBy?: Hex;
};

/**
 * Undefined: it may pass, at once.
 * @throws (as a promise) TallystickError 403 `firewall_rejected`, `approval_pending` (safe); 503 `firewall_stale` (safe); 429 `approvals_full`, `refusals_full`.
 */
export function admit(deps: GatewayDeps, asked: Asked): Promise<void> | undefined {
  const fault = faultOf(deps, asked);
  if (fault !== undefined) return refuseUnregistered(deps, asked, fault);
  const policies = deps.policies.concerning(asked);
  if (policies.length === 0 && deps.policies.isFresh()) return undefined;
  return judge(deps, asked, policies.length > 0);
}

/** Nothing to ask: no policy at all, and that is current; and the service is not listed. @param service undefined: not known yet. */
export const isAsleep = ({ policies, listings }: Pick<GatewayDeps, "policies" | "listings">, service: string | undefined): boolean =>
  policies.isEmpty() && policies.isFresh() && (service === undefined ? listings.isEmpty() : listings.find(service) === undefined);

async function judge(deps: GatewayDeps, asked: Asked, isConcerned: boolean): Promise<void> {
  await confirmed(deps, isConcerned);
  const policies = deps.policies.concerning(asked);
  if (policies.length === 0) return;
  let { facts, decision } = await decide(deps, asked, policies, undefined);
  // Its key is ten hashes, and needed only where it does not simply pass.
  const paymentKey = (): Hex => paymentKeyOf(asked.identity, asked);
  if (decision.decision === "PENDING") ({ facts, decision } = await decide(deps, asked, policies, paymentKey()));
  if (decision.decision === "APPROVED") {
    // Reading the facts may have taken a while; what was put in force meanwhile counts.
    if (!deps.policies.isFresh()) return judge(deps, asked, true);
    return;
  }
  if ((await asked.isPaid?.()) === true) return;
  await asked.prove?.();
  deps.policies.countRefusal(asked.payer);
  // A label that another payment has already would have that one tell what became of this.
  const labelled = (await isTaken(deps.db, asked.paymentId)) ? { ...asked, paymentId: newPaymentId() } : asked;
  throw await refuse(deps, labelled, facts, decision, paymentKey(), policies);
}

/** A policy is about it, and nobody here knows whether that is still in force: not today's problem of the payment. */
async function confirmed({ policies }: GatewayDeps, isConcerned: boolean): Promise<void> {
  if (policies.isFresh()) return;
  try {
    await policies.confirm();
  } catch (error) {
    throw isConcerned && !(error instanceof TallystickError) ? firewallStale(error) : error;
  }
}

/** The facts as they are, and what the policies say of them. */
export async function decide(deps: GatewayDeps, asked: Asked, policies: readonly CompiledPolicy[], paymentKey: Hex | undefined): Promise<{ facts: Facts; decision: Decision }> {
  const [service, negotiated, mandate] = await Promise.all([registered(deps, asked.service), negotiatedPrice(deps, asked), mandateFactsOf(deps, asked, policies)]);
  const facts = { ...factsOf(asked, service), negotiatedPrice: negotiated, mandate };
  const decision = evaluate(policies, facts, deps.policies.now());
  if (decision.decision !== "PENDING" || paymentKey === undefined) return { facts, decision };
  const approvals = (await decidedAbout(deps.db, paymentKey)).map(({ policyHash, decidedBy, state, expiresAt }) => ({ policyHash, approver: decidedBy!, granted: state === "granted", expiresAt: expiresAt.getTime() / 1000 }));
  return { facts: { ...facts, approvals }, decision: evaluate(policies, { ...facts, approvals }, deps.policies.now()) };
}

function factsOf({ identity, payer, payee, price, service: name, serviceOwner }: Asked, service: Registered | undefined): Facts {
  return {
    scheme: identity.scheme === "stream" ? "batch-settlement" : identity.scheme, payer, payee, price, service: service?.name ?? name, serviceOwner: serviceOwner ?? service?.owner,
    registeredPayee: service?.payTo, capability: service?.capability, listedPrice: service?.price, negotiatedPrice: undefined, mandate: undefined, approvals: [],
  };
}

async function refuse(deps: GatewayDeps, asked: Asked, facts: Facts, decision: Decision, paymentKey: Hex, policies: readonly CompiledPolicy[]): Promise<TallystickError> {
  const isPending = decision.decision === "PENDING";
  const waiting = isPending ? await askPerson(deps, asked, decision, paymentKey, policies) : undefined;
  const { paymentId, channelId, payer, service } = asked;
  const refusal = refusalOf(decision, proofOf(asked), waiting?.told);
  const isNew = (await insertEvents(deps.db, [eventOf(isPending ? "payment.pending" : "payment.rejected", asked, facts, decision, paymentKey, waiting?.approvers ?? [])])) > 0;
  const { rule, reason, policy } = decision;
  if (isNew) await deps.audit.recordDurably({
    kind: isPending ? "approval.asked" : "payment.rejected", subject: paymentId, rule: `policy.${rule}`, reason, policyHash: policy?.policyHash, payer, payee: asked.payee, amountAtomic: asked.price,
    data: { code: refusal.code, policy: policy?.name, policyVersion: policy?.version, policyOwner: policy?.owner, service, channelId, scheme: asked.identity.scheme, approvalId: waiting?.told.id, moved: asked.movedBy ?? "0" },
  });
  deps.metrics.refusals.inc({ code: refusal.code });
  deps.log.info({ event: EVENT.firewallRefused, paymentId, rule: decision.rule, policy: decision.policy?.name, priceAtomic: String(asked.price) }, decision.reason);
  return refusal;
}

const proofOf = ({ movedBy: txHash, paymentId }: Asked): Proof => (txHash === undefined ? neverMoved(paymentId) : movedBy(txHash, paymentId));

/** Questions cost a row each, and a person's attention. */
const MOST_OPEN_A_PAYER = 200;

async function askPerson(deps: GatewayDeps, asked: Asked, { policy }: Decision, paymentKey: Hex, policies: readonly CompiledPolicy[]): Promise<{ told: { id: string; expiresAt: string }; approvers: Address[] }> {
  const compiled = policies.find(({ policyHash }) => policyHash === policy?.policyHash);
  const rule = compiled?.policy.rules.approval;
  if (compiled === undefined || rule === undefined) throw new Error("invariant: only a rule about approvals lets a payment wait");
  const { policyHash } = compiled;
  const { payer, payee, resource, paymentId, price: amount } = asked;
  const question = {
    approvalId: approvalIdOf(paymentKey, policyHash), paymentKey, policyHash, owner: compiled.policy.owner, policyName: compiled.policy.name, approvers: rule.approvers, payer, payee, service: asked.service ?? "", resource, amount, paymentId,
    expiresS: rule.expiresS,
  };
  const found = await askOnce(deps.db, question, MOST_OPEN_A_PAYER);
  if (found === undefined || found.approval.expired) {
    throw new TallystickError({ code: "approvals_full", status: 429, retry: "safe", detail: `${MOST_OPEN_A_PAYER} payments of ${payer} wait for a person already; nothing was reserved.`, extra: { retryAfterS: 60, proof: proofOf(asked) } });
  }
  return { told: { id: found.approval.approvalId, expiresAt: found.approval.expiresAt.toISOString() }, approvers: rule.approvers };
}

function eventOf(kind: FirewallEventKind, asked: Asked, facts: Facts, decision: Decision, paymentKey: Hex, approvers: readonly Address[]): NewEvent {
  if (decision.policy === undefined) throw new Error("invariant: a policy decided");
  const { payer, payee, payerAuthorizer, paymentId, channelId, resource, price } = asked;
  const { scheme, registeredPayee, service, serviceOwner, listedPrice } = facts;
  return {
    kind, rule: decision.rule, reason: decision.reason, policy: decision.policy,
    parties: [payer, payee, decision.policy.owner, ...(payerAuthorizer === undefined ? [] : [payerAuthorizer]), ...(serviceOwner === undefined ? [] : [serviceOwner]), ...approvers],
    payment: { paymentKey, paymentId, channelId, scheme, payer, payee, registeredPayee, service, serviceOwner, resource, price, listedPrice },
  };
}

/** For what is under way when a kill switch goes on. Undefined (at once, where no policy is about it): it may be charged. */
export function stopOf(deps: Pick<GatewayDeps, "policies">, payment: { paymentId: string; payer: Address }, service: Pick<Service, "name" | "owner" | "receiver">): Promise<TallystickError | undefined> | TallystickError | undefined {
  const { policies } = deps;
  if (policies.isFresh() || policies.concerning({ payer: payment.payer, serviceOwner: ownerOf(service) }).length === 0) return switchOn(deps, payment, service);
  return policies.confirm().then(() => switchOn(deps, payment, service), firewallStale);
}

function switchOn({ policies }: Pick<GatewayDeps, "policies">, { paymentId, payer }: { paymentId: string; payer: Address }, service: Pick<Service, "name" | "owner" | "receiver">): TallystickError | undefined {
  const serviceOwner = ownerOf(service);
  const stopped = policies.concerning({ payer, serviceOwner }).find(({ policy: { rules, subject } }) =>
    rules.stop === true && subject.kind !== "mandate" && (subject.kind !== "service" || (subject.services?.includes(service.name) ?? true)),
  );
  if (stopped === undefined) return undefined;
  const { policy: { owner, name, version }, policyHash } = stopped;
  return refusalOf({ decision: "REJECTED", rule: "stop", reason: `The kill switch of ${name} is on.`, policy: { owner, name, version, policyHash } }, neverMoved(paymentId));
}
