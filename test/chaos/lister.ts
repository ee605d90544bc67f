// An owner of a service: lists it, and asks for another price again and again, through relayers that are killed meanwhile. It has no ether.
import { setTimeout as sleep } from "node:timers/promises";
import { keccak256, type Hex } from "viem";
import { createListingClient, type ListingClient } from "../../sdk/src/bazaar/listing.ts";
import type { Metadata } from "../../sdk/src/bazaar/metadata.ts";
import { BASE_SEPOLIA, LOCAL_BAZAAR_REGISTRY } from "../../sdk/src/constants.ts";
import { TallystickError } from "../../sdk/src/errors.ts";
import type { Actor } from "./actors.ts";
import { patientFetch, PUBLIC_URL, TimeIsOver } from "./api.ts";
import type { Buyer } from "./buyer.ts";

/** The first price, thousandths of a cent; each further one is one higher, so that none is asked for twice. */
const FIRST_PRICE = 100;
const RETRY_MS = 200;
const END_MOST_MS = 60_000;

const metadataAt = (name: string, price: number): Metadata => ({
  name, description: "Listed while relayers are killed", version: "1.0.0", capability: "chaos.listed", categories: ["data"], pricing: { model: "per-use", price: `0.${String(price).padStart(5, "0")}`, unit: "call", token: BASE_SEPOLIA.usdc.address },
  sla: { maxLatencyMs: 1_000, minUptimePercent: 99 }, endpoints: [{ method: "GET", path: "/ok/0" }], schemes: ["batch-settlement"],
});

export const lister: Actor = async (buyer) => {
  const name = `listed-${keccak256(Buffer.from(`${buyer.address} service`)).slice(2, 14)}`;
  const clientFor = (isOver: () => boolean) => createListingClient({ relayerUrl: PUBLIC_URL, account: buyer.account, registry: LOCAL_BAZAAR_REGISTRY, fetch: patientFetch(buyer, isOver) });
  const asked = { prices: [] as number[], serviceId: undefined as Hex | undefined };
  buyer.stage.books.listings.set(buyer.address, asked);
  const whileOn = clientFor(() => buyer.over);
  try {
    for (let price = FIRST_PRICE; !buyer.over; price++) {
      asked.prices.push(price);
      asked.serviceId = await listed(buyer, whileOn, name, price, () => buyer.over);
      await sleep(buyer.draw.int(0, buyer.plan.pauseMs));
    }
  } catch (error) {
    if (!(error instanceof TimeIsOver)) throw error;
  }
  return [async () => {
    const deadline = performance.now() + END_MOST_MS;
    const isOver = () => performance.now() > deadline;
    asked.serviceId = await listed(buyer, clientFor(isOver), name, asked.prices.at(-1)!, isOver).catch(() => undefined);
    if (asked.serviceId === undefined) buyer.stage.books.violate("a listing never happens", `${name} of ${buyer.address} is not listed as was asked after ${END_MOST_MS / 1_000} s with everything healthy`);
  }];
};

/** Asks until the chain has it. @returns its id. */
async function listed(buyer: Buyer, client: ListingClient, name: string, price: number, isOver: () => boolean): Promise<Hex> {
  for (; !isOver(); await sleep(RETRY_MS)) {
    const { agent } = await client.list({ name, metadata: metadataAt(name, price), origin: buyer.stage.world.provider.origin }).catch((error: unknown): { agent: undefined } => {
      // Under way, or the chain went back: asked for again.
      if (error instanceof TallystickError) return { agent: undefined };
      throw error;
    });
    if (agent?.status === "listed" && agent.current && agent.priceAtomic === String(price * 10)) return agent.id;
  }
  throw new TimeIsOver();
}
