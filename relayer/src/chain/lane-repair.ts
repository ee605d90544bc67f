// What unblocks a nonce lane: higher fees for a transaction that is not mined, and a filler for a nonce that nobody knows of.
// Both sign new bytes, so both commit them before they are broadcast.
import { parseTransaction, type Hex } from "viem";
import { inTransaction } from "../db/pool.ts";
import { EVENT } from "../telemetry/log.ts";
import { offerFor } from "./fees.ts";
import type { LaneState } from "./lane-choice.ts";
import { broadcast, type Lane } from "./lane.ts";
import { hashOf, type Signer } from "./transaction-signer.ts";
import { advanceNonce, hasNonce, insertTx, lockNextNonce, replaceVersion, versionsOf, type ChainTx } from "./tx-store.ts";

/** Nodes take a replacement that offers at least a tenth more; an eighth is what the strictest ask for. */
const BUMP_NUMERATOR = 9n;
const BUMP_DENOMINATOR = 8n;
/** Passes in a row that must see the same gap: a node behind others shows one that is none. */
const GAP_PASSES = 5;
const TRANSFER_GAS = 21_000n;

/**
 * Helps the lane's first transaction that is not mined; what comes after it is looked at when it is first.
 * @param mined the nonce that the chain waits for.
 * @returns what holds the lane up.
 */
export async function repair(lane: Lane, first: ChainTx | undefined, mined: number): Promise<LaneState> {
  if (first === undefined) return "ok";
  if (await isGap(lane, first, mined)) {
    if (lane.signer !== undefined && lane.gap.passes >= GAP_PASSES) await fillGap(lane, lane.signer, mined);
    return "gapped";
  }
  if (first.waitingMs < lane.config.fees.bumpAfterMs) return "ok";
  if (first.ageMs < lane.config.fees.bumpAfterMs || lane.signer === undefined) return "stuck";
  return bumpStuck(lane, lane.signer, first);
}

/** Signs the transaction again with higher fees. */
async function bumpStuck(lane: Lane, signer: Signer, tx: ChainTx): Promise<"stuck" | "fee_capped"> {
  const { maxFeeWei } = lane.config.fees;
  const market = await lane.market.fees();
  const offered = await highestOffer(lane, tx);
  const least = raised(offered.maxFeePerGas);
  if (least > maxFeeWei) {
    lane.metrics.transactions.inc({ purpose: tx.purpose, result: "fee_capped" });
    lane.log.error({ event: EVENT.txSigned, txId: String(tx.txId), hash: tx.hash, outcome: "fee_capped", maxFeePerGas: String(least), capWei: String(maxFeeWei) });
    return "fee_capped";
  }
  const maxFeePerGas = smaller(larger(least, 2n * market.baseFee + market.tip), maxFeeWei);
  const maxPriorityFeePerGas = smaller(larger(raised(offered.maxPriorityFeePerGas), market.tip), maxFeePerGas);
  const { to, data, gas = 0n, value = 0n } = parseTransaction(tx.raw);
  const raw = await signer.signTransaction({ type: "eip1559", chainId: lane.chain.chainId, nonce: tx.nonce, to, data, gas, value, maxFeePerGas, maxPriorityFeePerGas });
  const next = { hash: hashOf(raw), raw, mostWei: gas * maxFeePerGas };
  if (!(await inTransaction(lane.db, (client) => replaceVersion(client, tx, next)))) return "stuck";
  lane.reached("tx.bumped");
  lane.metrics.transactions.inc({ purpose: tx.purpose, result: "bumped" });
  lane.log.warn({ event: EVENT.txSigned, txId: String(tx.txId), hash: next.hash, replaces: tx.hash, nonce: tx.nonce, purpose: tx.purpose, maxFeePerGas: String(maxFeePerGas), paymentId: tx.paymentId });
  await broadcast(lane, { ...tx, ...next });
  return "stuck";
}

/** The most that any version offers: a node may hold any of them. */
async function highestOffer(lane: Lane, tx: ChainTx): Promise<{ maxFeePerGas: bigint; maxPriorityFeePerGas: bigint }> {
  const versions = [tx.raw, ...(await versionsOf(lane.db, tx.txId)).map(({ raw }) => raw)].map((raw: Hex) => parseTransaction(raw));
  return {
    maxFeePerGas: versions.map(({ maxFeePerGas = 0n }) => maxFeePerGas).reduce(larger),
    maxPriorityFeePerGas: versions.map(({ maxPriorityFeePerGas = 0n }) => maxPriorityFeePerGas).reduce(larger),
  };
}

/** True when the chain waits for a nonce below everything in flight, and no row has it: nothing behind it can be helped by fees. */
async function isGap(lane: Lane, first: ChainTx, mined: number): Promise<boolean> {
  if (mined >= first.nonce || (await hasNonce(lane.db, lane.address, mined))) {
    lane.gap.passes = 0;
    return false;
  }
  lane.gap = { nonce: mined, passes: lane.gap.nonce === mined ? lane.gap.passes + 1 : 1 };
  return true;
}

/** A transfer of nothing to ourselves takes a nonce that is lost (a database that came back from a backup). */
async function fillGap(lane: Lane, signer: Signer, missing: number): Promise<void> {
  const fees = offerFor(await lane.market.fees(), lane.config.fees.maxFeeWei);
  const raw = await signer.signTransaction({ type: "eip1559", chainId: lane.chain.chainId, nonce: missing, to: lane.address, value: 0n, gas: TRANSFER_GAS, ...fees });
  const tx = { signer: lane.address, nonce: missing, purpose: "fill", hash: hashOf(raw), raw } as const;
  const txId = await inTransaction(lane.db, async (client) => {
    await lockNextNonce(client, lane.address);
    if (await hasNonce(client, lane.address, missing)) return undefined;
    await advanceNonce(client, lane.address, missing + 1);
    return insertTx(client, { ...tx, mostWei: TRANSFER_GAS * fees.maxFeePerGas });
  });
  if (txId === undefined) return;
  lane.metrics.transactions.inc({ purpose: "fill", result: "signed" });
  lane.log.error({ event: EVENT.txSigned, txId: String(txId), hash: tx.hash, nonce: missing, purpose: "fill" }, "a nonce was missing in the lane and is filled");
  await broadcast(lane, { ...tx, txId, state: "signed", paymentId: undefined, blockNumber: undefined, blockHash: undefined, ageMs: 0, waitingMs: 0 });
}

const raised = (fee: bigint): bigint => (fee * BUMP_NUMERATOR) / BUMP_DENOMINATOR + 1n;
const smaller = (a: bigint, b: bigint): bigint => (a < b ? a : b);
const larger = (a: bigint, b: bigint): bigint => (a > b ? a : b);
