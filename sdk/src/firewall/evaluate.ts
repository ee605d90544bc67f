// May this payment happen? Pure: policies and facts in, a decision out. Deny wins: one policy that refuses is enough, and a person who has
// not decided yet holds a payment that no policy refuses. Facts that a rule needs and nobody knows count against the payment.
import type { Address, Hex } from "viem";
import { DAYS, policyHashOf, type Day, type Policy } from "./policy.ts";

export type MandateFacts = {
  mandateId: Hex;
  principal: Address;
  /** Its own id first, then its parent's, up to the root's. */
  chain: readonly Hex[];
  valid: boolean;
  /** Why it is not. */
  reason?: string;
};

/** A decision that somebody signed about this very payment; whoever passes it in has checked the signature. */
export type ApprovalFacts = { policyHash: Hex; approver: Address; granted: boolean; /** Unix seconds; it counts before that. */ expiresAt: number };

export type Facts = {
  /** x402's name, or `transfer`. */
  scheme: string;
  payer: Address;
  /** Whom the money would go to. */
  payee: Address;
  /** Whom the service is registered with; undefined when nobody knows. */
  registeredPayee: Address | undefined;
  service: string | undefined;
  /** Who may change the service: its owner's policies bind it. */
  serviceOwner: Address | undefined;
  /** Tag of what is bought. */
  capability: string | undefined;
  /** Most that this payment can cost, atomic units. */
  price: bigint;
  listedPrice: bigint | undefined;
  negotiatedPrice: bigint | undefined;
  mandate: MandateFacts | undefined;
  approvals: readonly ApprovalFacts[];
};

export type Decided = "APPROVED" | "REJECTED" | "PENDING";

export type Decision = {
  decision: Decided;
  /** Stable: the rule's place in the policy, such as `payees.deny`; `none` when no policy is about the payment, `all` when all allow it. */
  rule: string;
  /** For people. */
  reason: string;
  /** Which policy decided. */
  policy?: { owner: Address; name: string; version: number; policyHash: Hex };
};

/** A policy made ready to be asked often. */
export type CompiledPolicy = {
  policy: Policy;
  policyHash: Hex;
  allowedPayees: ReadonlySet<string> | "any" | undefined;
  deniedPayees: ReadonlySet<string>;
  allowedCapabilities: ReadonlySet<string> | "any" | undefined;
  deniedCapabilities: ReadonlySet<string>;
  clock: Intl.DateTimeFormat | undefined;
};

export function compilePolicy(policy: Policy): CompiledPolicy {
  const { payees, capabilities, hours } = policy.rules;
  const allowed = (list: readonly string[] | "any" | undefined) => (list === undefined || list === "any" ? list : new Set(list));
  return {
    policy,
    policyHash: policyHashOf(policy),
    allowedPayees: allowed(payees?.allow),
    deniedPayees: new Set(payees?.deny),
    allowedCapabilities: allowed(capabilities?.allow),
    deniedCapabilities: new Set(capabilities?.deny),
    clock: hours === undefined ? undefined : new Intl.DateTimeFormat("en-GB", { timeZone: hours.zone, weekday: "short", hour: "2-digit", minute: "2-digit", hourCycle: "h23" }),
  };
}

const same = (one: Address | undefined, other: Address | undefined): boolean => one !== undefined && other !== undefined && one.toLowerCase() === other.toLowerCase();

/** Is the policy about this payment? Nobody's policy is about what is another's. */
export function concerns({ owner, subject }: Policy, facts: Facts): boolean {
  switch (subject.kind) {
    case "operator":
      return true;
    case "payer":
      return same(owner, facts.payer);
    case "service":
      return same(owner, facts.serviceOwner) && (subject.services === undefined || (facts.service !== undefined && subject.services.includes(facts.service)));
    case "mandate": {
      const { mandate } = facts;
      if (mandate === undefined || !same(owner, mandate.principal)) return false;
      return subject.mandates === undefined || mandate.chain.some((id) => subject.mandates!.includes(id.toLowerCase() as Hex));
    }
  }
}

/** `now` in Unix milliseconds. */
export function evaluate(policies: readonly CompiledPolicy[], facts: Facts, now: number): Decision {
  let pending: Decision | undefined;
  let approved: Decision = { decision: "APPROVED", rule: "none", reason: "No policy is about this payment." };
  for (const compiled of policies) {
    if (!concerns(compiled.policy, facts)) continue;
    const judged = judge(compiled, facts, now);
    if (judged?.decision === "REJECTED") return judged;
    if (judged !== undefined) pending ??= judged;
    else approved = { decision: "APPROVED", rule: "all", reason: `${compiled.policy.name} allows it.`, policy: nameOf(compiled) };
  }
  return pending ?? approved;
}

type Refusal = { rule: string; reason: string };
type Rule = (compiled: CompiledPolicy, facts: Facts, now: number) => Refusal | undefined;

/** In this order: what is told is the first that refuses. */
const RULES: readonly Rule[] = [stop, mandate, recipient, payees, capabilities, price, hours];

/** What one policy has against the payment; undefined: nothing. */
function judge(compiled: CompiledPolicy, facts: Facts, now: number): Decision | undefined {
  for (const rule of RULES) {
    const refusal = rule(compiled, facts, now);
    if (refusal !== undefined) return { decision: "REJECTED", ...refusal, policy: nameOf(compiled) };
  }
  return approval(compiled, facts, now);
}

const nameOf = ({ policy: { owner, name, version }, policyHash }: CompiledPolicy) => ({ owner, name, version, policyHash });

/** The side that pays: there what is not allowed is denied. */
const isBuyers = ({ policy }: CompiledPolicy): boolean => policy.subject.kind === "payer" || policy.subject.kind === "mandate";

function stop({ policy }: CompiledPolicy): Refusal | undefined {
  return policy.rules.stop === true ? { rule: "stop", reason: `The kill switch of ${policy.name} is on.` } : undefined;
}

function mandate(compiled: CompiledPolicy, { mandate: held }: Facts): Refusal | undefined {
  const required = compiled.policy.rules.mandate === "required";
  if (held === undefined) return required ? { rule: "mandate", reason: "There is no mandate for this payment." } : undefined;
  if (held.valid || !(required || isBuyers(compiled))) return undefined;
  return { rule: "mandate", reason: `The mandate ${held.mandateId} is not valid: ${held.reason ?? "no reason is known"}.` };
}

function recipient({ policy }: CompiledPolicy, { payee, registeredPayee }: Facts): Refusal | undefined {
  if (policy.rules.recipient === undefined || same(payee, registeredPayee)) return undefined;
  return { rule: "recipient", reason: registeredPayee === undefined ? `Nobody has registered ${payee} as the payee of what is bought.` : `The payee is ${payee}, registered is ${registeredPayee}.` };
}

function payees(compiled: CompiledPolicy, { payee }: Facts): Refusal | undefined {
  const key = payee.toLowerCase();
  if (compiled.deniedPayees.has(key)) return { rule: "payees.deny", reason: `The payee ${payee} is denied.` };
  return allowed(compiled.allowedPayees, isBuyers(compiled), [key]) ? undefined : { rule: "payees.allow", reason: `The payee ${payee} is not among those allowed.` };
}

function capabilities(compiled: CompiledPolicy, { service, capability }: Facts): Refusal | undefined {
  const keys = [...(capability === undefined ? [] : [capability]), ...(service === undefined ? [] : [`service:${service}`])];
  const denied = keys.find((key) => compiled.deniedCapabilities.has(key));
  if (denied !== undefined) return { rule: "capabilities.deny", reason: `${denied} is denied.` };
  // Of what is bought nothing is known, so it may be what is denied.
  if (keys.length === 0 && compiled.deniedCapabilities.size > 0) return { rule: "capabilities.deny", reason: "What is bought is not known, and some of it is denied." };
  return allowed(compiled.allowedCapabilities, isBuyers(compiled), keys) ? undefined : { rule: "capabilities.allow", reason: `${keys.join(", ") || "What is bought"} is not among what is allowed.` };
}

function allowed(list: CompiledPolicy["allowedPayees"], denyByDefault: boolean, keys: readonly string[]): boolean {
  if (list === undefined) return !denyByDefault;
  return list === "any" || keys.some((key) => list.has(key));
}

const BPS = 10_000n;

function price({ policy }: CompiledPolicy, { price: asked, listedPrice, negotiatedPrice }: Facts): Refusal | undefined {
  const { max, overListedBps, overNegotiatedBps } = policy.rules.price ?? {};
  if (max !== undefined && asked > BigInt(max)) return { rule: "price.max", reason: `The price is ${asked}, the most is ${max}.` };
  const over = (reference: bigint | undefined, bps: number | undefined): boolean => bps !== undefined && (reference === undefined || asked * BPS > reference * (BPS + BigInt(bps)));
  if (over(listedPrice, overListedBps)) return { rule: "price.overListedBps", reason: `The price is ${asked}, listed is ${listedPrice ?? "none"}; ${overListedBps} bps more are allowed.` };
  const agreed = negotiatedPrice ?? listedPrice;
  if (over(agreed, overNegotiatedBps)) return { rule: "price.overNegotiatedBps", reason: `The price is ${asked}, ${negotiatedPrice === undefined ? "nothing was negotiated and listed" : "negotiated"} is ${agreed ?? "none"}; ${overNegotiatedBps} bps more are allowed.` };
  return undefined;
}

function hours({ policy, clock }: CompiledPolicy, _facts: Facts, now: number): Refusal | undefined {
  const rule = policy.rules.hours;
  if (rule === undefined || clock === undefined) return undefined;
  const { day, time } = localTime(clock, now);
  if (rule.windows.some(({ days, from, to }) => days.includes(day) && from <= time && time < to)) return undefined;
  return { rule: "hours", reason: `It is ${day} ${time} in ${rule.zone}, outside of the hours allowed.` };
}

/** Of each clock, the last minute that it was asked for: reading it costs more than everything else here, and it says no seconds. */
const lastMinutes = new WeakMap<Intl.DateTimeFormat, { minute: number; told: { day: Day; time: string } }>();

function localTime(clock: Intl.DateTimeFormat, now: number): { day: Day; time: string } {
  const minute = Math.floor(now / 60_000);
  const last = lastMinutes.get(clock);
  if (last?.minute === minute) return last.told;
  const told = readClock(clock, now);
  lastMinutes.set(clock, { minute, told });
  return told;
}

function readClock(clock: Intl.DateTimeFormat, now: number): { day: Day; time: string } {
  const parts = new Map(clock.formatToParts(now).map(({ type, value }) => [type, value]));
  const day = DAYS.find((known) => known === parts.get("weekday")?.toLowerCase());
  if (day === undefined) throw new Error("invariant: en-GB names its days by three letters");
  return { day, time: `${parts.get("hour")}:${parts.get("minute")}` };
}

function approval(compiled: CompiledPolicy, { price: asked, approvals }: Facts, now: number): Decision | undefined {
  const rule = compiled.policy.rules.approval;
  if (rule === undefined || asked <= BigInt(rule.above)) return undefined;
  const decided = approvals.filter((given) => given.policyHash === compiled.policyHash && now < given.expiresAt * 1000 && rule.approvers.some((named) => same(named, given.approver)));
  if (decided.some(({ granted }) => !granted)) return { decision: "REJECTED", rule: "approval", reason: "An approver refused it.", policy: nameOf(compiled) };
  if (decided.length > 0) return undefined;
  return { decision: "PENDING", rule: "approval", reason: `${asked} is above ${rule.above}: a person has to approve it.`, policy: nameOf(compiled) };
}
