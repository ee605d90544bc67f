// A policy tried on what has happened, before it is put in force: what it would have changed.
import type { Address } from "viem";
import { TallystickError } from "../../../../sdk/src/errors.ts";
import { compilePolicy, concerns, evaluate, type CompiledPolicy, type Decided, type Decision, type Facts } from "../../../../sdk/src/firewall/evaluate.ts";
import { parsePolicy, type Policy } from "../../../../sdk/src/firewall/policy.ts";
import type { GatewayDeps } from "../gateway/rail.ts";
import { happened, type Happened, type Whose } from "./history-store.ts";
import { mandateFactsOf } from "./mandates.ts";

const PAGE = 1_000;
const MOST = 50_000;
const MOST_EXAMPLES = 20;

type Sum = { count: number; amountAtomic: bigint };
export type Example = { id: string; at: Date; service: string | undefined; payee: Address; priceAtomic: bigint; before: Decided; after: Decided; rule: string; reason: string };

export type Simulation = {
  from: Date;
  to: Date;
  /** Payments and refusals that the policy is about. */
  considered: Sum;
  unchanged: Sum;
  /** Happened, and would have been refused. */
  wouldReject: Sum;
  /** Happened, and would have waited for a person. */
  wouldWait: Sum;
  /** Was refused; this policy has nothing against it (others may). */
  wouldAllow: Sum;
  byRule: Map<string, Sum>;
  examples: Example[];
  /** There was more in this time than is replayed at once: it ends here. */
  truncatedAt: Date | undefined;
};

/**
 * @throws TallystickError 400 `policy_malformed`, `range_malformed`; 403 `policy_not_yours`: a history is its owner's to look at.
 */
export async function simulate(deps: GatewayDeps, caller: Address, input: unknown, from: Date, to: Date): Promise<Simulation> {
  const policy = parsePolicy(input);
  if (!(from < to)) throw new TallystickError({ code: "range_malformed", status: 400, retry: "never", field: "to", detail: "to must be later than from." });
  const compiled = compilePolicy(policy);
  const whose = historyOf(deps, caller, policy);
  const nothing = (): Sum => ({ count: 0, amountAtomic: 0n });
  const result: Simulation = { from, to, considered: nothing(), unchanged: nothing(), wouldReject: nothing(), wouldWait: nothing(), wouldAllow: nothing(), byRule: new Map(), examples: [], truncatedAt: undefined };
  let last: Happened | undefined;
  for (let seen = 0; ; ) {
    const page = await happened(deps.db, whose, from, to, last, PAGE);
    for (const one of page) await replay(deps, compiled, one, result);
    seen += page.length;
    last = page.at(-1);
    if (page.length < PAGE || last === undefined) return result;
    if (seen >= MOST) return { ...result, truncatedAt: last.at };
  }
}

function historyOf({ config }: GatewayDeps, caller: Address, { owner, subject }: Policy): Whose {
  const isOperator = subject.kind === "operator" && config.firewallOperators.some((operator) => operator.toLowerCase() === owner);
  if (owner !== caller.toLowerCase() || (subject.kind === "operator" && !isOperator)) {
    throw new TallystickError({ code: "policy_not_yours", status: 403, retry: "never", field: "policy.owner", detail: `The policy is ${owner}'s, and you are signed in as ${caller}.` });
  }
  if (subject.kind === "operator") return { kind: "all" };
  return { kind: subject.kind === "service" ? "service" : "payer", address: caller };
}

async function replay(deps: GatewayDeps, compiled: CompiledPolicy, one: Happened, result: Simulation): Promise<void> {
  const { scheme, payer, payee, registeredPayee, service, serviceOwner, price, listedPrice } = one;
  const facts: Facts = {
    scheme, payer, payee, registeredPayee, service, serviceOwner, capability: service, price, listedPrice, negotiatedPrice: undefined, approvals: [], mandate: await mandateFactsOf(deps, one, [compiled]),
  };
  if (!concerns(compiled.policy, facts)) return;
  add(result.considered, price);
  const decision = evaluate([compiled], facts, one.at.getTime());
  const changed = changeOf(one, decision.decision);
  add(changed === undefined ? result.unchanged : result[changed], price);
  if (changed === undefined) return;
  const key = changed === "wouldAllow" ? "none" : decision.rule;
  const sum = result.byRule.get(key) ?? { count: 0, amountAtomic: 0n };
  result.byRule.set(key, sum);
  add(sum, price);
  if (result.examples.length < MOST_EXAMPLES) result.examples.push(exampleOf(one, decision));
}

function changeOf({ wasRejected }: Happened, now: Decided): "wouldReject" | "wouldWait" | "wouldAllow" | undefined {
  if (wasRejected) return now === "APPROVED" ? "wouldAllow" : undefined;
  return now === "REJECTED" ? "wouldReject" : now === "PENDING" ? "wouldWait" : undefined;
}

function add(sum: Sum, amount: bigint): void {
  sum.count += 1;
  sum.amountAtomic += amount;
}

const exampleOf = ({ id, at, service, payee, price, wasRejected }: Happened, { decision, rule, reason }: Decision): Example => ({
  id, at, service, payee, priceAtomic: price, before: wasRejected ? "REJECTED" : "APPROVED", after: decision, rule, reason,
});
