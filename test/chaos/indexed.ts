// The real indexer's word on what all rounds left: its tables, a replay of the raw logs and the contract's getters agree.
import { reconcile } from "../../indexer/reconcile/reconcile.ts";
import { rpc } from "../../scripts/local/chain.ts";
import { startIndexer } from "../../scripts/local/indexer.ts";
import { SESSION_CHANNELS } from "../../sdk/src/constants.ts";
import { channelRows } from "./ledger.ts";
import type { World } from "./world.ts";

const READY_MS = 300_000;

/** @returns what disagrees, in words. */
export async function checkIndexed(world: World): Promise<string[]> {
  const databaseUrl = await world.databaseOf("indexer");
  await rpc(world.chainUrl, "evm_mine");
  const indexer = await startIndexer({ rpcUrl: world.chainUrl, databaseUrl, logLevel: "error" });
  try {
    await indexer.waitUntilReady(READY_MS);
    await indexer.waitForBlock(await world.client.getBlockNumber(), READY_MS);
    const { differences, totals } = await reconcile({ rpcUrl: world.chainUrl, graphqlUrl: indexer.graphqlUrl, address: SESSION_CHANNELS, fromBlock: 0n });
    const charged = (await channelRows(world.db)).reduce((sum, channel) => sum + channel.charged, 0n);
    const claimed = totals.reduce((sum, token) => sum + token.claimed, 0n);
    return [...differences.map(({ what, chain, indexed }) => `${what}: the chain says ${chain}, the index ${indexed}`), ...(claimed === charged ? [] : [`the ledger charged ${charged}, the index says ${claimed} was claimed`])];
  } finally {
    await indexer.stop();
  }
}
