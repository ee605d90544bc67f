// Buyers for tests: the unmodified stock client, and a hand that makes payments of every shape, also wrong ones.
import { toClientEvmSigner } from "@x402/evm";
import { BatchSettlementEvmScheme } from "@x402/evm/batch-settlement/client";
import { decodePaymentResponseHeader, wrapFetchWithPayment, x402Client } from "@x402/fetch";
import { createPublicClient, encodeAbiParameters, http, keccak256, type Hex, type LocalAccount } from "viem";
import { baseSepolia } from "viem/chains";
import { BASE_SEPOLIA, ERC3009_COLLECTOR, SESSION_CHANNELS } from "../../sdk/src/constants.ts";
import { RECEIPT_EXTENSION } from "../../sdk/src/receipt.ts";
import { channelIdOf, receiveWithAuthorizationTypes, sessionChannelsDomain, voucherTypes, type ChannelConfig } from "../../sdk/src/typed-data.ts";

export const DOMAIN = sessionChannelsDomain(BASE_SEPOLIA.chainId, SESSION_CHANNELS);

export type StockBuyer = { fetch: typeof fetch; scheme: BatchSettlementEvmScheme };

/** The official client with nothing but a key and a chain to read. */
export function stockBuyer(account: LocalAccount, rpcUrl: string, options: Record<string, unknown> = {}): StockBuyer {
  const signer = toClientEvmSigner(account, createPublicClient({ chain: baseSepolia, transport: http(rpcUrl) }));
  const scheme = new BatchSettlementEvmScheme(signer, { ...options, ...(Object.keys(options).length === 0 ? { salt: ZERO_SALT } : {}) });
  const client = new x402Client().register("eip155:84532", scheme);
  return { scheme, fetch: wrapFetchWithPayment(fetch, client) as typeof fetch };
}
const ZERO_SALT: Hex = `0x${"0".repeat(64)}`;

export type Settle = { success: boolean; transaction: string; amount?: string; extra: { chargedAmount: string; paymentId: string; channelState: Record<string, string> } };

export function settleOf(response: Response): Settle {
  return decodePaymentResponseHeader(response.headers.get("payment-response") ?? "") as unknown as Settle;
}

type Accepts = { scheme: string; network: string; amount: string; asset: Hex; payTo: Hex; maxTimeoutSeconds: number; extra: Record<string, unknown> };
export type Required = { x402Version: number; error: string; resource: { url: string }; accepts: [Accepts]; extensions: Record<string, unknown> };

export function requiredOf(response: Response): Required {
  return JSON.parse(Buffer.from(response.headers.get("payment-required") ?? "", "base64").toString()) as Required;
}

export const encodeHeader = (value: unknown) => Buffer.from(JSON.stringify(value)).toString("base64");

/** A buyer by hand: what the stock client does, step by step, with every part open to change. */
export function manualBuyer(account: LocalAccount, url: string, salt: Hex = ZERO_SALT) {
  const terms = async () => requiredOf(await fetch(url));
  const configFor = (required: Required): ChannelConfig => ({
    payer: account.address,
    payerAuthorizer: account.address,
    receiver: required.accepts[0].payTo,
    receiverAuthorizer: required.accepts[0].extra["receiverAuthorizer"] as Hex,
    token: required.accepts[0].asset,
    withdrawDelay: required.accepts[0].extra["withdrawDelay"] as number,
    salt,
  });
  const voucher = async (channelId: Hex, ceiling: bigint, domain: Parameters<typeof channelIdOf>[0] = DOMAIN) => ({
    channelId,
    maxClaimableAmount: ceiling.toString(),
    signature: await account.signTypedData({ domain, types: voucherTypes, primaryType: "Voucher", message: { channelId, maxClaimableAmount: ceiling } }),
  });
  const authorization = async (channelId: Hex, amount: bigint, change: { validAfter?: bigint; validBefore?: bigint; salt?: Hex } = {}) => {
    const { validAfter = 0n, validBefore = BigInt(Math.floor(Date.now() / 1000) + 600), salt: nonceSalt = keccak256(`0x${crypto.randomUUID().replaceAll("-", "")}`) } = change;
    const nonce = keccak256(encodeAbiParameters([{ type: "bytes32" }, { type: "bytes32" }], [channelId, nonceSalt]));
    const { name, version, address } = BASE_SEPOLIA.usdc;
    const signature = await account.signTypedData({
      domain: { name, version, chainId: BASE_SEPOLIA.chainId, verifyingContract: address },
      types: receiveWithAuthorizationTypes,
      primaryType: "ReceiveWithAuthorization",
      message: { from: account.address, to: ERC3009_COLLECTOR, value: amount, validAfter, validBefore, nonce },
    });
    return { erc3009Authorization: { validAfter: validAfter.toString(), validBefore: validBefore.toString(), salt: nonceSalt, signature } };
  };
  const envelope = (required: Required, payload: Record<string, unknown>) => ({ x402Version: 2, accepted: required.accepts[0], payload, resource: required.resource, extensions: { [RECEIPT_EXTENSION]: {} } as Record<string, unknown> });
  return {
    account,
    terms,
    configFor,
    voucher,
    authorization,
    envelope,
    channelId: (required: Required) => channelIdOf(DOMAIN, configFor(required)),
    /** A complete voucher payment. */
    async voucherPayment(required: Required, ceiling: bigint) {
      const config = configFor(required);
      return envelope(required, { type: "voucher", channelConfig: config, voucher: await voucher(channelIdOf(DOMAIN, config), ceiling) });
    },
    /** A complete first payment or top-up. */
    async depositPayment(required: Required, amount: bigint, ceiling: bigint, change: Parameters<typeof authorization>[2] = {}) {
      const config = configFor(required);
      const channelId = channelIdOf(DOMAIN, config);
      const deposit = { amount: amount.toString(), authorization: await authorization(channelId, amount, change) };
      return envelope(required, { type: "deposit", channelConfig: config, voucher: await voucher(channelId, ceiling), deposit });
    },
    send: (payment: unknown, init: RequestInit = {}, to = url) => fetch(to, { ...init, headers: { ...(init.headers as Record<string, string>), "payment-signature": encodeHeader(payment) } }),
  };
}
