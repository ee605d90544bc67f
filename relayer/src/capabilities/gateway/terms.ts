// What a 402 offers, and whether a payment answers that offer. Pure.
import type { PaymentRequired, PaymentRequirements } from "@x402/core/types";
import { declarePaymentIdentifierExtension, PAYMENT_IDENTIFIER } from "@x402/extensions/payment-identifier";
import type { Address, Hex } from "viem";
import { TallystickError } from "../../../../sdk/src/errors.ts";
import type { ChannelConfig } from "../../../../sdk/src/typed-data.ts";
import type { Config } from "../../config.ts";
import type { Channel } from "../channels/store.ts";
import type { Standing } from "../ledger/store.ts";
import type { Service } from "./store.ts";

/** Reasons of the `batch-settlement` scheme that stock clients know, by our code. */
export const X402_ERROR = {
  ceilingMismatch: "invalid_batch_settlement_evm_cumulative_amount_mismatch",
  ceilingAboveBalance: "invalid_batch_settlement_evm_cumulative_exceeds_balance",
  channelIdMismatch: "invalid_batch_settlement_evm_channel_id_mismatch",
  voucherSignature: "invalid_batch_settlement_evm_voucher_signature",
  receiverMismatch: "invalid_batch_settlement_evm_receiver_mismatch",
  receiverAuthorizerMismatch: "invalid_batch_settlement_evm_receiver_authorizer_mismatch",
  tokenMismatch: "invalid_batch_settlement_evm_token_mismatch",
  withdrawDelayMismatch: "invalid_batch_settlement_evm_withdraw_delay_mismatch",
  networkMismatch: "invalid_batch_settlement_evm_network_mismatch",
  scheme: "invalid_batch_settlement_evm_scheme",
} as const;

/** How many requests of one channel may be in flight; what the `tallystick` member of the terms announces. */
export const MAX_IN_FLIGHT = 64;

/** Paying by channel: to the service's receiver, at its price. */
export function sessionTerms(config: Config, service: Service, receiverAuthorizer: Address, paymentId: string): PaymentRequirements {
  return {
    scheme: config.scheme,
    network: config.network,
    amount: service.price.toString(),
    asset: service.token,
    payTo: service.receiver,
    maxTimeoutSeconds: Math.ceil(service.upstreamTimeoutMs / 1000) + 30,
    extra: {
      name: config.token.name,
      version: config.token.version,
      assetTransferMethod: "eip3009",
      receiverAuthorizer,
      withdrawDelay: service.withdrawDelayS,
      minDeposit: (service.price * BigInt(service.minDepositCalls)).toString(),
      paymentId,
      // The first call of a buyer is charged the amount, and those after it nothing for so long.
      ...(service.subscription === undefined ? {} : { subscription: { unit: "month", periodS: service.subscription.periodS } }),
      tallystick: announcement(config, service),
    },
  };
}

/**
 * What a client of our SDK may do beyond the published scheme: vouchers with headroom, so that many requests are in flight; pay
 * without asking first on every path below `scope` (left out for a provider's own server, whose routes have prices of their own); and where the contract is ours, deposit by its built-in ERC-3009 path, which
 * costs less gas than the collector's. `stream`: event streams are also sold by the unit.
 */
function announcement(config: Config, service: Service): Record<string, unknown> {
  const stream = service.stream === undefined ? {} : { stream: { unit: service.stream.unit, pricePerUnit: service.stream.unitPrice.toString() } };
  const scope = service.origin === undefined ? {} : { scope: `/s/${service.name}` };
  const session = service.agreed === undefined ? {} : { session: service.agreed.sessionId, offer: service.agreed.offerHash };
  return { version: 1, maxInFlight: MAX_IN_FLIGHT, ...scope, ...session, ...stream, ...(config.settlementMode === "tallystick" ? { collector: config.sessionChannels } : {}) };
}

export function paymentRequired(accepts: PaymentRequirements[], url: string, service: Service, error: string, offers: Record<string, unknown>): PaymentRequired {
  return {
    x402Version: 2,
    error,
    resource: { url, ...(service.description === "" ? {} : { description: service.description }) },
    accepts,
    extensions: { [PAYMENT_IDENTIFIER]: declarePaymentIdentifierExtension(false), ...offers },
  };
}

/** Adds what a client needs to catch up: the ledger's state and its own last voucher, which it can verify. */
export function withChannelState(terms: PaymentRequirements, channel: Channel): PaymentRequirements {
  const voucherState =
    channel.signedSignature === undefined
      ? {}
      : { voucherState: { signedMaxClaimable: channel.signedCeiling.toString(), signature: channel.signedSignature } };
  return { ...terms, extra: { ...terms.extra, channelState: channelState(channel.channelId, channel, channel.charged), ...voucherState } };
}

export function channelState(channelId: Hex, channel: Standing, chargedCumulative: bigint): Record<string, unknown> {
  return {
    channelId,
    balance: channel.balance.toString(),
    totalClaimed: channel.totalClaimed.toString(),
    withdrawRequestedAt: channel.withdrawInitiatedAt,
    refundNonce: channel.refundNonce.toString(),
    chargedCumulativeAmount: chargedCumulative.toString(),
  };
}

/**
 * The payment must answer our own terms, whatever it says of itself.
 * @throws TallystickError 402 that names the field of `accepted` that differs.
 */
export function checkAccepted(accepted: { [key: string]: unknown }, terms: PaymentRequirements): void {
  const reasons: Record<string, string> = { scheme: X402_ERROR.scheme, network: X402_ERROR.networkMismatch };
  for (const field of ["scheme", "network", "asset", "payTo", "amount"] as const) {
    if (sameText(accepted[field], terms[field])) continue;
    throw fault({
      code: `${snake(field)}_mismatch`,
      field: `accepted.${field}`,
      x402Error: reasons[field] ?? "No matching payment requirements",
      detail: `accepted.${field} is ${String(accepted[field])}, the offer says ${terms[field]}.`,
    });
  }
}

/** A scheme that this gateway does not sell in. */
export function schemeFault(scheme: unknown, known: readonly string[]): TallystickError {
  return fault({ code: "scheme_mismatch", field: "accepted.scheme", x402Error: X402_ERROR.scheme, detail: `accepted.scheme is ${String(scheme)}, the offer says ${known.join(" or ")}.` });
}

/** @throws TallystickError 402 that names the field of the channel that does not fit the terms. */
export function checkConfig(config: ChannelConfig, terms: PaymentRequirements, authorizerKnown: boolean): void {
  const mismatch = (field: keyof ChannelConfig, x402Error: string, expected: unknown) =>
    fault({
      code: `${snake(field)}_mismatch`,
      field: `payload.channelConfig.${field}`,
      x402Error,
      detail: `payload.channelConfig.${field} is ${config[field]}, the offer says ${String(expected)}.`,
    });
  if (!sameText(config.receiver, terms.payTo)) throw mismatch("receiver", X402_ERROR.receiverMismatch, terms.payTo);
  if (!sameText(config.token, terms.asset)) throw mismatch("token", X402_ERROR.tokenMismatch, terms.asset);
  // A retired key of ours stays good for the channels opened under it.
  if (!authorizerKnown) throw mismatch("receiverAuthorizer", X402_ERROR.receiverAuthorizerMismatch, terms.extra["receiverAuthorizer"]);
  if (config.withdrawDelay !== terms.extra["withdrawDelay"]) {
    throw mismatch("withdrawDelay", X402_ERROR.withdrawDelayMismatch, terms.extra["withdrawDelay"]);
  }
}

/** Everything that is the buyer's to mend: 402, with the scheme's own reason and our code and field. */
export function fault(init: { code: string; field: string; x402Error: string; detail: string; channel?: Channel }): TallystickError {
  const { channel, x402Error, ...rest } = init;
  return new TallystickError({ ...rest, status: 402, retry: "never", extra: { x402Error, ...(channel === undefined ? {} : { channel }) } });
}

function sameText(a: unknown, b: string): boolean {
  return typeof a === "string" && a.toLowerCase() === b.toLowerCase();
}

function snake(field: string): string {
  return field.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}
