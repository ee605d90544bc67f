// A voucher for a stream that is under way, checked as any voucher is: signature, then money rule 3 in one conditional update. It may
// reach another process than the one that streams; that one finds the new allowance in the ledger.
import type { Hex } from "viem";
import { TallystickError } from "../../../../sdk/src/errors.ts";
import { violatedConstraint } from "../../db/pool.ts";
import { EVENT } from "../../telemetry/log.ts";
import { assertChainFresh } from "../channels/freshness.ts";
import { findChannel, type Channel } from "../channels/store.ts";
import { admit, isAsleep } from "../firewall/gate.ts";
import { registered } from "../firewall/registry.ts";
import type { GatewayDeps } from "../gateway/rail.ts";
import { recordRefusal } from "../ledger/service.ts";
import { refusedByMandate } from "../mandates/audit.ts";
import { withinMandate } from "../mandates/budget-store.ts";
import { isInSession, notMetered } from "../negotiation/refusals.ts";
import { isUnderMandate, refusalIn } from "../mandates/refusals.ts";
import * as store from "./store.ts";

export type StreamVoucher = { ceiling: bigint; signature: Hex };

/**
 * Lets a metered stream take `amount` more, or all the headroom of the voucher.
 * @throws TallystickError 404 `stream_unknown`, 409 `stream_ended`, 402 `voucher_signature_invalid`, `voucher_ceiling_mismatch`,
 * `voucher_ceiling_above_balance`, `withdrawal_pending`, `channel_busy`, 403 mandate_*, 503 `chain_unavailable`.
 */
export async function addVoucher(deps: GatewayDeps, paymentId: string, voucher: StreamVoucher, amount: bigint | undefined): Promise<store.Standing> {
  const stream = await store.findStream(deps.db, paymentId);
  if (stream?.unitPrice === undefined) throw new TallystickError({ code: "stream_unknown", status: 404, retry: "never", field: "id", detail: `No metered stream is called ${paymentId}.` });
  const signer = await deps.hasher.voucherSigner(stream.channelId, voucher.ceiling, voucher.signature);
  if (signer !== stream.payerAuthorizer) {
    throw new TallystickError({ code: "voucher_signature_invalid", status: 402, retry: "never", field: "signature", detail: `signature is not payerAuthorizer ${stream.payerAuthorizer}'s signature of this voucher (65 bytes, v 27 or 28, low s).` });
  }
  assertChainFresh(deps);
  if (!isAsleep(deps, stream.service)) await admitted(deps, stream, voucher, amount);
  if (await extended(deps, stream, voucher, amount)) {
    deps.log.info({ event: EVENT.streamExtended, paymentId, channelId: stream.channelId, ceilingAtomic: voucher.ceiling.toString() }, "stream may go on");
  } else if (stream.state === "open") await refuse(deps, stream, voucher, amount);
  const standing = await store.standing(deps.db, paymentId);
  if (standing === undefined) throw new TallystickError({ code: "stream_ended", status: 409, retry: "never", field: "id", detail: `Stream ${paymentId} is over.` });
  return standing;
}

/** The firewall judges what the stream may cost in all with this voucher. */
async function admitted(deps: GatewayDeps, { paymentId, channelId, payer, payerAuthorizer, service: name }: store.StreamRow, { ceiling }: StreamVoucher, amount: bigint | undefined): Promise<void> {
  const [channel, standing, service] = await Promise.all([findChannel(deps.db, channelId), store.standing(deps.db, paymentId), registered(deps, name)]);
  if (channel === undefined || standing === undefined) return; // over: told by what follows
  const headroom = ceiling - channel.charged - channel.reserved;
  await admit(deps, {
    identity: { scheme: "stream", paymentId, ceiling }, paymentId, channelId, payer, payerAuthorizer, payee: channel.config.receiver, service: name, serviceOwner: service?.owner, resource: `stream ${paymentId}`,
    price: standing.allowance + (amount ?? (headroom > 0n ? headroom : 0n)),
    isPaid: () => store.knowsVoucher(deps.db, paymentId, ceiling),
  });
}

/** True also for a voucher that extended this stream before: sent twice, it counts once. */
async function extended(deps: GatewayDeps, stream: store.StreamRow, voucher: StreamVoucher, amount: bigint | undefined): Promise<boolean> {
  if (amount === 0n) return false;
  const { paymentId } = stream;
  try {
    return (await extend(deps, paymentId, voucher, amount)) !== undefined;
  } catch (error) {
    if (violatedConstraint(error) === "stream_voucher_pkey") return true;
    if (violatedConstraint(error) === "payment_above_agreed") throw notMetered();
    const refusal = refusalIn(error);
    throw refusal === undefined ? error : await refusedByMandate(deps, { ...stream, price: amount ?? voucher.ceiling }, refusal);
  }
}

/** The database says when the channel spends under a mandate; then that is asked too. */
async function extend({ db }: GatewayDeps, paymentId: string, voucher: StreamVoucher, amount: bigint | undefined): Promise<bigint | undefined> {
  try {
    return await store.extend(db, paymentId, voucher, amount);
  } catch (error) {
    if (!isUnderMandate(error) && !isInSession(error)) throw error;
    return withinMandate(db, (client) => store.extend(client, paymentId, voucher, amount));
  }
}

/** Says why, with what would do. Returns when the stream is over or the voucher turns out to be known. */
async function refuse(deps: GatewayDeps, stream: store.StreamRow, { ceiling }: StreamVoucher, amount: bigint | undefined): Promise<void> {
  const { paymentId, channelId, payer, service } = stream;
  if (await store.knowsVoucher(deps.db, paymentId, ceiling)) return;
  if ((await store.standing(deps.db, paymentId)) === undefined) return;
  const channel = await findChannel(deps.db, channelId);
  if (channel === undefined) throw new Error("invariant: a stream has a channel");
  const refused = refusal(channel, ceiling, amount ?? 1n);
  const detail = { ceiling: String(ceiling), charged: String(channel.charged), reserved: String(channel.reserved), balance: String(channel.balance) };
  await recordRefusal(deps, { paymentId, channelId, payer, payee: channel.config.receiver, service }, refused.code, detail);
  deps.metrics.refusals.inc({ code: refused.code });
  throw refused;
}

function refusal({ charged, reserved, balance, withdrawInitiatedAt }: Channel, ceiling: bigint, amount: bigint): TallystickError {
  const field = "maxClaimableAmount";
  const needed = charged + reserved + amount;
  const extra = { charged: String(charged), reserved: String(reserved), balance: String(balance), needed: String(needed) };
  const fault = (code: string, at: string, detail: string) => new TallystickError({ code, status: 402, retry: "never", field: at, detail, extra });
  if (ceiling < needed) return fault("voucher_ceiling_mismatch", field, `${field} is ${ceiling}, it must be at least charged ${charged} + in flight ${reserved} + ${amount}.`);
  if (ceiling > balance) return fault("voucher_ceiling_above_balance", field, `${field} is ${ceiling}, the channel's confirmed balance is ${balance}.`);
  if (withdrawInitiatedAt > 0) return fault("withdrawal_pending", "id", "A withdrawal of this channel is pending on chain; no more is taken until it is cancelled or finalized.");
  return fault("channel_busy", "id", "The channel takes no payment right now; send the same voucher again in a moment.");
}
