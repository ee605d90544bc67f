// The main job's bazaar: two providers list the same kind of work at different prices and promises, an agent finds them, bargains with both, buys
// from one of them within a session, and rates it once its payments are claimed. Everybody signs; the relayer sends and pays the gas.
import { setTimeout as sleep } from "node:timers/promises";
import { createPublicClient, formatUnits, http, type LocalAccount } from "viem";
import { createDiscoveryClient } from "../../sdk/src/bazaar/discover.ts";
import { createListingClient, type Agent as ListedAgent } from "../../sdk/src/bazaar/listing.ts";
import type { Metadata } from "../../sdk/src/bazaar/metadata.ts";
import { rateService } from "../../sdk/src/bazaar/rate.ts";
import { BASE_SEPOLIA, LOCAL_BAZAAR_REGISTRY, SESSION_CHANNELS } from "../../sdk/src/constants.ts";
import { TallystickError } from "../../sdk/src/errors.ts";
import { createA2A, type A2AResult } from "../../sdk/src/negotiation/a2a.ts";
import { NegotiationClient } from "../../sdk/src/negotiation/client.ts";
import { negotiationDomain, type MessageSigner } from "../../sdk/src/negotiation/messages.ts";
import { AUTHORIZER_INDEX, localAccount, SELLER_INDEXES, SHOPPER_INDEX } from "./accounts.ts";
import { mintUSDC } from "./contracts.ts";
import { sum } from "./verdict.ts";
import type { World } from "./world.ts";

export type BazaarResult = {
  /** Listed on chain and found. */
  services: number;
  /** Calls that were paid within a negotiated session. */
  negotiated: number;
  /** Of the listed price, by negotiating. */
  savedPercent: number;
  /** Calls that cost more than was agreed, by their receipts. */
  chargesAboveAgreed: number;
  /** What became of the agent's rating of whom it paid. */
  rating: string;
};

const CAPABILITY = "text.analysis";
const CALLS = 20;
const MOST_A_CALL = "0.002";
const FUNDS_ATOMIC = 1_000_000n;
const TIMEOUT_MS = 60_000;
const POLL_MS = 250;
const DAY_S = 86_400;

type Stall = { trade: string; description: string; listPrice: bigint; floorPrice: bigint; maxLatencyMs: number };

const STALLS: readonly Stall[] = [
  { trade: "quick", description: "Keywords of a text, within ten seconds", listPrice: 1_000n, floorPrice: 700n, maxLatencyMs: 10_000 },
  { trade: "patient", description: "Keywords of a text, when there is time", listPrice: 800n, floorPrice: 500n, maxLatencyMs: 60_000 },
];
/** Share of a call's price that a provider gives back when it is late, and when it was away. */
const REFUND_POLICY = { latencyCreditBps: 5_000, failureCreditBps: 10_000 };

export async function runBazaar(world: World, signal: AbortSignal): Promise<BazaarResult> {
  // On a chain that others used before us (RPC_URL) the same providers have listed before: every run opens stalls of its own.
  const block = await createPublicClient({ transport: http(world.rpcUrl) }).getBlockNumber();
  const listed = await Promise.all(STALLS.map((stall, index) => openStall(world, `analysis-${stall.trade}-${block}`, stall, localAccount(SELLER_INDEXES[index]!))));
  const shopper = localAccount(SHOPPER_INDEX);
  await mintUSDC(world.rpcUrl, shopper.address, FUNDS_ATOMIC);
  const found = await findAll(world, listed, signal);
  const bought = await buy(world, shopper, signal);
  const listPrices = new Map(listed.map(({ name, priceAtomic }) => [name, BigInt(priceAtomic)]));
  const asked = sum(bought.map(({ service }) => listPrices.get(service)!));
  const paid = sum(bought.map(({ receipt }) => BigInt(receipt.payload.amount)));
  return {
    services: found, negotiated: bought.length, savedPercent: Number(((asked - paid) * 10_000n) / asked) / 100,
    chargesAboveAgreed: bought.filter(({ receipt, offer }) => BigInt(receipt.payload.amount) > offer.pricePerRequest).length,
    rating: await rate(world, shopper, listed, bought[0]!, signal),
  };
}

/** Listed on chain, with a price policy by which the relayer answers for a provider that is away. */
async function openStall({ relayerUrl, providerUrl }: World, name: string, { description, listPrice, floorPrice, maxLatencyMs }: Stall, account: LocalAccount): Promise<ListedAgent> {
  const token = BASE_SEPOLIA.usdc.address;
  const sla = { maxLatencyMs, minUptimePercent: 90 };
  const metadata: Metadata = {
    name: description, description, version: "1.0.0", capability: CAPABILITY, categories: ["data"], pricing: { model: "per-use", price: usdcOf(listPrice), unit: "call", token }, sla, refundPolicy: REFUND_POLICY,
    endpoints: [{ method: "GET", path: "/analyze", description: "?text= is the text", sampleOutput: { words: 2, keywords: [] } }], schemes: ["batch-settlement", "exact"],
  };
  const { agent } = await createListingClient({ relayerUrl, account }).list({ name, metadata, origin: providerUrl });
  const domain = negotiationDomain(BASE_SEPOLIA.chainId, SESSION_CHANNELS);
  await new NegotiationClient({ relayerUrl, account: account as unknown as MessageSigner, domain }).publishPolicy({
    service: name, serviceId: agent.id, capability: CAPABILITY, provider: account.address, operator: localAccount(AUTHORIZER_INDEX).address, payTo: account.address, token, listPrice, floorPrice, tiers: [], sla,
    refundPolicy: REFUND_POLICY, offerTtlS: 300, sessionTtlS: 3_600, maxCalls: 10_000, version: 1, expiresAt: Math.floor(Date.now() / 1_000) + DAY_S,
  });
  return agent;
}

const usdcOf = (atomic: bigint): string => formatUnits(atomic, BASE_SEPOLIA.usdc.decimals);

/** @returns how many of them the relayer's search knows: it follows the indexer, which follows the chain. */
async function findAll({ relayerUrl }: World, listed: readonly ListedAgent[], signal: AbortSignal): Promise<number> {
  const discovery = createDiscoveryClient({ relayerUrl });
  const wanted = new Set(listed.map(({ id }) => id));
  return until(signal, "both providers are found", async () => {
    const { agents } = await discovery.discover({ capability: CAPABILITY });
    const found = agents.filter(({ serviceId }) => wanted.has(serviceId)).length;
    return found === wanted.size ? found : undefined;
  });
}

/** As an agent does it: what it needs, and the most that a call may cost. */
async function buy({ relayerUrl, rpcUrl }: World, account: LocalAccount, signal: AbortSignal): Promise<A2AResult[]> {
  const a2a = createA2A({ relayerUrl, rpcUrl, account, calls: CALLS });
  try {
    const bought: A2AResult[] = [];
    for (let call = 1; call <= CALLS; call++) {
      signal.throwIfAborted();
      bought.push(await a2a.call({ capability: CAPABILITY, path: `/analyze?text=${encodeURIComponent(`Receipt ${call} is settled with others of its kind in one transaction.`)}`, maxCost: MOST_A_CALL }));
    }
    return bought;
  } finally {
    await a2a.close();
  }
}

/** A rating needs a payment that the chain has seen, so it waits for the claim. */
async function rate({ relayerUrl }: World, account: LocalAccount, listed: readonly ListedAgent[], { service, receipt }: A2AResult, signal: AbortSignal): Promise<string> {
  const { id } = listed.find(({ name }) => name === service)!;
  const order = { relayerUrl, account, chainId: BASE_SEPOLIA.chainId, registry: LOCAL_BAZAAR_REGISTRY, service: id, paidBy: { channelId: receipt.payload.channelId }, score: 95 };
  const { transaction } = await until(signal, "the rating's payment is claimed", () => rateService(order).catch((error: unknown) => {
    if (error instanceof TallystickError && error.retry !== "never") return undefined;
    throw error;
  }));
  return transaction.status;
}

async function until<T>(signal: AbortSignal, what: string, look: () => Promise<T | undefined>): Promise<T> {
  for (const deadline = performance.now() + TIMEOUT_MS; ; await sleep(POLL_MS, undefined, { signal })) {
    const found = await look();
    if (found !== undefined) return found;
    if (performance.now() > deadline) throw new Error(`after ${TIMEOUT_MS / 1_000} s it is not so that ${what}`);
  }
}
