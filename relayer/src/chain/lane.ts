// One nonce lane, and what is done with signed bytes after they are committed: broadcast, look for the receipt, broadcast again.
// Every step may be repeated and may run in several processes at once: all versions of a transaction share a nonce, and the
// chain takes that once.
import { BaseError, HttpRequestError, TimeoutError, type Address, type TransactionReceipt } from "viem";
import { EVENT } from "../telemetry/log.ts";
import type { LaneState } from "./lane-choice.ts";
import type { Market } from "./market.ts";
import type { Pass } from "./pass.ts";
import type { SubmitterDeps, TxOutcome } from "./submitter.ts";
import type { Signer } from "./transaction-signer.ts";
import { markBroadcast, markDropped, markResolved, reopenBlock, resolvedBlocks, unresolvedTxs, versionsOf, type ChainTx } from "./tx-store.ts";

export type LaneDeps = Omit<SubmitterDeps, "signers"> & {
  market: Market;
  /** Called by whoever in this process sees a transaction resolved, so that those who wait for it need not ask the node. */
  onResolved: (txId: bigint, outcome: TxOutcome) => void;
};

export type Lane = LaneDeps & {
  address: Address;
  /** None in a lane that another configuration signs for: it is followed, but nothing new is signed in it. */
  signer: Signer | undefined;
  state: LaneState;
  /** Transactions that this process prepares for the lane and has not committed yet. */
  preparing: number;
  /** When this process last broadcast a transaction (performance.now), to pace rebroadcasts. */
  sentAt: Map<bigint, number>;
  /** A nonce that the chain waits for and the lane knows nothing of, and in how many passes in a row that was seen. */
  gap: { nonce: number; passes: number };
};

export function openLane(deps: LaneDeps, address: Address, signer?: Signer): Lane {
  return { ...deps, address, signer, state: "ok", preparing: 0, sentAt: new Map(), gap: { nonce: -1, passes: 0 } };
}

/** A node that lost its pool gets the bytes again after this long. */
const REBROADCAST_MS = 3_000;
/** After this long when it was refused, or nobody could be reached. */
const REFUSED_PAUSE_MS = 200;
/** Only so many from the first unmined one are sent again: pools keep few of a sender, and the rest follows as these are mined. */
const REBROADCAST_AHEAD = 16;
/** How long a spent nonce must go unexplained before its transaction counts as dropped: nodes behind one address differ. */
const DROP_DEPTH_BLOCKS = 32n;
/** Blocks asked for at a time while looking how deep a reorganisation went. */
const REORG_PAGE = 32;

/** For metric and log; a change is said once. */
export function enter(lane: Lane, state: LaneState, why: Record<string, string | number> = {}): void {
  if (lane.state === state) return;
  const line = { event: EVENT.laneState, signer: lane.address, state, was: lane.state, ...why };
  lane.state = state;
  if (state === "ok") lane.log.info(line);
  else lane.log.error(line, "a nonce lane is in trouble; others are used before it");
}

/**
 * Sends the bytes to every endpoint: one that takes them and tells nobody must not hold them up. A refusal or a timeout says
 * nothing about the outcome (it may have been accepted, or known already), so it is only logged.
 * @returns false when no endpoint could be reached at all.
 */
export async function broadcast(lane: Lane, tx: ChainTx): Promise<boolean> {
  lane.sentAt.set(tx.txId, performance.now());
  const line = { txId: String(tx.txId), hash: tx.hash, nonce: tx.nonce, purpose: tx.purpose, paymentId: tx.paymentId };
  const sent = await Promise.any(lane.chain.endpoints.map((client) => client.sendRawTransaction({ serializedTransaction: tx.raw }))).then(
    () => undefined,
    (error: AggregateError) => error.errors as unknown[],
  );
  if (sent === undefined) {
    lane.reached("tx.broadcast");
    await markBroadcast(lane.db, tx.txId);
    lane.log.info({ event: EVENT.txBroadcast, ...line });
    return true;
  }
  lane.sentAt.set(tx.txId, performance.now() - REBROADCAST_MS + REFUSED_PAUSE_MS);
  lane.market.forget(lane.address);
  lane.metrics.transactions.inc({ purpose: tx.purpose, result: "broadcast_unknown" });
  lane.log.warn({ event: EVENT.txBroadcast, ...line, outcome: "unknown", err: sent[0] });
  return !sent.every(isUnreachable);
}

const isUnreachable = (error: unknown): boolean =>
  error instanceof BaseError && error.walk((cause) => cause instanceof HttpRequestError || cause instanceof TimeoutError) !== null;

/** Sends again what holds the lane up: its first unmined ones, in their order, since some nodes refuse a nonce before its turn. */
export async function remind(lane: Lane, mined: number): Promise<void> {
  const first = await unresolvedTxs(lane.db, lane.address, REBROADCAST_AHEAD, mined);
  for (const tx of first.filter((candidate) => isQuiet(lane, candidate))) if (!(await broadcast(lane, tx))) return;
}

/** True when this process did not send it for a while, and no other has just done so. */
function isQuiet(lane: Lane, tx: ChainTx): boolean {
  const sentAt = lane.sentAt.get(tx.txId);
  return sentAt === undefined ? tx.state === "signed" || tx.ageMs >= REBROADCAST_MS : performance.now() - sentAt >= REBROADCAST_MS;
}

export type Look = { outcome: TxOutcome; /** Its nonce is spent, by it or by another. */ spent: boolean };

/** Looks for the receipt and records it at the configured depth. */
export async function resolve(lane: Lane, tx: ChainTx, pass: Pass): Promise<Look> {
  const pending = (spent: boolean): Look => ({ outcome: { status: "pending", hash: tx.hash }, spent });
  if (tx.nonce >= (await pass.minedCount(lane.address))) return pending(false);
  const receipt = await anyReceipt(lane, tx, pass);
  if (receipt === undefined) return (await isDropped(lane, tx, pass)) ? { outcome: { status: "dropped", hash: tx.hash }, spent: true } : pending(true);
  if ((await pass.head()) - receipt.blockNumber + 1n < BigInt(lane.config.confirmations)) return pending(true);
  return { outcome: await record(lane, tx, receipt), spent: true };
}

async function record(lane: Lane, tx: ChainTx, receipt: TransactionReceipt): Promise<TxOutcome> {
  const state = receipt.status === "success" ? "confirmed" : "reverted";
  const { transactionHash: hash, blockNumber, blockHash, gasUsed, effectiveGasPrice: gasPriceWei } = receipt;
  const outcome: TxOutcome = { status: state, hash, receipt };
  if (await markResolved(lane.db, tx.txId, state, { hash, blockNumber, blockHash, gasUsed, gasPriceWei })) {
    lane.reached("tx.resolved");
    lane.metrics.transactions.inc({ purpose: tx.purpose, result: state });
    lane.log.info({ event: EVENT.txResolved, txId: String(tx.txId), hash, purpose: tx.purpose, state, block: String(blockNumber), gasUsed: String(gasUsed), paymentId: tx.paymentId });
  }
  lane.sentAt.delete(tx.txId);
  lane.onResolved(tx.txId, outcome);
  return outcome;
}

/** The receipt of whichever version was mined. */
async function anyReceipt(lane: Lane, tx: ChainTx, pass: Pass): Promise<TransactionReceipt | undefined> {
  const newest = await pass.receipt(tx.hash);
  if (newest !== undefined) return newest;
  for (const { hash } of await versionsOf(lane.db, tx.txId)) {
    const receipt = hash === tx.hash ? undefined : await pass.receipt(hash);
    if (receipt !== undefined) return receipt;
  }
  return undefined;
}

/** True when the nonce was spent long ago and none of our versions has a receipt: somebody else signs with this key. */
async function isDropped(lane: Lane, tx: ChainTx, pass: Pass): Promise<boolean> {
  const head = await pass.head();
  if (head < DROP_DEPTH_BLOCKS || (await pass.countAt(lane.address, head - DROP_DEPTH_BLOCKS)) <= tx.nonce) return false;
  // Asked once more: the receipt may have been behind nodes that had not seen the block yet.
  if ((await anyReceipt(lane, tx, pass)) !== undefined) return false;
  if (await markDropped(lane.db, tx.txId)) {
    lane.metrics.transactions.inc({ purpose: tx.purpose, result: "dropped" });
    lane.log.error({ event: EVENT.txResolved, txId: String(tx.txId), hash: tx.hash, purpose: tx.purpose, state: "dropped", paymentId: tx.paymentId });
  }
  lane.onResolved(tx.txId, { status: "dropped", hash: tx.hash });
  return true;
}

/**
 * Reopens what was resolved in blocks that are gone, and sends it again. A block's hash vouches for all blocks below it, so the
 * newest one is enough while nothing happened. Without this a reorganisation would leave a hole in the nonce lane that stops
 * every later transaction.
 */
export async function reopenVanished(lane: Lane, pass: Pass): Promise<void> {
  let below: bigint | undefined;
  const reopened: ChainTx[] = [];
  for (let page = 1; ; page = REORG_PAGE) {
    const blocks = await resolvedBlocks(lane.db, lane.address, below, page);
    for (const block of blocks) {
      // No such block: the chain is shorter now. Reopening what stands after all would be harmless, too.
      if ((await pass.blockHash(block.blockNumber)) === block.blockHash) return sendAgain(lane, reopened);
      reopened.push(...(await reopenBlock(lane.db, lane.address, block)));
      below = block.blockNumber;
    }
    if (blocks.length < page) return sendAgain(lane, reopened);
  }
}

async function sendAgain(lane: Lane, txs: ChainTx[]): Promise<void> {
  for (const tx of txs) {
    lane.metrics.transactions.inc({ purpose: tx.purpose, result: "reorged" });
    lane.log.warn({ event: EVENT.txResolved, txId: String(tx.txId), hash: tx.hash, purpose: tx.purpose, state: "reorged", paymentId: tx.paymentId });
  }
  for (const tx of txs.sort((a, b) => a.nonce - b.nonce).slice(0, REBROADCAST_AHEAD)) if (!(await broadcast(lane, tx))) return;
}
