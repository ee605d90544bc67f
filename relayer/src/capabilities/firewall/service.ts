// Policies put in force and looked up. Who may: whoever signed them; what is not the owner's to bind is not bound by it (see concerns()).
import type { Address, Hex } from "viem";
import { TallystickError } from "../../../../sdk/src/errors.ts";
import { canonicalJson, parsePolicy, policyHashOf, policyTypedData, type Policy } from "../../../../sdk/src/firewall/policy.ts";
import { readChain } from "../../chain/client.ts";
import { EVENT } from "../../telemetry/log.ts";
import type { GatewayDeps } from "../gateway/rail.ts";
import { insertEvents } from "./event-store.ts";
import * as store from "./store.ts";
import type { StoredPolicy } from "./store.ts";

/** An owner's policies are all asked for every payment of that owner. */
const MOST_POLICIES = 100;
const MOST_VERSIONS = 200;
const MOST_BYTES = 131_072;

/**
 * Puts a policy in force, in every process in less than a second. The same again changes nothing.
 * @throws TallystickError 400 `policy_malformed` with its field; 401 `policy_signature_invalid`; 403 `policy_operator_unknown`; 409 `policy_version_stale`, `policies_full`.
 */
export async function apply(deps: GatewayDeps, input: unknown, signature: Hex): Promise<{ stored: StoredPolicy; isNew: boolean }> {
  const policy = parsePolicy(input);
  const canonical = canonicalJson(policy);
  if (canonical.length > MOST_BYTES) throw new TallystickError({ code: "policy_malformed", status: 400, retry: "never", field: "policy", detail: `The policy has ${canonical.length} characters; ${MOST_BYTES} at most.` });
  await checkSigned(deps, policy, signature);
  if (policy.subject.kind === "operator" && !deps.config.firewallOperators.some((operator) => operator.toLowerCase() === policy.owner)) {
    throw new TallystickError({ code: "policy_operator_unknown", status: 403, retry: "never", field: "policy.owner", detail: `${policy.owner} is no operator of this relayer.` });
  }
  const policyHash = policyHashOf(policy);
  const before = await store.findPolicy(deps.db, policy.owner, policy.name);
  if (before === undefined && (await store.countPolicies(deps.db, policy.owner)) >= MOST_POLICIES) {
    throw new TallystickError({ code: "policies_full", status: 409, retry: "never", field: "policy.name", detail: `${policy.owner} has ${MOST_POLICIES} policies; replace one of them.` });
  }
  const standing = await store.insertPolicy(deps.db, { policy, policyHash, canonical, signature });
  if (standing !== undefined) return { stored: sameOrStale(standing, policy, policyHash), isNew: false };
  await deps.policies.changed();
  await tell(deps, before?.policy, policy, policyHash);
  return { stored: (await store.findPolicy(deps.db, policy.owner, policy.name))!, isNew: true };
}

function sameOrStale(standing: StoredPolicy, { name, version }: Policy, policyHash: Hex): StoredPolicy {
  if (standing.policyHash === policyHash) return standing;
  throw new TallystickError({
    code: "policy_version_stale", status: 409, retry: "never", field: "policy.version", extra: { currentVersion: standing.policy.version, currentHash: standing.policyHash },
    detail: `${name} is at version ${standing.policy.version}; only a higher version replaces it, this is ${version}.`,
  });
}

async function checkSigned({ chain, config }: GatewayDeps, policy: Policy, signature: Hex): Promise<void> {
  if (await isSignedBy({ chain, config }, policy.owner, policyTypedData(policy, config.chainId), signature)) return;
  throw new TallystickError({ code: "policy_signature_invalid", status: 401, retry: "never", field: "signature", detail: `signature is not one of ${policy.owner} over this policy on chain ${config.chainId}.` });
}

type TypedData = Parameters<GatewayDeps["chain"]["client"]["verifyTypedData"]>[0];

/** A key's signature, or a contract wallet's (ERC-1271; ERC-6492 before it is deployed). */
export function isSignedBy({ chain }: Pick<GatewayDeps, "chain" | "config">, address: Address, data: Omit<TypedData, "address" | "signature">, signature: Hex): Promise<boolean> {
  return readChain(() => chain.client.verifyTypedData({ ...data, address, signature } as TypedData));
}

async function tell(deps: GatewayDeps, before: Policy | undefined, policy: Policy, policyHash: Hex): Promise<void> {
  const { owner, name, version, rules } = policy;
  const wasOn = before?.rules.stop === true;
  const isOn = rules.stop === true;
  const about = { policy: { owner, name, version, policyHash }, parties: [owner] };
  const kill = wasOn === isOn ? [] : [{ ...about, kind: isOn ? ("kill.set" as const) : ("kill.lifted" as const), rule: "stop", reason: isOn ? `The kill switch of ${name} is on.` : `The kill switch of ${name} is off.` }];
  await insertEvents(deps.db, [{ ...about, kind: "policy.applied", rule: "applied", reason: `${name} is at version ${version}.` }, ...kill]);
  for (const { kind, rule, reason } of [{ kind: "policy.applied" as const, rule: "applied", reason: `${name} is at version ${version}.` }, ...kill]) {
    await deps.audit.recordDurably({ kind, subject: `${owner}/${name}`, rule: `policy.${rule}`, reason, policyHash, payer: owner, data: { version, subjectKind: policy.subject.kind } });
  }
  deps.log.info({ event: EVENT.policyApplied, owner, policy: name, version, policyHash, subject: policy.subject.kind, stop: isOn }, "policy in force");
}

export const list = ({ db }: GatewayDeps, owner: Address): Promise<StoredPolicy[]> => store.listPolicies(db, owner, MOST_POLICIES);

/** @throws TallystickError 404 `policy_unknown`. */
export async function show({ db }: GatewayDeps, owner: Address, name: string): Promise<StoredPolicy> {
  const found = await store.findPolicy(db, owner, name);
  if (found === undefined) throw new TallystickError({ code: "policy_unknown", status: 404, retry: "never", field: "name", detail: `You have no policy called ${name}.` });
  return found;
}

/** The newest first. @throws TallystickError 404 `policy_unknown`. */
export async function versions(deps: GatewayDeps, owner: Address, name: string): Promise<StoredPolicy[]> {
  await show(deps, owner, name);
  return store.listVersions(deps.db, owner, name, MOST_VERSIONS);
}
