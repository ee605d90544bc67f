// The MandateRegistry as an agent, its guard and its principal read it. Amounts are atomic units, times Unix seconds.
import type { Address, Hex } from "viem";
import { mandateRegistryAbi } from "./abi/mandate-registry.ts";
import type { ChainReader } from "./agent/chain.ts";
import type { Lineage } from "./lineage.ts";

export type MandateOnChain = { spent: bigint; periodSpent: bigint; periodIndex: number; approved: boolean; revoked: boolean };

export type LineageOnChain = {
  /** In the order of the lineage. */
  states: MandateOnChain[];
  epoch: number;
  /** The chain's clock. */
  nowS: number;
};

export async function readLineage(reader: ChainReader, registry: Address, lineage: Lineage, ids: readonly Hex[]): Promise<LineageOnChain> {
  const at = { address: registry, abi: mandateRegistryAbi } as const;
  const [block, epoch, ...states] = await Promise.all([
    reader.getBlock(),
    reader.readContract({ ...at, functionName: "epochs", args: [lineage[0].mandate.principal] }),
    ...ids.map((id) => reader.readContract({ ...at, functionName: "mandates", args: [id] })),
  ]);
  return { states, epoch, nowS: Number(block.timestamp) };
}

/** A nonce that no deposit or payment of this mandate has used. Consecutive ones cost least, so the first free one is searched. */
export async function freeNonce(reader: ChainReader, registry: Address, mandateId: Hex): Promise<bigint> {
  const used = (nonce: bigint) => reader.readContract({ address: registry, abi: mandateRegistryAbi, functionName: "isNonceUsed", args: [mandateId, nonce] });
  let [low, high] = [-1n, 0n]; // low is used, high may be free
  while (await used(high)) [low, high] = [high, high * 2n + 1n];
  while (high - low > 1n) {
    const middle = (low + high) / 2n;
    if (await used(middle)) low = middle;
    else high = middle;
  }
  return high;
}
