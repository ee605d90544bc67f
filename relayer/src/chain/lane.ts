// What is done with signed bytes after they are committed: broadcast, look for the receipt, broadcast again. Every step may
// be repeated and may run in several processes at once: all versions of a transaction share a nonce, and the chain takes that once.
import { TransactionNotFoundError, TransactionReceiptNotFoundError, BlockNotFoundError, type Hex, type TransactionReceipt } from "viem";
import { EVENT } from "../telemetry/log.ts";
import { agreed, readChain } from "./client.ts";
import type { SubmitterDeps, TxOutcome } from "./submitter.ts";
import { markBroadcast, markDropped, markResolved, reopenBlock, resolvedBlocks, versionsOf, type ChainTx, type ResolvedBlock } from "./tx-store.ts";

export type Lane = SubmitterDeps & {
  address: `0x${string}`;
  /** When this process last broadcast a transaction (performance.now), to pace rebroadcasts. */
  sentAt: Map<bigint, number>;
  /** A nonce that the chain waits for and the lane knows nothing of, and in how many passes in a row that was seen. */
  gap: { nonce: number; passes: number };
};

/** A node that lost its pool gets the bytes again after this long. */
const REBROADCAST_MS = 3_000;
/** How long a spent nonce must go unexplained before its transaction counts as dropped: nodes behind one address differ. */
const DROP_DEPTH_BLOCKS = 32n;
/** Blocks asked for at a time while looking how deep a reorganisation went. */
const REORG_PAGE = 32;

/** Sends the bytes. A refusal or a timeout says nothing about the outcome, so it is only logged. */
export async function broadcast(lane: Lane, tx: ChainTx): Promise<void> {
  lane.sentAt.set(tx.txId, performance.now());
  const line = { txId: String(tx.txId), hash: tx.hash, nonce: tx.nonce, purpose: tx.purpose, paymentId: tx.paymentId };
  try {
    await lane.chain.client.sendRawTransaction({ serializedTransaction: tx.raw });
    lane.reached("tx.broadcast");
    await markBroadcast(lane.db, tx.txId);
    lane.log.info({ event: EVENT.txBroadcast, ...line });
  } catch (error) {
    lane.metrics.transactions.inc({ purpose: tx.purpose, result: "broadcast_unknown" });
    lane.log.warn({ event: EVENT.txBroadcast, ...line, outcome: "unknown", err: error });
  }
}

/** Looks for the receipt; records it at the configured depth, else sees to it that the node has the bytes. */
export async function resolve(lane: Lane, tx: ChainTx, head: bigint): Promise<TxOutcome> {
  const receipt = await anyReceipt(lane, tx);
  if (receipt === undefined) {
    if (await isDropped(lane, tx, head)) return { status: "dropped", hash: tx.hash };
    if (performance.now() - (lane.sentAt.get(tx.txId) ?? -Infinity) >= REBROADCAST_MS) await broadcast(lane, tx);
    return { status: "pending", hash: tx.hash };
  }
  if (head - receipt.blockNumber + 1n < BigInt(lane.config.confirmations)) return { status: "pending", hash: tx.hash };
  if (!(await isCorroborated(lane, receipt))) return { status: "pending", hash: tx.hash };
  return record(lane, tx, receipt);
}

/** One endpoint's word that a transaction was mined is not enough where there are several. */
async function isCorroborated(lane: Lane, { transactionHash, blockHash, status }: TransactionReceipt): Promise<boolean> {
  if (lane.chain.endpoints.length === 1) return true;
  try {
    const told = await agreed(lane.chain, async (client) => {
      const other = await client.getTransactionReceipt({ hash: transactionHash });
      return { blockHash: other.blockHash, status: other.status };
    });
    return told.blockHash === blockHash && told.status === status;
  } catch (error) {
    lane.log.warn({ event: EVENT.txResolved, hash: transactionHash, outcome: "endpoints_disagree", err: error });
    return false;
  }
}

async function record(lane: Lane, tx: ChainTx, receipt: TransactionReceipt): Promise<TxOutcome> {
  const state = receipt.status === "success" ? "confirmed" : "reverted";
  const { transactionHash: hash, blockNumber, blockHash, gasUsed, effectiveGasPrice: gasPriceWei } = receipt;
  if (await markResolved(lane.db, tx.txId, state, { hash, blockNumber, blockHash, gasUsed, gasPriceWei })) {
    lane.reached("tx.resolved");
    lane.sentAt.delete(tx.txId);
    lane.metrics.transactions.inc({ purpose: tx.purpose, result: state });
    lane.log.info({ event: EVENT.txResolved, txId: String(tx.txId), hash, purpose: tx.purpose, state, block: String(blockNumber), gasUsed: String(gasUsed), paymentId: tx.paymentId });
  }
  return { status: state, hash, receipt };
}

/** The receipt of whichever version was mined. */
async function anyReceipt(lane: Lane, tx: ChainTx): Promise<TransactionReceipt | undefined> {
  const newest = await receiptOf(lane, tx.hash);
  if (newest !== undefined) return newest;
  for (const { hash } of await versionsOf(lane.db, tx.txId)) {
    const receipt = hash === tx.hash ? undefined : await receiptOf(lane, hash);
    if (receipt !== undefined) return receipt;
  }
  return undefined;
}

async function receiptOf(lane: Lane, hash: Hex): Promise<TransactionReceipt | undefined> {
  try {
    return await lane.chain.client.getTransactionReceipt({ hash });
  } catch (error) {
    if (error instanceof TransactionReceiptNotFoundError || error instanceof TransactionNotFoundError) return undefined;
    throw error;
  }
}

/**
 * True when the nonce was spent long ago and our bytes have no receipt: somebody else signs with this key. Until then the
 * bytes are simply sent again, which costs nothing.
 */
async function isDropped(lane: Lane, tx: ChainTx, head: bigint): Promise<boolean> {
  if (head < DROP_DEPTH_BLOCKS) return false;
  const { client } = lane.chain;
  if ((await client.getTransactionCount({ address: lane.address })) <= tx.nonce) return false;
  const spent = await client.getTransactionCount({ address: lane.address, blockNumber: head - DROP_DEPTH_BLOCKS });
  if (spent <= tx.nonce) return false;
  // Asked once more: the receipt may have been behind a node that had not seen the block yet.
  if ((await anyReceipt(lane, tx)) !== undefined) return false;
  if (await markDropped(lane.db, tx.txId)) {
    lane.metrics.transactions.inc({ purpose: tx.purpose, result: "dropped" });
    lane.log.error({ event: EVENT.txResolved, txId: String(tx.txId), hash: tx.hash, purpose: tx.purpose, state: "dropped", paymentId: tx.paymentId });
  }
  return true;
}

/**
 * Reopens what was resolved in blocks that are gone. A block's hash vouches for all blocks below it, so the newest one is
 * enough while nothing happened. Without this a reorganisation would leave a hole in the nonce lane that stops every
 * later transaction.
 */
export async function reopenVanished(lane: Lane): Promise<void> {
  let below: bigint | undefined;
  for (let page = 1; ; page = REORG_PAGE) {
    const blocks = await resolvedBlocks(lane.db, lane.address, below, page);
    for (const block of blocks) {
      if (await stands(lane, block)) return;
      for (const tx of await reopenBlock(lane.db, lane.address, block)) {
        lane.metrics.transactions.inc({ purpose: tx.purpose, result: "reorged" });
        lane.log.warn({ event: EVENT.txResolved, txId: String(tx.txId), hash: tx.hash, purpose: tx.purpose, state: "reorged", paymentId: tx.paymentId });
      }
      below = block.blockNumber;
    }
    if (blocks.length < page) return;
  }
}

async function stands(lane: Lane, block: ResolvedBlock): Promise<boolean> {
  return readChain(async () => {
    try {
      const { hash } = await lane.chain.client.getBlock({ blockNumber: block.blockNumber });
      return hash === block.blockHash;
    } catch (error) {
      // No such block: the chain is shorter now, or this node is behind. Reopening is harmless in both cases.
      if (error instanceof BlockNotFoundError) return false;
      throw error;
    }
  });
}
