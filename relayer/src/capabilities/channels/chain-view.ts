// Reads what the chain says of channels: everything of one channel, and of all channels asked for, at one block.
import type { Hex } from "viem";
import { setTimeout as sleep } from "node:timers/promises";
import { sessionChannelsAbi } from "../../../../sdk/src/abi/session-channels.ts";
import { agreed, chainUnavailable, confirmedHead } from "../../chain/client.ts";
import type { Deps } from "../../deps.ts";
import type { ChainView } from "./store.ts";

export type ViewDeps = Pick<Deps, "chain" | "config">;

/** Channels in one eth_call: 600 reads, some 2M gas, below what nodes allow. */
const CHANNELS_A_CALL = 200;
/** How long a node may lag behind the block that another one showed us. */
const CATCH_UP_MS = 10_000;

/**
 * Views of the channels as of the newest block that is deep enough to count. A channel that the chain does not know reads
 * as zeros.
 * @throws TallystickError `chain_unavailable` (503).
 */
export async function readView(deps: ViewDeps, channelIds: readonly Hex[]): Promise<Map<Hex, ChainView>> {
  return readViewAt(deps, channelIds, await confirmedHead(deps.chain, deps.config.confirmations));
}

/** As readView, at a block not below `block`: waits for a node that is behind the one that told us of it. */
export async function readViewFrom(deps: ViewDeps, channelIds: readonly Hex[], block: bigint): Promise<Map<Hex, ChainView>> {
  const deadline = performance.now() + CATCH_UP_MS;
  for (;;) {
    const head = await confirmedHead(deps.chain, deps.config.confirmations);
    if (head >= block) return readViewAt(deps, channelIds, head);
    if (performance.now() > deadline) throw chainUnavailable(new Error(`the node is at ${head}, below ${block}`));
    await sleep(Math.min(deps.config.chainPollMs, 250));
  }
}

export async function readViewAt(deps: ViewDeps, channelIds: readonly Hex[], blockNumber: bigint): Promise<Map<Hex, ChainView>> {
  const views = new Map<Hex, ChainView>();
  for (let start = 0; start < channelIds.length; start += CHANNELS_A_CALL) {
    const page = channelIds.slice(start, start + CHANNELS_A_CALL);
    const contract = { address: deps.config.sessionChannels, abi: sessionChannelsAbi } as const;
    const answers = await agreed(deps.chain, (client) =>
      client.multicall({
        allowFailure: false,
        batchSize: 0, // one eth_call, whatever its size: a page is consistent
        blockNumber,
        contracts: page.flatMap((channelId) => [
          { ...contract, functionName: "channels", args: [channelId] } as const,
          { ...contract, functionName: "pendingWithdrawals", args: [channelId] } as const,
          { ...contract, functionName: "refundNonce", args: [channelId] } as const,
        ]),
      }),
    );
    page.forEach((channelId, index) => {
      const [balance, totalClaimed] = answers[3 * index] as readonly [bigint, bigint];
      const [withdrawAmount, withdrawInitiatedAt] = answers[3 * index + 1] as readonly [bigint, number];
      const refundNonce = answers[3 * index + 2] as bigint;
      views.set(channelId, { balance, totalClaimed, withdrawAmount, withdrawInitiatedAt, refundNonce, syncedBlock: blockNumber });
    });
  }
  return views;
}
