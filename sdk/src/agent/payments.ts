// The payments an agent signs: vouchers, deposits into a channel, refunds, and `exact` authorisations. Each is what the official client
// sends, with the additions our relayer announces.
import { encodeAbiParameters, keccak256, toHex, zeroHash, type Address, type Hex, type LocalAccount } from "viem";
import { ERC3009_COLLECTOR } from "../constants.ts";
import { RECEIPT_EXTENSION } from "../receipt.ts";
import { channelIdOf, receiveWithAuthorizationTypes, sessionChannelsDomain, transferWithAuthorizationTypes, voucherTypes, type ChannelConfig } from "../typed-data.ts";
import { newPaymentId, type Terms } from "./terms.ts";
import { encodeHeader, objectIn } from "./wire.ts";

/** viem's local account, or anything that signs typed data for an address. */
export type Signer = Pick<LocalAccount, "address" | "signTypedData">;

export type VoucherWire = { channelId: Hex; maxClaimableAmount: string; signature: Hex };

export async function signVoucher(signer: Signer, chainId: number, contract: Address, channelId: Hex, ceiling: bigint): Promise<VoucherWire> {
  const signature = await signer.signTypedData({
    domain: sessionChannelsDomain(chainId, contract), types: voucherTypes, primaryType: "Voucher", message: { channelId, maxClaimableAmount: ceiling },
  });
  return { channelId, maxClaimableAmount: ceiling.toString(), signature };
}

/** The channel of these terms for a payer. The salt tells several channels with the same terms apart. */
export function channelConfig(payer: Address, authorizer: Address, terms: Terms, salt: Hex = zeroHash): ChannelConfig {
  if (terms.receiverAuthorizer === undefined) throw new TypeError("these terms open no channel");
  return { payer, payerAuthorizer: authorizer, receiver: terms.payTo, receiverAuthorizer: terms.receiverAuthorizer, token: terms.token.address, withdrawDelay: terms.withdrawDelayS, salt };
}

export const idOf = (chainId: number, contract: Address, config: ChannelConfig): Hex => channelIdOf(sessionChannelsDomain(chainId, contract), config);

/** How long a deposit's authorisation stands, seconds. */
const DEPOSIT_TTL_S = 600;

/** A deposit of `amount`, as its payload says it; its nonce binds it to this channel. */
export async function signDeposit(payer: Signer, terms: Terms, channelId: Hex, amount: bigint): Promise<Record<string, unknown>> {
  const salt = toHex(crypto.getRandomValues(new Uint8Array(32)));
  const collector = terms.collector ?? ERC3009_COLLECTOR;
  const validBefore = BigInt(Math.floor(Date.now() / 1000) + DEPOSIT_TTL_S);
  const nonce = keccak256(encodeAbiParameters([{ type: "bytes32" }, { type: "bytes32" }], [channelId, salt]));
  const { address: verifyingContract, name, version } = terms.token;
  const signature = await payer.signTypedData({
    domain: { name, version, chainId: terms.chainId, verifyingContract },
    types: receiveWithAuthorizationTypes, primaryType: "ReceiveWithAuthorization",
    message: { from: payer.address, to: collector, value: amount, validAfter: 0n, validBefore, nonce },
  });
  return {
    amount: amount.toString(),
    authorization: { erc3009Authorization: { validAfter: "0", validBefore: validBefore.toString(), salt, signature } },
    ...(terms.collector === undefined ? {} : { collector }),
  };
}

/** `exact`: the price, to the receiver, once, until `maxTimeoutSeconds` from now. */
export async function signExact(payer: Signer, terms: Terms): Promise<{ payload: Record<string, unknown>; validBeforeS: number }> {
  const validBeforeS = Math.floor(Date.now() / 1000 + terms.maxTimeoutS);
  const authorization = { from: payer.address, to: terms.payTo, value: terms.price, validAfter: 0n, validBefore: BigInt(validBeforeS), nonce: toHex(crypto.getRandomValues(new Uint8Array(32))) };
  const { address: verifyingContract, name, version } = terms.token;
  const signature = await payer.signTypedData({
    domain: { name, version, chainId: terms.chainId, verifyingContract },
    types: transferWithAuthorizationTypes, primaryType: "TransferWithAuthorization", message: authorization,
  });
  const wire = { ...authorization, value: String(authorization.value), validAfter: "0", validBefore: String(validBeforeS) };
  return { payload: { signature, authorization: wire }, validBeforeS };
}

/**
 * The PAYMENT-SIGNATURE header: the terms copied verbatim, a label of our own, and an identifier that makes the payment safe to repeat
 * where the seller knows them (extension payment-identifier).
 */
export function paymentHeader(terms: Terms, payload: Record<string, unknown>, resourceUrl: string, identifier: string): string {
  const extra = terms.accepts.extra;
  const accepted = extra?.["paymentId"] === undefined ? terms.accepts : { ...terms.accepts, extra: { ...extra, paymentId: newPaymentId() } };
  return encodeHeader({ x402Version: 2, resource: { ...terms.resource, url: resourceUrl }, accepted, payload, extensions: echoed(terms.extensions, identifier) });
}

/** What the seller announced, with our identifier in its place, and the wish for a receipt. Signed offers belong to the first request and are not carried around. */
function echoed(announced: Record<string, unknown>, identifier: string): Record<string, unknown> {
  const { "payment-identifier": known, "offer-receipt": _offers, ...rest } = announced as Record<string, Record<string, unknown>>;
  const wishes = { ...rest, [RECEIPT_EXTENSION]: {} };
  if (known === undefined) return wishes;
  return { ...wishes, "payment-identifier": { ...known, info: { ...objectIn(known, "info"), id: identifier } } };
}

/** 32 random hex digits, as the extension payment-identifier takes them. */
export function newIdentifier(): string {
  return toHex(crypto.getRandomValues(new Uint8Array(16))).slice(2);
}
