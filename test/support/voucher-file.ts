// Voucher lines for tests, signed by whoever pays.
import { pad, toHex, zeroAddress, type HDAccount } from "viem";
import { BASE_SEPOLIA, SESSION_CHANNELS } from "../../sdk/src/constants.ts";
import type { VoucherLine } from "../../sdk/src/provider/voucher-line.ts";
import { voucherTypes, type ChannelConfig } from "../../sdk/src/typed-data.ts";
import { addressOf } from "./config.ts";
import { domain, idOf } from "./session.ts";

export const RECEIVER = addressOf(12);

export async function signedLine(payer: HDAccount, charged: number, change: { ceiling?: number; salt?: number; signer?: HDAccount; config?: Partial<ChannelConfig> } = {}): Promise<VoucherLine> {
  const { ceiling = charged, salt = 0, signer = payer } = change;
  const channelConfig: ChannelConfig = {
    payer: payer.address, payerAuthorizer: payer.address, receiver: RECEIVER, receiverAuthorizer: addressOf(16), token: BASE_SEPOLIA.usdc.address, withdrawDelay: 900, salt: pad(toHex(salt)), ...change.config,
  };
  const channelId = idOf(channelConfig);
  const signature = await signer.signTypedData({ domain, types: voucherTypes, primaryType: "Voucher", message: { channelId, maxClaimableAmount: BigInt(ceiling) } });
  return { chainId: BASE_SEPOLIA.chainId, contract: SESSION_CHANNELS, channelConfig, channelId, maxClaimableAmount: String(ceiling), totalCharged: String(charged), requestCount: "1", signature, at: "2026-11-21T06:00:00.000Z" };
}

export const NOBODY = zeroAddress;
