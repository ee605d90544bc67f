// Channels that this process has seen a row of. A row is never deleted, so what is known stays true; forgetting costs one query.
import type { Hex } from "viem";

export type KnownChannels = { has(channelId: Hex): boolean; add(channelId: Hex): void; delete(channelId: Hex): void };

const MOST = 100_000;

export function createKnownChannels(): KnownChannels {
  const known = new Set<Hex>();
  return {
    has: (channelId) => known.has(channelId),
    add(channelId) {
      // Sets keep the order of insertion: the oldest goes first.
      if (known.size >= MOST) known.delete(known.values().next().value!);
      known.add(channelId);
    },
    delete: (channelId) => void known.delete(channelId),
  };
}
