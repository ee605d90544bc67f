// The main job's mandate: a person grants it, an agent and its sub-agent pay under it, and a payment that it does not allow is refused.
import { readFile } from "node:fs/promises";
import { createPublicClient, createWalletClient, http, type Hex } from "viem";
import { baseSepolia } from "viem/chains";
import type { Db } from "../../relayer/src/db/pool.ts";
import { sessionChannelsAbi } from "../../sdk/src/abi/session-channels.ts";
import { createAgent, type Agent as PayingAgent } from "../../sdk/src/agent/agent.ts";
import { openReader, type ChainWriter } from "../../sdk/src/agent/chain.ts";
import { BASE_SEPOLIA, LOCAL_MANDATE_REGISTRY, SESSION_CHANNELS } from "../../sdk/src/constants.ts";
import { TallystickError } from "../../sdk/src/errors.ts";
import { GuardClient } from "../../sdk/src/guard/client.ts";
import { readJournal } from "../../sdk/src/guard/journal-node.ts";
import { idsOf, type Lineage } from "../../sdk/src/lineage.ts";
import { mandateRegistryDomain } from "../../sdk/src/mandate.ts";
import { registerWithRelayer } from "../../sdk/src/mandate-register.ts";
import { allowRegistry, createMandate, delegateMandate, epochOf, type RegistryAt } from "../../sdk/src/mandates.ts";
import { readLineage } from "../../sdk/src/registry.ts";
import { AGENT_INDEX, localAccount, SDK_INDEX, SUB_AGENT_INDEX } from "./accounts.ts";
import type { Agent } from "./agents.ts";
import { readChargedBy } from "./ledger-store.ts";
import { sum } from "./verdict.ts";
import type { World } from "./world.ts";

const AT: RegistryAt = { chainId: BASE_SEPOLIA.chainId, registry: LOCAL_MANDATE_REGISTRY };
/** More would only queue at the example provider, which has one core. */
const IN_FLIGHT = 8;

/** What the person wants, in USDC. */
const WISHES = { limit: "8", periodLimit: "8", period: "1d", paymentLimit: "1", validFor: "1d" } as const;
const SUB_LIMIT = "4";
/** Enough for all that either buys, so that each deposits once. */
const DEPOSIT_CALLS = 800;

export type Household = {
  /** Of the mandate, and of what its agent handed on. */
  root: Lineage;
  sub: Lineage;
  agents: Agent[];
  subAgent: PayingAgent;
};

/** The person lets the registry take tokens within mandates, once, and signs. */
export async function grantMandates({ rpcUrl, relayerUrl, receiver, guard }: World): Promise<Household> {
  const [principal, main, helper] = [localAccount(SDK_INDEX), localAccount(AGENT_INDEX), localAccount(SUB_AGENT_INDEX)];
  const reader = openReader(rpcUrl);
  const writer = createWalletClient({ account: principal, chain: baseSepolia, transport: http(rpcUrl), pollingInterval: 100 }) as unknown as ChainWriter;
  await allowRegistry(writer, reader, AT, BASE_SEPOLIA.usdc.address);
  const epoch = await epochOf(reader, AT, principal.address);
  const root = await createMandate(principal, AT, { ...WISHES, delegate: main.address, token: BASE_SEPOLIA.usdc.address, payees: [receiver], epoch });
  const sub = await delegateMandate(main, AT, root, { delegate: helper.address, limit: SUB_LIMIT, paymentLimit: WISHES.paymentLimit });
  // The relayer is told too: its ledger then counts the mandates by itself.
  for (const [account, lineage] of [[main, root], [helper, sub]] as const) {
    const client = new GuardClient({ url: guard.url, account, mandate: lineage, chainId: AT.chainId, registry: AT.registry });
    await registerWithRelayer({ relayerUrl, account, lineage, bindings: [await client.binding()] });
  }
  const agentOf = (account: typeof main, lineage: Lineage) => createAgent({ account, rpcUrl, chainId: AT.chainId, deposit: { calls: DEPOSIT_CALLS }, mandate: { lineage, guard: guard.url, registry: AT.registry } });
  const [agent, subAgent] = [agentOf(main, root), agentOf(helper, sub)];
  const shown = ({ fetch }: PayingAgent): Agent => ({ name: "sdk", address: principal.address, fetch, inFlight: IN_FLIGHT });
  return { root, sub, agents: [shown(agent), shown(subAgent)], subAgent };
}

export type Refused = { rule: string; reason: string; spentAtomic: bigint; audit: { seq: number; hash: Hex } };

/** The sub-agent tries to pay somebody whom the mandate does not name. @throws when that is not refused. */
export async function tryForbidden({ subAgent }: Household, world: World): Promise<Refused> {
  const before = await subAgent.spent();
  try {
    await subAgent.fetch(world.forbiddenUrl, { method: "POST", body: "pay somebody else" });
  } catch (error) {
    if (!(error instanceof TallystickError)) throw error;
    const { rule, reason, proof } = error.extra as { rule?: string; reason?: string; proof?: { audit?: { seq: number; hash: Hex } } };
    if (rule === undefined || proof?.audit === undefined) throw error;
    return { rule, reason: reason ?? error.message, spentAtomic: (await subAgent.spent()) - before, audit: proof.audit };
  }
  throw new Error(`a payment to somebody whom the mandate does not name went through: ${world.forbiddenUrl}`);
}

/** The mandate's money as chain, ledger and guard know it. */
export type MandateBooks = {
  mandateId: Hex;
  limitAtomic: bigint;
  /** Charged by the seller, by its ledger. */
  chargedAtomic: bigint;
  /** Claimed from its channels, by the contract. */
  claimedAtomic: bigint;
  /** Left the principal, by the registry: deposits. */
  depositedAtomic: bigint;
  /** Signed away, by the guard's journal. */
  signedAtomic: bigint;
  /** By the guard's journal. */
  refused: number;
  /** The most by which any of them is above any limit. */
  overspentAtomic: bigint;
  refusal: Refused;
};

export async function readMandateBooks(world: World, { root, sub }: Household, refusal: Refused, db: Db): Promise<MandateBooks> {
  const reader = openReader(world.rpcUrl);
  const ids = idsOf(mandateRegistryDomain(AT.chainId, AT.registry), sub);
  const { states } = await readLineage(reader, AT.registry, sub, ids);
  const journal = await readGuard(world.guard.journal);
  if (journal.rows.get(refusal.audit.seq) !== refusal.audit.hash) throw new Error(`the refusal is not row ${refusal.audit.seq} of the guard's journal`);
  // Each channel counts for the mandate whose guard key it has, and for those above.
  const levels = await Promise.all(ids.map(async (id, level) => {
    const channels = journal.channels.filter(({ mandateId }) => level === ids.length - 1 || mandateId === id);
    const [charged, claimed] = await Promise.all([readChargedBy(db, channels.map(({ channelId }) => channelId)), claimedFrom(world.rpcUrl, channels.map(({ channelId }) => channelId))]);
    return { limit: sub[level]!.mandate.limit, charged, claimed, deposited: states[level]!.spent, signed: sum(channels.map(({ highest }) => highest)) };
  }));
  const total = levels.at(-1)!;
  const over = levels.flatMap(({ limit, charged, claimed, deposited, signed }) => [charged, claimed, deposited, signed].map((spent) => (spent > limit ? spent - limit : 0n)));
  return {
    mandateId: ids.at(-1)!, limitAtomic: root[0].mandate.limit, chargedAtomic: total.charged, claimedAtomic: total.claimed, depositedAtomic: total.deposited, signedAtomic: total.signed,
    refused: journal.refused, overspentAtomic: over.reduce((most, amount) => (amount > most ? amount : most)), refusal,
  };
}

type GuardBooks = { channels: { mandateId: Hex; channelId: Hex; highest: bigint }[]; refused: number; rows: Map<number, Hex> };

/** The guard's journal, its hash chain checked. */
async function readGuard(path: string): Promise<GuardBooks> {
  const { entries } = readJournal(await readFile(path));
  const channels = new Map<Hex, GuardBooks["channels"][number]>();
  for (const { body } of entries) if (body.kind === "signed") channels.set(body.channelId, { mandateId: body.mandateId, channelId: body.channelId, highest: BigInt(body.highest) });
  return { channels: [...channels.values()], refused: entries.filter(({ body }) => body.kind === "refused").length, rows: new Map(entries.map(({ seq, hash }) => [seq, hash])) };
}

async function claimedFrom(rpcUrl: string, channelIds: Hex[]): Promise<bigint> {
  const client = createPublicClient({ transport: http(rpcUrl) });
  const channels = await Promise.all(channelIds.map((id) => client.readContract({ address: SESSION_CHANNELS, abi: sessionChannelsAbi, functionName: "channels", args: [id] })));
  return sum(channels.map(([, totalClaimed]) => totalClaimed));
}
