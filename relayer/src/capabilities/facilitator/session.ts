// batch-settlement for servers that keep their own books: deposits and vouchers are checked against the chain, deposits, claims, payouts
// and refunds are carried to it.
import type { SettleResponse, VerifyResponse } from "@x402/core/types";
import { encodeFunctionData, isAddressEqual, keccak256, parseEventLogs, zeroAddress, type Address, type Hex } from "viem";
import { sessionChannelsAbi as abi } from "../../../../sdk/src/abi/session-channels.ts";
import { TallystickError } from "../../../../sdk/src/errors.ts";
import { sessionChannelsDomain } from "../../../../sdk/src/typed-data.ts";
import { isRevert, readChain, revertName } from "../../chain/client.ts";
import { admitForeign } from "../firewall/foreign.ts";
import type { Purpose } from "../../chain/submitter.ts";
import * as channels from "../channels/service.ts";
import type { ChainView } from "../channels/store.ts";
import { fault, X402_ERROR } from "../gateway/terms.ts";
import { decodeSchemePayload, type SchemePayload } from "../gateway/schemas.ts";
import type { GatewayDeps } from "../gateway/rail.ts";
import { settledAmount } from "../settlement/outcome.ts";
import { channelsSoldOn, findSent, labelOf, takeLabel } from "./store.ts";
import { readServerPayload, type Claim, type FacilitatorRequest, type ServerPayload } from "./schemas.ts";

export type Refusing = { invalidReason: string; invalidMessage: string };

/** @throws TallystickError with x402's word for what is wrong. */
export async function verifySession(deps: GatewayDeps, request: FacilitatorRequest): Promise<VerifyResponse> {
  const { payload, requirements } = request;
  const session = decodeSchemePayload(payload.payload);
  const { config, voucher } = session;
  const channelId = await checkVoucher(deps, session, requirements);
  const view = await channels.readOne(deps, channelId);
  // The published part lets a channel buy that its payer is emptying.
  if (view.withdrawInitiatedAt > 0) throw mismatch("withdrawal_pending", "payload.channelConfig", "invalid_batch_settlement_evm_withdrawal_pending", "A withdrawal of this channel is pending on chain.");
  const arriving = session.type === "deposit" ? session.deposit.amount : 0n;
  if (view.balance + arriving === 0n) throw mismatch("channel_not_found", "payload.voucher.channelId", "invalid_batch_settlement_evm_channel_not_found", "The chain holds no deposit for this channel.");
  if (voucher.ceiling > view.balance + arriving) throw mismatch("voucher_ceiling_above_balance", "payload.voucher.maxClaimableAmount", X402_ERROR.ceilingAboveBalance, `The voucher is for ${voucher.ceiling}; the channel holds ${view.balance}${arriving === 0n ? "" : ` and ${arriving} more to come`}.`);
  const below = session.type === "voucher" ? voucher.ceiling <= view.totalClaimed : voucher.ceiling < view.totalClaimed;
  if (below) throw mismatch("voucher_below_claimed", "payload.voucher.maxClaimableAmount", "invalid_batch_settlement_evm_cumulative_below_claimed", `The voucher is for ${voucher.ceiling}; ${view.totalClaimed} is claimed already.`);
  if (session.type === "deposit") await channels.checkDeposit(deps, { config, channelId, ...session.deposit, paymentId: "", foreign: true });
  await admitted(deps, request, session, channelId);
  return { isValid: true, payer: config.payer, extra: stateOf(channelId, view) };
}

const admitted = (deps: GatewayDeps, request: FacilitatorRequest, { config: { payer, payerAuthorizer, receiver }, voucher: { ceiling } }: SchemePayload, channelId: Hex, prove?: () => Promise<void>): Promise<void> =>
  admitForeign(deps, request, { identity: { scheme: "batch-settlement", channelId, ceiling }, payer, payerAuthorizer, payee: receiver, channelId, ...(prove === undefined ? {} : { prove }) });

function stateOf(channelId: Hex, view: ChainView): Record<string, unknown> {
  return { channelId, balance: String(view.balance), totalClaimed: String(view.totalClaimed), withdrawRequestedAt: view.withdrawInitiatedAt, refundNonce: String(view.refundNonce) };
}

async function checkVoucher(deps: GatewayDeps, { config, voucher }: SchemePayload, requirements: FacilitatorRequest["requirements"]): Promise<Hex> {
  const extra = requirements.extra ?? {};
  const channelId = deps.hasher.channelId(config);
  if (channelId !== voucher.channelId) throw mismatch("channel_id_mismatch", "payload.voucher.channelId", X402_ERROR.channelIdMismatch, `The channelConfig hashes to ${channelId}.`);
  if (!isAddressEqual(config.receiver, requirements.payTo as Address)) throw mismatch("receiver_mismatch", "payload.channelConfig.receiver", X402_ERROR.receiverMismatch, `The channel pays ${config.receiver}, the seller is ${requirements.payTo}.`);
  if (!isAddressEqual(config.token, requirements.asset as Address)) throw mismatch("token_mismatch", "payload.channelConfig.token", X402_ERROR.tokenMismatch, `The channel's token is ${config.token}.`);
  if (typeof extra["receiverAuthorizer"] === "string" && !isAddressEqual(config.receiverAuthorizer, extra["receiverAuthorizer"] as Address)) {
    throw mismatch("receiver_authorizer_mismatch", "payload.channelConfig.receiverAuthorizer", X402_ERROR.receiverAuthorizerMismatch, `The seller's receiverAuthorizer is ${extra["receiverAuthorizer"]}.`);
  }
  if (typeof extra["withdrawDelay"] === "number" && config.withdrawDelay !== extra["withdrawDelay"]) {
    throw mismatch("withdraw_delay_mismatch", "payload.channelConfig.withdrawDelay", X402_ERROR.withdrawDelayMismatch, `The seller's withdrawDelay is ${extra["withdrawDelay"]}.`);
  }
  if (config.payerAuthorizer === zeroAddress) throw mismatch("contract_wallet_unsupported", "payload.channelConfig.payerAuthorizer", "invalid_batch_settlement_evm_payer_authorizer_required", "Vouchers of contract wallets can be invalidated later; name a key that signs them.");
  if ((await deps.hasher.voucherSigner(channelId, voucher.ceiling, voucher.signature)) === config.payerAuthorizer) return channelId;
  throw mismatch("voucher_signature_invalid", "payload.voucher.signature", X402_ERROR.voucherSignature, "The voucher is not signed by the channel's payerAuthorizer.");
}

const mismatch = (code: string, field: string, x402Error: string, detail: string) => fault({ code, field, x402Error, detail });

export async function settleSession(deps: GatewayDeps, request: FacilitatorRequest, caller: Address | undefined): Promise<SettleResponse> {
  const { payload, requirements } = request;
  const server = readServerPayload(payload.payload);
  if (server !== undefined) {
    checkParties(server, requirements);
    return settleForServer(deps, server, caller);
  }
  const session = decodeSchemePayload(payload.payload);
  if (session.type !== "deposit") throw mismatch("payload_type_unsupported", "payload.type", "invalid_batch_settlement_evm_payload_type", "A voucher needs no settling; claims, payouts, deposits and refunds do.");
  const channelId = await checkVoucher(deps, session, requirements);
  const deposit = { channelId, config: session.config, ...session.deposit, paymentId: `deposit ${channelId}`, foreign: true };
  await admitted(deps, request, session, channelId, () => channels.checkDeposit(deps, deposit));
  const { txHash } = await channels.carryDeposit(deps, deposit);
  const view = await channels.readOne(deps, channelId);
  return { success: true, payer: session.config.payer, transaction: txHash, network: deps.config.network, amount: String(session.deposit.amount), extra: { channelState: stateOf(channelId, view) } };
}

/** Whom we serve was decided by the terms' payTo and asset, so nothing here may be for anybody or anything else. */
function checkParties(payload: ServerPayload, { payTo, asset }: FacilitatorRequest["requirements"]): void {
  const own = payload.type === "claim" ? [] : [payload.type === "settle" ? payload : payload.config];
  const parties = [...own, ...(payload.type === "settle" ? [] : payload.claims.map(({ config }) => config))];
  const receiver = parties.find((party) => !isAddressEqual(party.receiver, payTo as Address))?.receiver;
  if (receiver !== undefined) throw mismatch("receiver_mismatch", "payload", X402_ERROR.receiverMismatch, `The payload is for ${receiver}, the seller is ${payTo}.`);
  const token = parties.find((party) => !isAddressEqual(party.token, asset as Address))?.token;
  if (token !== undefined) throw mismatch("token_mismatch", "payload", X402_ERROR.tokenMismatch, `The payload is in ${token}, the asset is ${asset}.`);
}

function settleForServer(deps: GatewayDeps, payload: ServerPayload, caller: Address | undefined): Promise<SettleResponse> {
  if (payload.type === "claim") return claim(deps, payload);
  if (payload.type === "settle") return payOut(deps, payload.receiver, payload.token);
  return refund(deps, payload, caller);
}

/** A claim pays the receiver alone, so our key signs it for whoever brings the vouchers: for channels whose books are not here. */
async function claim(deps: GatewayDeps, { claims, signature }: Extract<ServerPayload, { type: "claim" }>): Promise<SettleResponse> {
  if (claims.length === 0) throw mismatch("claims_empty", "payload.claims", "invalid_batch_settlement_evm_payload_type", "There is nothing to claim.");
  return send(deps, "claim", await claimCalldata(deps, claims, signature), "invalid_batch_settlement_evm_claim_simulation_failed");
}

async function claimCalldata(deps: GatewayDeps, claims: readonly Claim[], given: Hex | undefined): Promise<Hex> {
  const rows = claims.map(({ config, ceiling, signature, totalClaimed }) => ({ voucher: { channel: config, maxClaimableAmount: ceiling }, signature, totalClaimed }));
  return encodeFunctionData({ abi, functionName: "claimWithSignature", args: [rows, given ?? (await signClaims(deps, claims))] });
}

async function signClaims(deps: GatewayDeps, claims: readonly Claim[]): Promise<Hex> {
  const { config, keyring, hasher } = deps;
  const [authorizer] = claims.map((entry) => entry.config.receiverAuthorizer);
  if (authorizer === undefined || !keyring.has(authorizer) || claims.some((entry) => !isAddressEqual(entry.config.receiverAuthorizer, authorizer))) {
    throw mismatch("authorizer_mismatch", "payload.claimAuthorizerSignature", "invalid_batch_settlement_evm_authorizer_address_mismatch", "These channels are not under one key of this facilitator: their server has to sign the claim.");
  }
  // A voucher may carry headroom, and once claimed it is public: whoever read it off the chain could have all of it claimed.
  if ((await channelsSoldOn(deps.db, claims.map((entry) => hasher.channelId(entry.config)))) > 0) {
    throw mismatch("claim_by_gateway", "payload.claims", "invalid_batch_settlement_evm_authorizer_not_configured", "A channel among these buys from this relayer, which claims what it has charged and nothing else.");
  }
  const entries = claims.map((entry) => ({ channelId: hasher.channelId(entry.config), maxClaimableAmount: entry.ceiling, totalClaimed: entry.totalClaimed }));
  return keyring.signerFor(authorizer).signClaimBatch(sessionChannelsDomain(config.chainId, config.sessionChannels), entries);
}

async function payOut(deps: GatewayDeps, receiver: Address, token: Address): Promise<SettleResponse> {
  const [claimed, settled] = await readChain(() => deps.chain.client.readContract({ address: deps.config.sessionChannels, abi, functionName: "receivers", args: [receiver, token] }));
  const data = encodeFunctionData({ abi, functionName: "settle", args: [receiver, token] });
  if (claimed <= settled && (await findSent(deps.db, labelOf(keccak256(data)), false)) === undefined) throw mismatch("nothing_to_settle", "payload.receiver", "invalid_batch_settlement_evm_nothing_to_settle", `Nothing is owed to ${receiver}.`);
  return send(deps, "settle", data, "invalid_batch_settlement_evm_settle_simulation_failed", (logs) => String(settledAmount(logs, deps.config.sessionChannels, receiver, token)));
}

/**
 * A refund takes what its receiver has not claimed, and only the receiver's server knows what it has charged. So our key signs one
 * only for the receiver itself, signed in, and never for a channel that this relayer sells on: there the gateway refunds.
 */
async function refund(deps: GatewayDeps, payload: Extract<ServerPayload, { type: "refund" }>, caller: Address | undefined): Promise<SettleResponse> {
  const { config, amount, nonce, claims } = payload;
  const channelId = deps.hasher.channelId(config);
  const signature = payload.refundSignature ?? (await signRefund(deps, payload, channelId, caller));
  const call = encodeFunctionData({ abi, functionName: "refundWithSignature", args: [config, amount, nonce, signature] });
  const data = claims.length === 0 ? call : encodeFunctionData({ abi, functionName: "multicall", args: [[await claimCalldata(deps, claims, payload.claimSignature), call]] });
  const done = await send(deps, "refund", data, "invalid_batch_settlement_evm_refund_simulation_failed", (logs) =>
    String(parseEventLogs({ abi, eventName: "Refunded", args: { channelId }, logs: [...logs] }).reduce((sum, log) => sum + log.args.amount, 0n)),
  );
  return done.success ? { ...done, payer: config.payer, extra: { channelState: stateOf(channelId, await channels.readOne(deps, channelId)) } } : done;
}

async function signRefund(deps: GatewayDeps, { config, amount, nonce }: Extract<ServerPayload, { type: "refund" }>, channelId: Hex, caller: Address | undefined): Promise<Hex> {
  const refuse = (code: string, detail: string) => mismatch(code, "payload.refundAuthorizerSignature", "invalid_batch_settlement_evm_authorizer_not_configured", detail);
  if (!deps.keyring.has(config.receiverAuthorizer)) throw refuse("authorizer_mismatch", "The channel is not under a key of this facilitator: its server has to sign the refund.");
  if (caller === undefined || !isAddressEqual(caller, config.receiver)) throw refuse("refund_not_authenticated", "Our key signs a refund only for the channel's receiver: sign in as it (Authorization of /settle), or sign the refund yourself.");
  if ((await channelsSoldOn(deps.db, [channelId])) > 0) throw refuse("refund_by_gateway", "This channel buys from this relayer's gateway: ask for the refund there.");
  return deps.keyring.signerFor(config.receiverAuthorizer).signRefund(sessionChannelsDomain(deps.config.chainId, deps.config.sessionChannels), { channelId, nonce, amount });
}

type Logs = Parameters<typeof settledAmount>[0];

/** How long a request waits for its transaction before it hears `settlement_pending`. */
const WAIT_MS = 30_000;

/** The very same is under way in another request. */
class AlreadySent extends Error {}

/**
 * Sends, or follows what was sent for the very same: a server asks again when it hears `settlement_pending`, and then a second transaction
 * would do nothing for its gas. A claim or a refund that was done stays done; a payout may come again.
 */
async function send(deps: GatewayDeps, purpose: Purpose, data: Hex, refusedWord: string, amountOf?: (logs: Logs) => string): Promise<SettleResponse> {
  const { network } = deps.config;
  let txId: bigint;
  try {
    txId = await sendOnce(deps, purpose, data);
  } catch (error) {
    if (!isRevert(error)) throw error;
    return { success: false, errorReason: refusedWord, errorMessage: `The chain refuses: ${revertName(error) ?? "no reason given"}.`, transaction: "", network };
  }
  const outcome = await deps.submitter.wait(txId, WAIT_MS);
  if (outcome.status === "confirmed") return { success: true, transaction: outcome.hash, network, ...(amountOf === undefined ? {} : { amount: amountOf(outcome.receipt.logs) }) };
  if (outcome.status === "pending") return { success: false, errorReason: "settlement_pending", errorMessage: "Sent, not confirmed yet.", transaction: outcome.hash, network };
  throw new TallystickError({ code: "transaction_reverted", status: 402, retry: "safe", detail: `Transaction ${outcome.hash} did nothing.`, extra: { x402Error: refusedWord.replace("simulation", "transaction"), txHash: outcome.hash } });
}

async function sendOnce(deps: GatewayDeps, purpose: Purpose, data: Hex): Promise<bigint> {
  const label = labelOf(keccak256(data));
  const orDone = purpose !== "settle";
  const sent = () => findSent(deps.db, label, orDone);
  const known = await sent();
  if (known !== undefined) return known;
  try {
    const { txId } = await deps.submitter.submit({
      purpose, to: deps.config.sessionChannels, data, paymentId: label,
      // Of requests that come together, in whichever lanes and processes, one records its transaction.
      record: async (client, newTxId) => {
        if (!(await takeLabel(client, label, newTxId, orDone))) throw new AlreadySent();
      },
    });
    return txId;
  } catch (error) {
    const other = error instanceof AlreadySent || isRevert(error) ? await sent() : undefined;
    if (other === undefined) throw error;
    return other;
  }
}
