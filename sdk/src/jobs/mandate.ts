// Hires under a mandate, with the principal's money: the agent grants the escrow a mandate below its own that is good for this job and no other
// (its delegate is the escrow, its limit the budget, its `terms` the hash of all that is fixed at hire). Nobody but the escrow can spend it.
import { isAddressEqual, type Address, type Hex } from "viem";
import { TallystickError } from "../errors.ts";
import { jobEscrowDomain, jobHireDigest, jobMandateOrder, type HireTerms } from "../job-messages.ts";
import type { Lineage } from "../lineage.ts";
import { spendOrder } from "../mandate-messages.ts";
import { delegateMandate } from "../mandates.ts";
import { payeeProof } from "../payees.ts";
import { hireTermsOf } from "./brief.ts";
import type { Contracts, HireChoice, Signer } from "./signing.ts";

/** What the agent was given, and the registry it counts at. */
export type JobMandate = { lineage: Lineage; registry: Address };

/**
 * `order` of a hire whose client is the mandate's principal and whose signer is its delegate.
 * @param nowS Unix seconds. @param signedForS how long the order may be used, at most.
 * @throws TallystickError 403 `mandate_principal`, `mandate_expired`, `mandate_too_wide` (its limits are below the budget), `payee_not_allowed` (its payees do not name the escrow).
 */
export async function grantHire(agent: Signer, contracts: Contracts, choice: HireChoice, at: { expiredAt: number; nowS: number; signedForS: number; mandate: JobMandate }): Promise<{ terms: HireTerms; order: Hex }> {
  const { lineage, registry } = at.mandate;
  const { chainId, jobEscrow } = contracts;
  const { principal, validUntil } = lineage[0].mandate;
  if (!isAddressEqual(principal, choice.client)) throw refused("mandate_principal", `The job is ${choice.client}'s, the mandate is ${principal}'s: post the job with its principal as the client.`);
  if (validUntil <= at.nowS) throw refused("mandate_expired", "The mandate is no longer valid.");
  const terms = hireTermsOf({ ...choice, expiredAt: BigInt(at.expiredAt), disputeEvaluator: contracts.disputeEvaluator });
  const own = await delegateMandate(agent, { chainId, registry }, lineage, {
    delegate: jobEscrow, limit: choice.budget, paymentLimit: choice.budget, validFor: Math.min(at.signedForS, validUntil - at.nowS), terms: jobHireDigest(jobEscrowDomain(chainId, jobEscrow), principal, terms),
  });
  const order = spendOrder({
    lineage: own.map(({ mandate }) => mandate), approvals: own.map(({ signature }) => signature), payee: jobEscrow, amount: choice.budget,
    proofs: own.map(({ payees }): Hex[] => (payees === undefined ? [] : payeeProof(payees, jobEscrow))),
  });
  return { terms, order: jobMandateOrder(order) };
}

const refused = (code: string, detail: string) => new TallystickError({ code, status: 403, retry: "never", field: "mandate", detail });
