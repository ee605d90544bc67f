// A session world with a MandateRegistry: mandates, sub-mandates and their signatures. Everything is deterministic.
import type { Contract } from "ethers";
import { zeroHash, type Address, type Hex } from "viem";
import { mandateDepositData, mandateDepositDigest, mandateSpendDigest, spendOrder, type SignedSpendOrder, type SpendOrder } from "../../sdk/src/mandate-messages.ts";
import { mandateIdOf, mandateRegistryDomain, type Mandate } from "../../sdk/src/mandate.ts";
import { actor, CHAIN_ID, createSessionWorld, DEPOSIT_ATOMIC, send, signDigest, signerFor, VALID_BEFORE_S, type Actor, type Channel, type SessionWorld } from "./session-world.ts";

export const PRINCIPAL = actor("principal");
export const AGENT = actor("agent");
export const SUB_AGENT = actor("sub-agent");
export const PAYEE = actor("payee");
export const STRANGER = actor("stranger");

export type MandateWorld = Awaited<ReturnType<typeof createMandateWorld>>;

/** Deploys everything; the principal has test USDC and lets the registry take it. */
export async function createMandateWorld() {
  const world = await createSessionWorld();
  await send(world.usdc, "mint", PRINCIPAL.address, 100n * DEPOSIT_ATOMIC);
  return { ...world, ...(await deployRegistry(world, world.channelsAddress)) };
}

/** A registry that funds our channel contract and `publishedChannels`. */
export async function deployRegistry(world: SessionWorld, publishedChannels: Address) {
  const registry = await world.ethers.deployContract("MandateRegistry", [world.channelsAddress, publishedChannels]);
  const registryAddress = (await registry.getAddress()) as Address;
  await send(world.usdc.connect(await signerFor(world, PRINCIPAL.address)) as Contract, "approve", registryAddress, 2n ** 256n - 1n);
  return { registry, registryAddress, registryDomain: mandateRegistryDomain(CHAIN_ID, registryAddress) };
}

/** The registry as that actor sees it. */
export async function registryAs(world: MandateWorld, who: Actor): Promise<Contract> {
  return world.registry.connect(await signerFor(world, who.address)) as Contract;
}

/** A mandate from the principal to the agent: a dollar in all, valid always, any payee; terms may be overridden. */
export function mandateOf(world: MandateWorld, terms: Partial<Mandate> = {}): Mandate {
  return {
    principal: PRINCIPAL.address, delegate: AGENT.address, token: world.usdcAddress,
    limit: 1_000_000n, periodLimit: 0n, paymentLimit: 1_000_000n, period: 0,
    validAfter: 0, validUntil: Number(VALID_BEFORE_S), epoch: 0,
    payeesRoot: zeroHash, capability: zeroHash, parent: zeroHash, terms: zeroHash, salt: zeroHash, ...terms,
  };
}

/** A mandate below `parent` with its terms, but for those overridden. */
export function subMandateOf(world: MandateWorld, parent: Mandate, terms: Partial<Mandate> = {}): Mandate {
  return { ...parent, parent: idOf(world, parent), ...terms };
}

export function idOf(world: MandateWorld, mandate: Mandate): Hex {
  return mandateIdOf(world.registryDomain, mandate);
}

/** The grantor's approval of a mandate. */
export function signMandate(world: MandateWorld, grantor: Actor, mandate: Mandate): Promise<Hex> {
  return signDigest(grantor.key, idOf(world, mandate));
}

/** The payment with its delegate's signature. */
export async function signSpend(world: MandateWorld, delegate: Actor, order: SpendOrder, nonce = 0n, deadline = VALID_BEFORE_S): Promise<SignedSpendOrder> {
  return { order, nonce, deadline, signature: await signDigest(delegate.key, mandateSpendDigest(world.registryDomain, { order, nonce, deadline })) };
}

/** A payment that its sender makes as the delegate. */
export function unsigned(order: SpendOrder): SignedSpendOrder {
  return { order, nonce: 0n, deadline: 0n, signature: "0x" };
}

/** `collectorData` of a deposit under the mandates of `lineage`, signed by the delegate of the first. */
export async function depositData(
  world: MandateWorld,
  delegate: Actor,
  channel: Channel,
  order: Pick<SpendOrder, "lineage" | "amount"> & Partial<SpendOrder>,
  nonce = 0n,
): Promise<Hex> {
  const row = { order: spendOrder({ payee: channel.config.receiver, ...order }), nonce, deadline: VALID_BEFORE_S };
  return mandateDepositData(channel.config, { ...row, signature: await signDigest(delegate.key, mandateDepositDigest(world.registryDomain, channel.id, row)) });
}
