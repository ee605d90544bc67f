// What runs in the page: the SDK's own files, bundled for browsers. Everything that crosses over is JSON.
import type { Hex } from "viem";
import { privateKeyToAccount } from "viem/accounts";
import { inputHash, outputHash, receiptHash, receiptSigner, fromWireReceipt, type SignedReceipt } from "../../sdk/src/receipt.ts";
import { channelIdOf, sessionChannelsDomain, voucherDigest, voucherTypes, type ChannelConfig } from "../../sdk/src/typed-data.ts";

/** A voucher as an agent signs it: the channel's id, the digest and the signature. */
async function signVoucher(key: Hex, { chainId, contract, config, ceiling }: { chainId: number; contract: Hex; config: ChannelConfig; ceiling: string }) {
  const domain = sessionChannelsDomain(chainId, contract);
  const channelId = channelIdOf(domain, config);
  const message = { channelId, maxClaimableAmount: BigInt(ceiling) };
  const signature = await privateKeyToAccount(key).signTypedData({ domain, types: voucherTypes, primaryType: "Voucher", message });
  return { channelId, digest: voucherDigest(domain, channelId, message.maxClaimableAmount), signature };
}

async function checkReceipt(signed: SignedReceipt) {
  return { hash: receiptHash(signed.domain, fromWireReceipt(signed.payload)), signer: await receiptSigner(signed) };
}

function hashes(text: string) {
  const body = new TextEncoder().encode(text);
  return {
    input: inputHash({ method: "POST", target: "/s/echo/ä?q=1", contentType: "text/plain", body }),
    output: outputHash({ status: 200, contentType: "text/plain", body }),
  };
}

export const tallystick = { signVoucher, checkReceipt, hashes };
export type PageCode = typeof tallystick;
Object.assign(globalThis, { tallystick });
