// Every refusal of the ledger as the buyer hears it: our stable code, the field, and the reason a stock client acts on.
import type { TallystickError } from "../../../../sdk/src/errors.ts";
import type { Channel } from "../channels/store.ts";
import type { Taken } from "../ledger/service.ts";
import { fault, X402_ERROR } from "./terms.ts";

type Refusal = Extract<Taken, { outcome: "refused" }>["refusal"];
type Case = { code: string; field: string; x402Error: string; detail: (channel: Channel | undefined, ceiling: bigint, price: bigint) => string };

const CEILING = "payload.voucher.maxClaimableAmount";

const CASES: Record<Refusal, Case> = {
  ceiling_below_charged: {
    code: "voucher_ceiling_mismatch",
    field: CEILING,
    x402Error: X402_ERROR.ceilingMismatch,
    detail: (channel, ceiling, price) => `${CEILING} is ${ceiling}, it must be at least charged ${channel?.charged} + price ${price}.`,
  },
  channel_busy: {
    code: "channel_busy",
    field: CEILING,
    x402Error: X402_ERROR.ceilingMismatch,
    detail: (channel, ceiling, price) =>
      `${CEILING} ${ceiling} does not cover charged ${channel?.charged} + in flight ${channel?.reserved} + price ${price}; sign more headroom or send one request at a time.`,
  },
  voucher_used: {
    code: "voucher_used",
    field: CEILING,
    x402Error: X402_ERROR.ceilingMismatch,
    detail: (_channel, ceiling) => `The voucher for ${ceiling} already paid for another request.`,
  },
  voucher_public: {
    code: "voucher_public",
    field: CEILING,
    x402Error: X402_ERROR.ceilingMismatch,
    detail: (_channel, ceiling) => `The voucher for ${ceiling} was shown to the chain, so it alone no longer proves who asks; its answer needs the payment-identifier it was bought with.`,
  },
  answer_expired: {
    code: "answer_expired",
    field: CEILING,
    x402Error: X402_ERROR.ceilingMismatch,
    detail: (_channel, ceiling) => `The voucher for ${ceiling} paid for an answer that is no longer kept.`,
  },
  ceiling_above_balance: {
    code: "voucher_ceiling_above_balance",
    field: CEILING,
    x402Error: X402_ERROR.ceilingAboveBalance,
    detail: (channel, ceiling) => `${CEILING} is ${ceiling}, the channel's confirmed balance is ${channel?.balance}.`,
  },
  withdrawal_pending: {
    code: "withdrawal_pending",
    field: "payload.channelConfig",
    x402Error: "invalid_batch_settlement_evm_withdrawal_pending",
    detail: () => "A withdrawal of this channel is pending on chain; no new payment is taken until it is cancelled or finalized.",
  },
  contract_wallet_unsupported: {
    code: "contract_wallet_unsupported",
    field: "payload.channelConfig.payerAuthorizer",
    x402Error: "invalid_batch_settlement_evm_payer_authorizer_required",
    detail: () => "payload.channelConfig.payerAuthorizer is zero: vouchers of contract wallets can be invalidated later, so name a key that signs them.",
  },
};

export function refusalFault(refusal: Refusal, channel: Channel | undefined, ceiling: bigint, price: bigint): TallystickError {
  const { code, field, x402Error, detail } = CASES[refusal];
  return fault({ code, field, x402Error, detail: detail(channel, ceiling, price), ...(channel === undefined ? {} : { channel }) });
}
