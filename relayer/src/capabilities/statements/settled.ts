// Follows what the contract pays to receivers, whoever sends the transaction, so that statements say what the chain says. Each pass reads
// the newest blocks again, and more of them after a reorganisation: what vanished there vanishes here.
import { parseEventLogs } from "viem";
import { sessionChannelsAbi } from "../../../../sdk/src/abi/session-channels.ts";
import { agreed, confirmedHead, readChain } from "../../chain/client.ts";
import type { Deps } from "../../deps.ts";
import { findCursor, saveCursor, type Cursor } from "../channels/cursor-store.ts";
import { firstBlock, replaceRange, type SettledEvent } from "./settled-store.ts";

type SettledDeps = Pick<Deps, "chain" | "config" | "db" | "reached">;

const CURSOR = "settled";
/** Blocks in one eth_getLogs; public nodes refuse more than a few thousand. */
const PAGE_BLOCKS = 2_000n;
/** A node may have been asked before it had indexed the logs of its newest blocks. */
const OVERLAP_BLOCKS = 4n;
const REORG_BLOCKS = 256n;

/** One pass, up to the newest block that counts. @throws TallystickError 503 `chain_unavailable`. */
export async function followSettled(deps: SettledDeps): Promise<void> {
  const head = await confirmedHead(deps.chain, deps.config.confirmations);
  const cursor = (await findCursor(deps.db, CURSOR)) ?? (await begin(deps, head));
  // A node that is behind, or a reorganisation on its way: the chain will be longer than it was.
  if (head < cursor.blockNumber) return;
  const gone = (await blockAt(deps, cursor.blockNumber)).blockHash !== cursor.blockHash;
  await readOn(deps, cursor, below(cursor.blockNumber, gone ? REORG_BLOCKS : OVERLAP_BLOCKS), head);
}

/** A new relayer begins at the head; one that worked before statements were kept, at its own first transaction. */
async function begin(deps: SettledDeps, head: bigint): Promise<Cursor> {
  const first = await firstBlock(deps.db);
  const cursor = await blockAt(deps, first === undefined || first > head ? head : first);
  await saveCursor(deps.db, CURSOR, cursor);
  return cursor;
}

async function readOn(deps: SettledDeps, cursor: Cursor, from: bigint, head: bigint): Promise<void> {
  let [at, start] = [cursor, from];
  while (start <= head) {
    const end = start + PAGE_BLOCKS - 1n < head ? start + PAGE_BLOCKS - 1n : head;
    // The hash first: if the chain changes while its logs are read, the next pass sees that.
    const to = await blockAt(deps, end);
    if (!(await replaceRange(deps.db, CURSOR, at, to, start, await settledIn(deps, start, end)))) return;
    deps.reached("cursor.saved");
    [at, start] = [to, end + 1n];
  }
}

async function settledIn(deps: SettledDeps, fromBlock: bigint, toBlock: bigint): Promise<SettledEvent[]> {
  const { chain, config } = deps;
  const logs = await readChain(() => chain.client.getLogs({ address: config.sessionChannels, fromBlock, toBlock }));
  const settled = parseEventLogs({ abi: sessionChannelsAbi, eventName: "Settled", logs });
  const times = new Map<bigint, Date>();
  for (const { blockNumber } of settled) if (!times.has(blockNumber)) times.set(blockNumber, (await blockAt(deps, blockNumber)).at);
  return settled.map(({ args, blockNumber, logIndex, transactionHash: txHash }) => ({ blockNumber, logIndex, txHash, receiver: args.receiver, token: args.token, amount: args.amount, at: times.get(blockNumber)! }));
}

async function blockAt({ chain }: SettledDeps, blockNumber: bigint): Promise<Cursor & { at: Date }> {
  return agreed(chain, async (client) => {
    const { hash: blockHash, timestamp } = await client.getBlock({ blockNumber });
    return { blockNumber, blockHash, at: new Date(Number(timestamp) * 1000) };
  });
}

const below = (block: bigint, blocks: bigint): bigint => (block > blocks ? block - blocks : 0n);
