// A session world with a BazaarRegistry and the ERC-8004 registries it composes with: services, payments and ratings.
import type { Contract } from "ethers";
import { keccak256, numberToHex, toHex, zeroAddress, zeroHash, type Address, type Hex } from "viem";
import { agentKey, bazaarRegistryDomain, bitmapOf, capabilityTag, SERVICE_CATEGORIES, SERVICE_SCHEMES, serviceIdOf, termsRefOf, type ServiceKey, type ServiceTerms } from "../../sdk/src/bazaar.ts";
import { rateServiceDigest, type Rating } from "../../sdk/src/bazaar-messages.ts";
import { actor, CHAIN_ID, createSessionWorld, send, signDigest, signerFor, VALID_BEFORE_S, type Actor, type Channel } from "./session-world.ts";

export const PROVIDER = actor("provider");
export const AGENT_OWNER = actor("agent owner");
export const PAY_TO = actor("payee");
export const FACILITATOR_BOND_ATOMIC = 100_000_000n;

export type BazaarWorld = Awaited<ReturnType<typeof createBazaarWorld>>;

/** Deploys everything; agent 0 is AGENT_OWNER's. */
export async function createBazaarWorld(curator: Address = zeroAddress) {
  const world = await createSessionWorld();
  const identities = await world.ethers.deployContract("IdentityRegistry");
  const reputation = await world.ethers.deployContract("ReputationRegistry", [await identities.getAddress()]);
  const bazaar = await world.ethers.deployContract("BazaarRegistry", [
    await identities.getAddress(), await reputation.getAddress(), world.channelsAddress, world.channelsAddress, zeroAddress, curator, world.usdcAddress, FACILITATOR_BOND_ATOMIC,
  ]);
  await send(identities.connect(await signerFor(world, AGENT_OWNER.address)) as Contract, "register()");
  const bazaarAddress = (await bazaar.getAddress()) as Address;
  return { ...world, identities, reputation, bazaar, bazaarAddress, bazaarDomain: bazaarRegistryDomain(CHAIN_ID, bazaarAddress) };
}

export async function bazaarAs(world: BazaarWorld, who: Actor): Promise<Contract> {
  return world.bazaar.connect(await signerFor(world, who.address)) as Contract;
}

export const BY_SENDER = { deadline: 0n, signature: "0x" } as const;

export function providerKey(salt: bigint): ServiceKey {
  return { agent: 0n, owner: PROVIDER.address, salt: numberToHex(salt, { size: 32 }) };
}

export function identityKey(salt: bigint): ServiceKey {
  return agentKey(0n, numberToHex(salt, { size: 32 }));
}

/** A search API at a tenth of a cent a call; terms may be overridden. */
export function termsOf(world: BazaarWorld, offer: Partial<ServiceTerms["offer"]> = {}): ServiceTerms {
  return {
    payTo: PAY_TO.address,
    token: world.usdcAddress,
    offer: {
      capability: capabilityTag("web.search"), categories: bitmapOf(SERVICE_CATEGORIES, ["search"]), price: 1_000n,
      schemes: Number(bitmapOf(SERVICE_SCHEMES, ["exact", "batch-settlement"])), visibility: 0,
      contentHash: keccak256(toHex("metadata")), uri: "https://provider.example/metadata.json", ...offer,
    },
  };
}

export function opinionOf(score: number, terms: { details?: Hex; forward?: boolean } = {}) {
  return { score, details: zeroHash, forward: false, deadline: 0n, signature: "0x" as Hex, ...terms };
}

/** What `rateChannel` takes, by the payer itself. */
export function ratingArgs(world: BazaarWorld, key: ServiceKey, channel: Channel, claimed: bigint, opinion = opinionOf(90)) {
  return [key, termsRefOf(termsOf(world)).offerHash, { channels: world.channelsAddress, config: channel.config, claimed }, opinion] as const;
}

/** The same with the payer's signature, for anyone to send. */
export async function signedRatingArgs(world: BazaarWorld, payer: Actor, key: ServiceKey, channel: Channel, claimed: bigint) {
  const [, offerHash, payment, opinion] = ratingArgs(world, key, channel, claimed);
  const rating: Rating = { serviceId: serviceIdOf(world.bazaarDomain, key), source: channel.id, claimed, ...opinion, deadline: VALID_BEFORE_S };
  const signature = await signDigest(payer.key, rateServiceDigest(world.bazaarDomain, rating));
  return [key, offerHash, payment, { ...opinion, deadline: VALID_BEFORE_S, signature }] as const;
}
