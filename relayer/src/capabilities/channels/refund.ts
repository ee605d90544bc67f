// Cooperative refund: what is not charged goes back to the payer, in one transaction that first claims what is.
import { encodeFunctionData, isAddressEqual, parseEventLogs, type Hex, type TransactionReceipt } from "viem";
import { sessionChannelsAbi } from "../../../../sdk/src/abi/session-channels.ts";
import { TallystickError } from "../../../../sdk/src/errors.ts";
import { sessionChannelsDomain, type ChannelConfig } from "../../../../sdk/src/typed-data.ts";
import { isRevert, revertName } from "../../chain/client.ts";
import type { TxOutcome } from "../../chain/submitter.ts";
import { inTransaction } from "../../db/pool.ts";
import { EVENT } from "../../telemetry/log.ts";
import { noteUnrooted } from "../settlement/receipt-root-store.ts";
import { readView, readViewFrom } from "./chain-view.ts";
import { paymentFault, stillPending } from "./faults.ts";
import { refundableAmount, signRefundWithinLimit } from "./refund-limit.ts";
import { ChannelMoved, closeRefund, freezeForRefund, openRefundOf, reopenRefunds, resolvableRefunds, type RefundRow } from "./refund-store.ts";
import type { ChannelDeps } from "./service.ts";
import { findChannel, takeTurns, updateChainView, type Channel } from "./store.ts";

export type RefundRequest = {
  config: ChannelConfig;
  channelId: Hex;
  /** Atomic units; without it all that is not charged. */
  amount: bigint | undefined;
  /** The payer's agreement that exactly this much is owed. The caller has checked the signature. */
  voucher: { ceiling: bigint; signature: Hex };
  paymentId: string;
};

export type RefundResult = { txHash: Hex; amount: bigint; channel: Channel };

const REFUND_WAIT_MS = 30_000;

/**
 * Refunds a channel; no payment is taken on it from the moment the transaction is signed until it is resolved.
 * @throws payment faults (402): `channel_not_found`, `channel_busy` (safe), `cumulative_amount_mismatch`,
 * `refund_no_balance`, `refund_amount_invalid`, `refund_refused`, `refund_reverted`; `refund_pending` (503, safe).
 */
export async function refundChannel(deps: ChannelDeps, request: RefundRequest): Promise<RefundResult> {
  const { channelId } = request;
  const view = (await readView(deps, [channelId])).get(channelId)!;
  await updateChainView(deps.db, channelId, view);
  const channel = await findChannel(deps.db, channelId);
  if (channel === undefined) throw paymentFault("channel_not_found", "payload.voucher.channelId", `The relayer does not know channel ${channelId}.`);

  const running = await openRefundOf(deps.db, channelId);
  if (running !== undefined) return joinRefund(deps, request, running);
  if (channel.frozenBy !== undefined || channel.reserved > 0n) throw busy(channelId);
  if (request.voucher.ceiling !== channel.charged) {
    throw paymentFault("cumulative_amount_mismatch", "payload.voucher.maxClaimableAmount", `The refund's voucher says ${request.voucher.ceiling}; charged is ${channel.charged}.`);
  }
  const amount = refundableAmount(channel, request.amount);
  return finishRefund(deps, await sendRefund(deps, request, channel, amount));
}

function busy(channelId: Hex, cause?: unknown): TallystickError {
  return paymentFault("channel_busy", "payload.voucher.channelId", `Channel ${channelId} has payments or a refund under way.`, { retry: "safe", cause });
}

/** The same wish again waits for the refund that is under way; another wish must wait until it is over. */
async function joinRefund(deps: ChannelDeps, request: RefundRequest, running: RefundRow): Promise<RefundResult> {
  if (request.amount !== undefined && request.amount !== running.amount) throw busy(request.channelId);
  return finishRefund(deps, running);
}

async function sendRefund(deps: ChannelDeps, { paymentId }: RefundRequest, channel: Channel, amount: bigint): Promise<RefundRow> {
  const { channelId } = channel;
  const data = await refundCalldata(deps, channel, amount);
  try {
    const { txId, hash } = await deps.submitter.submit({
      purpose: "refund", to: deps.config.sessionChannels, data, paymentId,
      record: (client, newTxId) => freezeForRefund(client, channel, amount, newTxId),
    });
    deps.log.info({ event: EVENT.refundSent, channelId, amount: String(amount), txHash: hash, paymentId });
    return { channelId, nonce: channel.refundNonce, amount, txId, txHash: hash };
  } catch (error) {
    if (error instanceof ChannelMoved) throw busy(channelId, error);
    if (isRevert(error)) throw paymentFault("refund_refused", "payload", `The chain refuses the refund: ${revertName(error) ?? "no reason given"}.`, { retry: "safe", cause: error });
    throw error;
  }
}

async function refundCalldata(deps: ChannelDeps, channel: Channel, amount: bigint): Promise<Hex> {
  const signature = await signRefundWithinLimit(deps, channel, amount);
  const refund = encodeFunctionData({ abi: sessionChannelsAbi, functionName: "refundWithSignature", args: [channel.config, amount, channel.refundNonce, signature] });
  if (channel.charged <= channel.totalClaimed) return refund;
  // Claimed in the same transaction: between two, the payer could withdraw what the refund left.
  return encodeFunctionData({ abi: sessionChannelsAbi, functionName: "multicall", args: [[await claimCalldata(deps, channel), refund]] });
}

async function claimCalldata(deps: ChannelDeps, { channelId, config, charged, signedCeiling, signedSignature }: Channel): Promise<Hex> {
  const domain = sessionChannelsDomain(deps.config.chainId, deps.config.sessionChannels);
  const entry = { channelId, maxClaimableAmount: signedCeiling, totalClaimed: charged };
  const authorization = await deps.keyring.signerFor(config.receiverAuthorizer).signClaimBatch(domain, [entry]);
  const row = { voucher: { channel: config, maxClaimableAmount: signedCeiling }, signature: signedSignature!, totalClaimed: charged };
  return encodeFunctionData({ abi: sessionChannelsAbi, functionName: "claimWithSignature", args: [[row], authorization] });
}

async function finishRefund(deps: ChannelDeps, row: RefundRow): Promise<RefundResult> {
  const outcome = await deps.submitter.wait(row.txId, REFUND_WAIT_MS);
  if (outcome.status === "pending") throw stillPending("refund_pending", outcome.hash);
  const amount = await resolveRefund(deps, row, outcome);
  if (outcome.status !== "confirmed") {
    throw paymentFault("refund_reverted", "payload", `Transaction ${outcome.hash} was refused by the chain; nothing was refunded.`, { retry: "safe", extra: { txHash: outcome.hash } });
  }
  return { txHash: outcome.hash, amount, channel: (await findChannel(deps.db, row.channelId))! };
}

/** Writes down what became of a refund and lets payments in again; the same from every process, however often. */
async function resolveRefund(deps: ChannelDeps, row: RefundRow, outcome: Exclude<TxOutcome, { status: "pending" }>): Promise<bigint> {
  const receipt = outcome.status === "dropped" ? undefined : outcome.receipt;
  // Read before the unfreeze: a payment must never be checked against the balance from before the refund.
  const views = await readViewFrom(deps, [row.channelId], receipt?.blockNumber ?? 0n);
  const { refunded, claimed } = receipt === undefined ? { refunded: 0n, claimed: 0n } : moved(deps, row.channelId, receipt);
  const state = outcome.status === "confirmed" ? "done" : "failed";
  await inTransaction(deps.db, async (client) => {
    await takeTurns(client, [row.channelId]);
    await updateChainView(client, row.channelId, views.get(row.channelId)!);
    const isClosed = await closeRefund(client, row, { state, refunded, claimed });
    if (isClosed && deps.config.settlementMode === "tallystick") await noteUnrooted(client, row.channelId, claimed);
  });
  deps.reached("refund.closed");
  deps.log.info({ event: EVENT.refundConfirmed, channelId: row.channelId, state, amount: String(refunded), txHash: outcome.hash });
  return refunded;
}

function moved(deps: ChannelDeps, channelId: Hex, receipt: TransactionReceipt): { refunded: bigint; claimed: bigint } {
  const logs = parseEventLogs({ abi: sessionChannelsAbi, eventName: ["Refunded", "Claimed"], args: { channelId }, logs: receipt.logs });
  const ours = logs.filter((log) => isAddressEqual(log.address, deps.config.sessionChannels));
  return {
    refunded: ours.reduce((sum, log) => sum + (log.eventName === "Refunded" ? log.args.amount : 0n), 0n),
    claimed: ours.reduce((sum, log) => sum + (log.eventName === "Claimed" ? log.args.claimAmount : 0n), 0n),
  };
}

/** For start and the loop: finishes what a crashed process left, and follows refunds whose block was reorganised away. */
export async function resolveRefunds(deps: ChannelDeps): Promise<void> {
  for (const channelId of await reopenRefunds(deps.db)) deps.log.warn({ event: EVENT.refundSent, channelId, state: "reorged" });
  for (const row of await resolvableRefunds(deps.db)) {
    const outcome = await deps.submitter.wait(row.txId, 0);
    if (outcome.status !== "pending") await resolveRefund(deps, row, outcome);
  }
}
