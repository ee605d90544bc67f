// What unblocks a nonce lane: higher fees for a transaction that is not mined, and a filler for a nonce that nobody knows of.
// Both sign new bytes, so both commit them before they are broadcast.
import { keccak256, parseTransaction, type Hex } from "viem";
import { inTransaction } from "../db/pool.ts";
import { EVENT } from "../telemetry/log.ts";
import { readChain } from "./client.ts";
import { broadcast, type Lane } from "./lane.ts";
import { advanceNonce, hasNonce, insertTx, lockNextNonce, replaceVersion, versionsOf, type ChainTx } from "./tx-store.ts";

/** Nodes take a replacement that offers at least a tenth more; an eighth is what the strictest ask for. */
const BUMP_NUMERATOR = 9n;
const BUMP_DENOMINATOR = 8n;
/** Passes in a row that must see the same gap: a node behind others shows one that is none. */
const GAP_PASSES = 5;
const TRANSFER_GAS = 21_000n;

/**
 * Signs the transaction again with higher fees when it has waited too long and nothing before it is missing.
 * @returns whether it did.
 */
export async function bumpStuck(lane: Lane, tx: ChainTx): Promise<boolean> {
  const { bumpAfterMs, maxFeeWei } = lane.config.fees;
  if (tx.ageMs < bumpAfterMs) return false;
  const market = await marketFees(lane);
  const offered = await highestOffer(lane, tx);
  const maxFeePerGas = larger(raised(offered.maxFeePerGas), 2n * market.baseFee + market.tip);
  const maxPriorityFeePerGas = larger(raised(offered.maxPriorityFeePerGas), market.tip);
  if (maxFeePerGas > maxFeeWei) {
    lane.metrics.transactions.inc({ purpose: tx.purpose, result: "fee_capped" });
    lane.log.error({ event: EVENT.txSigned, txId: String(tx.txId), hash: tx.hash, outcome: "fee_capped", maxFeePerGas: String(maxFeePerGas), capWei: String(maxFeeWei) });
    return false;
  }
  const { to, data, gas, value = 0n } = parseTransaction(tx.raw);
  const raw = await lane.signer.signTransaction({ type: "eip1559", chainId: lane.chain.chainId, nonce: tx.nonce, to, data, gas, value, maxFeePerGas, maxPriorityFeePerGas });
  const next = { hash: keccak256(raw), raw };
  if (!(await inTransaction(lane.db, (client) => replaceVersion(client, tx, next)))) return false;
  lane.reached("tx.bumped");
  lane.metrics.transactions.inc({ purpose: tx.purpose, result: "bumped" });
  lane.log.warn({ event: EVENT.txSigned, txId: String(tx.txId), hash: next.hash, replaces: tx.hash, nonce: tx.nonce, purpose: tx.purpose, maxFeePerGas: String(maxFeePerGas), paymentId: tx.paymentId });
  await broadcast(lane, { ...tx, ...next });
  return true;
}

/** The most that any version offers: a node may hold any of them. */
async function highestOffer(lane: Lane, tx: ChainTx): Promise<{ maxFeePerGas: bigint; maxPriorityFeePerGas: bigint }> {
  const versions = [tx.raw, ...(await versionsOf(lane.db, tx.txId)).map(({ raw }) => raw)].map((raw: Hex) => parseTransaction(raw));
  return {
    maxFeePerGas: versions.map(({ maxFeePerGas = 0n }) => maxFeePerGas).reduce(larger),
    maxPriorityFeePerGas: versions.map(({ maxPriorityFeePerGas = 0n }) => maxPriorityFeePerGas).reduce(larger),
  };
}

/**
 * The chain waits for a nonce below everything in flight, and no row has it (a database that came back from a backup): a
 * transfer of nothing to ourselves takes it.
 * @returns whether there is a gap, so that nothing behind it can be helped by fees.
 */
export async function fillGap(lane: Lane, first: ChainTx): Promise<boolean> {
  const missing = await readChain(() => lane.chain.client.getTransactionCount({ address: lane.address }));
  if (missing >= first.nonce || (await hasNonce(lane.db, lane.address, missing))) {
    lane.gap.passes = 0;
    return false;
  }
  lane.gap = { nonce: missing, passes: lane.gap.nonce === missing ? lane.gap.passes + 1 : 1 };
  if (lane.gap.passes < GAP_PASSES) return true;
  const { baseFee, tip } = await marketFees(lane);
  const fees = { maxFeePerGas: 2n * baseFee + tip, maxPriorityFeePerGas: tip };
  const raw = await lane.signer.signTransaction({ type: "eip1559", chainId: lane.chain.chainId, nonce: missing, to: lane.address, value: 0n, gas: TRANSFER_GAS, ...fees });
  const tx = { signer: lane.address, nonce: missing, purpose: "fill", hash: keccak256(raw), raw } as const;
  const txId = await inTransaction(lane.db, async (client) => {
    await lockNextNonce(client, lane.address);
    if (await hasNonce(client, lane.address, missing)) return undefined;
    await advanceNonce(client, lane.address, missing + 1);
    return insertTx(client, tx);
  });
  if (txId === undefined) return true;
  lane.metrics.transactions.inc({ purpose: "fill", result: "signed" });
  lane.log.error({ event: EVENT.txSigned, txId: String(txId), hash: tx.hash, nonce: missing, purpose: "fill" }, "a nonce was missing in the lane and is filled");
  await broadcast(lane, { ...tx, txId, state: "signed", paymentId: undefined, blockNumber: undefined, blockHash: undefined, ageMs: 0 });
  return true;
}

async function marketFees({ chain: { client } }: Lane): Promise<{ baseFee: bigint; tip: bigint }> {
  const [block, tip] = await readChain(() => Promise.all([client.getBlock({ blockTag: "latest" }), client.estimateMaxPriorityFeePerGas()]));
  return { baseFee: block.baseFeePerGas ?? 0n, tip };
}

const raised = (fee: bigint): bigint => (fee * BUMP_NUMERATOR) / BUMP_DENOMINATOR + 1n;
const larger = (a: bigint, b: bigint): bigint => (a > b ? a : b);
