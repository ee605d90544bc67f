// Reads what the chain says of channels: everything of one channel, and of all channels asked for, at one block. What lowers a
// channel counts from the head on; what raises it counts when it is deep enough (logic.ts), so balances are read at several depths.
import { zeroAddress, type Hex } from "viem";
import { setTimeout as sleep } from "node:timers/promises";
import { sessionChannelsAbi } from "../../../../sdk/src/abi/session-channels.ts";
import { agreed, chainUnavailable, headOf } from "../../chain/client.ts";
import type { Deps } from "../../deps.ts";
import { countable, demandsOn, depositSteps, depthsOf, keptSince, type Ladder, type Rung } from "./logic.ts";
import type { ChainView } from "./store.ts";

export type ViewDeps = Pick<Deps, "chain" | "config">;
type State = Omit<ChainView, "ladder">;

/** Channels in one eth_call: 600 reads, some 2M gas, below what nodes allow. */
const CHANNELS_A_CALL = 200;
/** How long a node may lag behind the block that another one showed us. */
const CATCH_UP_MS = 10_000;

/**
 * Views of the channels as of the head. A channel that the chain does not know reads as zeros.
 * @throws TallystickError `chain_unavailable` (503).
 */
export async function readView(deps: ViewDeps, channelIds: readonly Hex[]): Promise<Map<Hex, ChainView>> {
  return readViewAt(deps, channelIds, await headOf(deps.chain));
}

/** As readView, at a block not below `block`: waits for a node that is behind the one that told us of it. */
export async function readViewFrom(deps: ViewDeps, channelIds: readonly Hex[], block: bigint): Promise<Map<Hex, ChainView>> {
  const deadline = performance.now() + CATCH_UP_MS;
  for (;;) {
    const head = await headOf(deps.chain);
    if (head >= block) return readViewAt(deps, channelIds, head);
    if (performance.now() > deadline) throw chainUnavailable(new Error(`the node is at ${head}, below ${block}`));
    await sleep(Math.min(deps.config.chainPollMs, 250));
  }
}

/** @param head the newest block; depths are counted from it. */
export async function readViewAt(deps: ViewDeps, channelIds: readonly Hex[], head: bigint): Promise<Map<Hex, ChainView>> {
  const steps = depositSteps(deps.config.depositConfirmations, deps.config.confirmations);
  const depths = depthsOf(steps);
  const deepest = depths.at(-1)!;
  const now = await readStates(deps, channelIds, head);
  if (deepest === 1) return now;
  const deep = await readPast(deps, channelIds, at(head, deepest));
  // Only where something came in lately, the depths between are asked for too.
  const young = channelIds.filter((id) => keptSince(deep.get(id)!, now.get(id)!) < now.get(id)!.balance);
  const between = new Map<number, Map<Hex, State>>();
  for (const depth of depths.slice(1, -1)) if (young.length > 0) between.set(depth, await readPast(deps, young, at(head, depth)));

  const views = new Map<Hex, ChainView>(now);
  for (const id of young) {
    const rungs: Rung[] = depths.map((depth) => ({ depth, balance: keptSince(depth === 1 ? now.get(id)! : (between.get(depth) ?? deep).get(id)!, now.get(id)!) }));
    views.set(id, withLadder(now.get(id)!, { rungs, steps, bridged: deps.config.bridgedPayers }));
  }
  return views;
}

/** Alone, the channel's balance is what would count if its payer had no other and nobody vouched for it. */
function withLadder(state: State, ladder: Ladder): ChainView {
  return { ...state, balance: countable(ladder.rungs, demandsOn(ladder, zeroAddress, [])).balance, ladder };
}

/** The block that is that deep; block 0 on a chain that is younger. */
function at(head: bigint, depth: number): bigint {
  const below = BigInt(depth - 1);
  return head > below ? head - below : 0n;
}

/** On a chain so young that the contracts did not stand at that block, nothing was in them. */
async function readPast(deps: ViewDeps, channelIds: readonly Hex[], blockNumber: bigint): Promise<Map<Hex, State>> {
  try {
    return await readStates(deps, channelIds, blockNumber);
  } catch (error) {
    if (await stood(deps, blockNumber)) throw error;
    return new Map(channelIds.map((id) => [id, { balance: 0n, totalClaimed: 0n, withdrawAmount: 0n, withdrawInitiatedAt: 0, refundNonce: 0n, syncedBlock: blockNumber }]));
  }
}

function stood({ chain, config }: ViewDeps, blockNumber: bigint): Promise<boolean> {
  return agreed(chain, async (client) => {
    const parts = [config.sessionChannels, client.chain?.contracts?.multicall3?.address].filter((address) => address !== undefined);
    const codes = await Promise.all(parts.map((address) => client.getCode({ address, blockNumber })));
    return codes.every((code) => code !== undefined && code !== "0x");
  });
}

async function readStates(deps: ViewDeps, channelIds: readonly Hex[], blockNumber: bigint): Promise<Map<Hex, State>> {
  const states = new Map<Hex, State>();
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
      states.set(channelId, { balance, totalClaimed, withdrawAmount, withdrawInitiatedAt, refundNonce, syncedBlock: blockNumber });
    });
  }
  return states;
}
