// A standing order for the relayer's fee: vouchers of a channel to it, each of which pays one invoice.
import type { Address, Hex, LocalAccount } from "viem";
import { SESSION_CHANNELS } from "../constants.ts";
import { channelIdOf, sessionChannelsDomain, voucherTypes, type ChannelConfig } from "../typed-data.ts";

/** The body of PUT /api/v1/fees/authorization. */
export type FeeAuthorization = { channelConfig: ChannelConfig; vouchers: { channelId: Hex; maxClaimableAmount: string; signature: Hex }[] };

/**
 * Signs vouchers for as many invoices. Their ceilings differ by one unit, so each leaves nearly all of `ceiling` to its invoice, and `ceiling`
 * is the most that the relayer can ever take from the channel, whatever it invoices.
 * @param options.account the channel's payerAuthorizer.
 * @param options.ceiling atomic units, cumulative over the life of the channel; at most what is deposited there.
 * @param options.invoices at most 100.
 */
export async function signFeeVouchers(options: { account: Pick<LocalAccount, "signTypedData">; chainId: number; channelConfig: ChannelConfig; ceiling: bigint; invoices: number; sessionChannels?: Address }): Promise<FeeAuthorization> {
  const { account, chainId, channelConfig, ceiling, invoices, sessionChannels = SESSION_CHANNELS } = options;
  const domain = sessionChannelsDomain(chainId, sessionChannels);
  const channelId = channelIdOf(domain, channelConfig);
  const ceilings = Array.from({ length: invoices }, (_, at) => ceiling - BigInt(invoices - 1 - at)).filter((amount) => amount > 0n);
  const vouchers = await Promise.all(
    ceilings.map(async (maxClaimableAmount) => ({
      channelId,
      maxClaimableAmount: maxClaimableAmount.toString(),
      signature: await account.signTypedData({ domain, types: voucherTypes, primaryType: "Voucher", message: { channelId, maxClaimableAmount } }),
    })),
  );
  return { channelConfig, vouchers };
}
