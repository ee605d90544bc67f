// A person decides about a payment that waits. The first decision stands; it is good for that very payment, under that very policy, until
// its time is over.
import { isAddressEqual, type Address, type Hex } from "viem";
import { TallystickError } from "../../../../sdk/src/errors.ts";
import { approvalTypedData } from "../../../../sdk/src/firewall/policy.ts";
import { EVENT } from "../../telemetry/log.ts";
import type { GatewayDeps } from "../gateway/rail.ts";
import * as store from "./approval-store.ts";
import type { ApprovalState, StoredApproval } from "./approval-store.ts";
import { insertEvents } from "./event-store.ts";
import { isSignedBy } from "./service.ts";
import { findPolicy } from "./store.ts";

/** What an approver signs to grant or to refuse. */
export function toSign({ config }: Pick<GatewayDeps, "config">, { paymentKey, policyHash, payer, payee, amount, resource, expiresAt }: StoredApproval, granted: boolean) {
  return approvalTypedData({ paymentKey, policyHash, payer, payee, amount, resource, granted, expiresAt: BigInt(expiresAt.getTime() / 1000) }, config.chainId);
}

export const list = ({ db }: GatewayDeps, caller: Address, state: ApprovalState | undefined, before: Date | undefined, limit: number): Promise<StoredApproval[]> => store.listApprovals(db, caller, { state, before }, limit);

/** @throws TallystickError 404 for one that the caller has no part in. */
export async function show({ db }: GatewayDeps, caller: Address, approvalId: string): Promise<StoredApproval> {
  const found = await store.findApproval(db, approvalId);
  if (found === undefined || ![found.payer, found.owner, ...found.approvers].some((party) => isAddressEqual(party, caller))) throw unknown(approvalId);
  return found;
}

/**
 * Grants or refuses by an approver's signature. The same decision again changes nothing.
 * @throws TallystickError 404 `approval_unknown`; 401 `approval_signature_invalid`; 403 `approver_unknown`; 409 `approval_decided`, `approval_expired`, `approval_stale` (the policy was replaced).
 */
export async function decide(deps: GatewayDeps, approvalId: string, granted: boolean, approver: Address, signature: Hex): Promise<StoredApproval> {
  const asked = await store.findApproval(deps.db, approvalId);
  if (asked === undefined) throw unknown(approvalId);
  if (!asked.approvers.some((named) => isAddressEqual(named, approver))) throw fault("approver_unknown", 403, "approver", `${approver} is not an approver of ${asked.policyName}.`);
  if (!(await isSignedBy(deps, approver, toSign(deps, asked, granted), signature))) throw fault("approval_signature_invalid", 401, "signature", `signature is not ${approver}'s of this decision; GET the approval to see what to sign.`);
  const inForce = await findPolicy(deps.db, asked.owner, asked.policyName);
  if (inForce?.policyHash !== asked.policyHash) throw fault("approval_stale", 409, "id", `${asked.policyName} was replaced since it was asked; send the payment again.`);
  const state = granted ? "granted" : "refused";
  const decided = await store.decide(deps.db, approvalId, state, approver, signature);
  if (decided === undefined) return decidedBefore(deps, approvalId, state, approver);
  await tell(deps, decided, inForce.policy.version);
  return decided;
}

async function decidedBefore(deps: GatewayDeps, approvalId: string, state: ApprovalState, approver: Address): Promise<StoredApproval> {
  const now = await store.findApproval(deps.db, approvalId);
  if (now === undefined || now.expired) throw fault("approval_expired", 409, "id", "Its time is over; send the payment again to ask anew.");
  if (now.state === state && now.decidedBy !== undefined && isAddressEqual(now.decidedBy, approver)) return now;
  throw fault("approval_decided", 409, "id", `It was ${now.state} by ${now.decidedBy}; the first decision stands.`);
}

async function tell(deps: GatewayDeps, approval: StoredApproval, version: number): Promise<void> {
  const { approvalId, paymentId, payer, payee, owner, policyName: name, policyHash, approvers, state, decidedBy, amount } = approval;
  await insertEvents(deps.db, [{
    kind: state === "granted" ? "approval.granted" : "approval.refused", rule: "approval", reason: `${approvalId}: ${state} by ${decidedBy}.`, policy: { owner, name, version, policyHash }, parties: [payer, payee, owner, ...approvers],
  }]);
  await deps.audit.recordDurably({ kind: state === "granted" ? "approval.granted" : "approval.refused", subject: paymentId, rule: "policy.approval", reason: `${state} by ${decidedBy}`, policyHash, payer, payee, amountAtomic: amount, data: { approvalId, decidedBy } });
  deps.log.info({ event: EVENT.approvalDecided, approvalId, paymentId, state, by: decidedBy, amountAtomic: String(amount) }, "a person decided");
}

const unknown = (approvalId: string) => fault("approval_unknown", 404, "id", `No approval of yours is called ${approvalId}.`);
const fault = (code: string, status: number, field: string, detail: string) => new TallystickError({ code, status, retry: "never", field, detail });
