// The one place that signs refunds. A receiverAuthorizer key could hand a provider's unclaimed income back to the payer;
// the contract cannot know what was charged off chain, so this assertion is what keeps the key honest.
import type { Hex } from "viem";
import { TallystickError } from "../../../../sdk/src/errors.ts";
import { sessionChannelsDomain } from "../../../../sdk/src/typed-data.ts";
import type { Deps } from "../../deps.ts";
import { paymentFault } from "./faults.ts";
import type { Channel } from "./store.ts";

/** What may go back to the payer: never a part of what is charged. Without a wish, all of it. */
export function refundableAmount(channel: Channel, wish: bigint | undefined): bigint {
  const free = channel.balance - channel.charged;
  if (free <= 0n) throw paymentFault("refund_no_balance", "payload", `Of ${channel.balance} deposited, ${channel.charged} is charged: nothing can be refunded.`);
  if (wish !== undefined && (wish <= 0n || wish > free)) {
    throw paymentFault("refund_amount_invalid", "payload.amount", `A refund of ${wish} was asked for; from 1 to ${free} can be refunded.`);
  }
  return wish ?? free;
}

/** @throws TallystickError `refund_above_limit` when the amount would touch what is charged, however it was computed. */
export async function signRefundWithinLimit(deps: Pick<Deps, "config" | "keyring">, channel: Channel, amount: bigint): Promise<Hex> {
  if (amount <= 0n || amount > channel.balance - channel.charged || channel.reserved !== 0n) {
    throw new TallystickError({
      code: "refund_above_limit",
      status: 500,
      retry: "never",
      detail: `Refusing to sign a refund of ${amount}: balance ${channel.balance}, charged ${channel.charged}, reserved ${channel.reserved}.`,
    });
  }
  const domain = sessionChannelsDomain(deps.config.chainId, deps.config.sessionChannels);
  const message = { channelId: channel.channelId, nonce: channel.refundNonce, amount };
  return deps.keyring.signerFor(channel.config.receiverAuthorizer).signRefund(domain, message);
}
