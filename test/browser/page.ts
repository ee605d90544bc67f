// What runs in the page: the SDK's own files, bundled for browsers. Everything that crosses over is JSON.
import type { Hex } from "viem";
import { privateKeyToAccount } from "viem/accounts";
import { createAgent, type Payment } from "../../sdk/src/agent/agent.ts";
import type { Scheme } from "../../sdk/src/agent/terms.ts";
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

/** Buys the url once for each body, with nothing but a key and a chain to read; what came back, what was charged, who signed the receipt. */
async function buy(key: Hex, rpcUrl: string, schemes: Scheme[], url: string, bodies: string[]) {
  const payments: Payment[] = [];
  const agent = createAgent({ account: privateKeyToAccount(key), rpcUrl, schemes, onPayment: (payment) => void payments.push(payment) });
  const answers = [];
  for (const body of bodies) {
    const response = await agent.fetch(url, { method: "POST", body, headers: { "content-type": "text/plain" } });
    answers.push({ status: response.status, answer: (await response.json()) as { body: string } });
  }
  await agent.close();
  const paid = payments.map(({ charged, transaction, channelId, receipt }) => ({ charged: charged.toString(), transaction, channelId, receipt }));
  return { answers, paid, spent: (await agent.spent()).toString() };
}

export const tallystick = { buy, signVoucher, checkReceipt, hashes };
export type PageCode = typeof tallystick;
Object.assign(globalThis, { tallystick });
