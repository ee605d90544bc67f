// What the firewall knows of the mandate that a payment is made under. Its budget is the ledger's to keep; here it matters whether there is
// one and whether it holds.
import { zeroHash, type Address } from "viem";
import type { CompiledPolicy, MandateFacts } from "../../../../sdk/src/firewall/evaluate.ts";
import type { GatewayDeps } from "../gateway/rail.ts";
import { boundMandate, type BoundMandate } from "../mandates/service.ts";
import { capabilityOf } from "../mandates/budget-store.ts";

type Paying = { payer: Address; payerAuthorizer?: Address | undefined; payee: Address; service: string | undefined };

/** Asked only when one of the policies is about mandates, or is a buyer's, who has no use for a mandate that does not hold. */
export async function mandateFactsOf(deps: GatewayDeps, paying: Paying, policies: readonly CompiledPolicy[]): Promise<MandateFacts | undefined> {
  const isAbout = policies.some(({ policy: { rules, subject } }) => rules.mandate !== undefined || subject.kind === "mandate" || subject.kind === "payer");
  if (!isAbout || paying.payerAuthorizer === undefined) return undefined;
  const bound = await boundMandate(deps, paying.payer, paying.payerAuthorizer);
  if (bound === undefined) return undefined;
  const reason = faultOf(bound, paying.service, deps.policies.now() / 1000) ?? ((await deps.mandates.payeeRefusedBy(bound, paying.payee)) === undefined ? undefined : `it does not allow the payee ${paying.payee}`);
  const facts = { mandateId: bound.mandateId, principal: bound.principal, chain: bound.lineage.map(({ mandateId }) => mandateId) };
  return reason === undefined ? { ...facts, valid: true } : { ...facts, valid: false, reason };
}

/** One that is not valid ends all below it. */
function faultOf({ lineage }: BoundMandate, capability: string | undefined, nowS: number): string | undefined {
  for (const { mandateId, mandate, revoked } of lineage) {
    if (revoked !== undefined) return `${mandateId} is revoked (${revoked})`;
    if (nowS < mandate.validAfter) return `${mandateId} is valid from ${mandate.validAfter}`;
    if (nowS > mandate.validUntil) return `${mandateId} was valid until ${mandate.validUntil}`;
    if (mandate.capability !== zeroHash && (capability === undefined || mandate.capability !== capabilityOf(capability))) return `${mandateId} is for another capability`;
  }
  return undefined;
}
