// The guard that this relayer hosts for principals: the SDK's own core, over Postgres, the firewall's policies, the service table and the
// audit log. Off without RELAYER_GUARD_KEY.
import type { CompiledPolicy } from "../../../../sdk/src/firewall/evaluate.ts";
import { guardChain } from "../../../../sdk/src/guard/chain.ts";
import { createGuard, type Guard, type GuardChain, type GuardDecision } from "../../../../sdk/src/guard/guard.ts";
import type { ServiceFacts } from "../../../../sdk/src/guard/logic.ts";
import type { ChainReader } from "../../../../sdk/src/agent/chain.ts";
import type { Hex } from "viem";
import type { RefusalEntry } from "../../../../sdk/src/guard/store.ts";
import { TallystickError } from "../../../../sdk/src/errors.ts";
import { registered, serviceSoldAt } from "../firewall/registry.ts";
import type { GatewayDeps } from "../gateway/rail.ts";
import { capabilityOf } from "../mandates/budget-store.ts";
import { registerGuard } from "../mandates/registration.ts";
import type { Db } from "../../db/pool.ts";
import { createGuardStore, forgetAnswers, guardInstance, revokedOf } from "./store.ts";

export type HostedGuard = Guard;

/** Undefined when this relayer hosts none. */
export async function openGuard(deps: GatewayDeps): Promise<HostedGuard | undefined> {
  const { config, db, reached } = deps;
  if (config.guardKey === undefined) return undefined;
  const parts = { db, committed: () => reached("guard.decided"), recordRefusal: (entry: RefusalEntry) => recordRefusal(deps, entry) };
  const store = createGuardStore(parts, await guardInstance(db));
  const guard = createGuard({
    store, master: config.guardKey, chainId: config.chainId, registry: config.mandateRegistry, channels: config.sessionChannels,
    chain: withRevocations(db, guardChain(deps.chain.client as unknown as ChainReader, config.chainId, config.mandateRegistry)),
    policies: (principal, owner) => policiesFor(deps, principal, owner),
    service: (url) => serviceFacts(deps, url), now: deps.now, onDecision: (decision) => recordSigned(deps, decision),
  });
  return {
    ...bound(guard),
    // A voucher key that this relayer's guard holds is bound here at once: its ledger counts the mandate's budget too.
    async register(lineage) {
      const done = await guard.register(lineage);
      const { authorizer, signature } = await guard.binding(done.mandateId);
      await registerGuard(deps, lineage[0].mandate.principal, done.mandateId, { authorizer, signature });
      return done;
    },
  };
}

/** A revocation that this relayer was told counts before the chain has it. */
function withRevocations(db: Db, chain: GuardChain): GuardChain {
  return {
    ...chain,
    async look(lineage, ids) {
      const revoked = await revokedOf(db, ids);
      const told = await chain.look(lineage, ids);
      return revoked === undefined ? told : { ...told, refusal: { code: "mandate_revoked", rule: "mandate.revoked", reason: `The mandate ${revoked} is revoked.` } };
    },
  };
}

const bound = (guard: Guard): Guard => ({
  instance: guard.instance, chainId: guard.chainId, registry: guard.registry, channels: guard.channels,
  register: (lineage) => guard.register(lineage), status: (id) => guard.status(id), open: (id, config) => guard.open(id, config), binding: (id) => guard.binding(id),
  mandateIds: () => guard.mandateIds(), sign: (orders) => guard.sign(orders),
});

/** Those that may be about it, as of now: what is older than the firewall allows is confirmed first. */
async function policiesFor({ policies }: GatewayDeps, payer: Hex, serviceOwner: Hex | undefined): Promise<readonly CompiledPolicy[]> {
  if (!policies.isFresh()) await policies.confirm();
  return policies.concerning({ payer, serviceOwner });
}

async function serviceFacts(deps: GatewayDeps, url: string): Promise<ServiceFacts | undefined> {
  const known = await registered(deps, await serviceSoldAt(deps, url));
  if (known === undefined) return undefined;
  return { service: known.name, serviceOwner: known.owner, registeredPayee: known.payTo, capability: known.capability, capabilityHash: capabilityOf(known.capability), listedPrice: known.price };
}

async function recordRefusal(deps: GatewayDeps, { mandateId, channelId, url, payTo, priceAtomic, code, rule, reason, principal }: RefusalEntry): Promise<void> {
  try {
    deps.policies.countRefusal(principal);
  } catch (error) {
    if (error instanceof TallystickError) return; // as many rows a minute as a payer may cause: the refusal stands all the same
    throw error;
  }
  await deps.audit.recordDurably({ kind: "guard.refused", subject: mandateId, rule, reason, payer: principal, payee: payTo, amountAtomic: 0n, data: { code, channelId, url, priceAtomic } });
}

function recordSigned({ audit }: GatewayDeps, { order: { request }, principal, refusal, added }: GuardDecision): void {
  if (refusal !== undefined) return;
  audit.record({ kind: "guard.signed", subject: request.mandateId, payer: principal, payee: request.payTo, amountAtomic: added, data: { channelId: request.channelId, url: request.url, priceAtomic: request.price, ceilingAtomic: request.ceiling } });
}

/** Requests that can be asked no more. */
export async function sweepGuardAnswers({ db, now, config }: GatewayDeps): Promise<void> {
  if (config.guardKey !== undefined) await forgetAnswers(db, Math.floor(now().getTime() / 1_000) - 60);
}

