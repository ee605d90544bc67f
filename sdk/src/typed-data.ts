// EIP-712 types of SessionChannels: the one home of these types. A contract test asserts every typehash and digest
// against this file; the first five are the published x402 `batch-settlement` types.
import { hashTypedData, type Address, type Hex, type TypedDataDomain } from "viem";

export const channelConfigTypes = {
  ChannelConfig: [
    { name: "payer", type: "address" },
    { name: "payerAuthorizer", type: "address" },
    { name: "receiver", type: "address" },
    { name: "receiverAuthorizer", type: "address" },
    { name: "token", type: "address" },
    { name: "withdrawDelay", type: "uint40" },
    { name: "salt", type: "bytes32" },
  ],
} as const;

export const voucherTypes = {
  Voucher: [
    { name: "channelId", type: "bytes32" },
    { name: "maxClaimableAmount", type: "uint128" },
  ],
} as const;

export const refundTypes = {
  Refund: [
    { name: "channelId", type: "bytes32" },
    { name: "nonce", type: "uint256" },
    { name: "amount", type: "uint128" },
  ],
} as const;

export const claimBatchTypes = {
  ClaimBatch: [{ name: "claims", type: "ClaimEntry[]" }],
  ClaimEntry: [
    { name: "channelId", type: "bytes32" },
    { name: "maxClaimableAmount", type: "uint128" },
    { name: "totalClaimed", type: "uint128" },
  ],
} as const;

/** Tallystick's addition: what a receiverAuthorizer signs so that anyone may send a packed group. */
export const packedClaimTypes = {
  PackedClaim: [
    { name: "receiver", type: "address" },
    { name: "receiverAuthorizer", type: "address" },
    { name: "token", type: "address" },
    { name: "withdrawDelay", type: "uint40" },
    { name: "receiptsRoot", type: "bytes32" },
    { name: "rows", type: "bytes" },
  ],
} as const;

/** Tallystick's addition: a payer's consent that anyone starts the withdrawal of its channel, of at most `amount`. */
export const withdrawRequestTypes = {
  WithdrawRequest: [
    { name: "channelId", type: "bytes32" },
    { name: "amount", type: "uint128" },
    { name: "deadline", type: "uint256" },
  ],
} as const;

/** EIP-3009, as USDC implements it. */
export const receiveWithAuthorizationTypes = {
  ReceiveWithAuthorization: [
    { name: "from", type: "address" },
    { name: "to", type: "address" },
    { name: "value", type: "uint256" },
    { name: "validAfter", type: "uint256" },
    { name: "validBefore", type: "uint256" },
    { name: "nonce", type: "bytes32" },
  ],
} as const;

/** EIP-3009, what a buyer in the x402 scheme `exact` signs. */
export const transferWithAuthorizationTypes = { TransferWithAuthorization: receiveWithAuthorizationTypes.ReceiveWithAuthorization } as const;

/** Tallystick's addition: what a payer signs so that AllowanceDepositCollector may use its allowance for one deposit. */
export const depositAuthorizationTypes = {
  DepositAuthorization: [
    { name: "channelId", type: "bytes32" },
    { name: "token", type: "address" },
    { name: "amount", type: "uint256" },
    { name: "nonce", type: "uint256" },
    { name: "deadline", type: "uint256" },
  ],
} as const;

const PAID_CALL = [
  { name: "paymentId", type: "string" },
  { name: "scheme", type: "string" },
  { name: "resource", type: "string" },
  { name: "payer", type: "address" },
  { name: "receiver", type: "address" },
  { name: "token", type: "address" },
  { name: "channelId", type: "bytes32" },
  { name: "requestNumber", type: "uint64" },
  { name: "inputHash", type: "bytes32" },
  { name: "outputHash", type: "bytes32" },
  { name: "startedAtMs", type: "uint64" },
  { name: "endedAtMs", type: "uint64" },
  { name: "latencyMs", type: "uint64" },
  { name: "amount", type: "uint128" },
  { name: "cumulative", type: "uint128" },
] as const;

/**
 * Tallystick's receipt: the seller's proof of one delivered answer. Amounts are atomic token units, times unix milliseconds;
 * `cumulative` is the channel's charge after it. Without a channel, channelId is zero, requestNumber 1 and cumulative the amount.
 * `offer`, `mandate`, `session`: what was agreed before, zero where nothing was. slaMet: 0 none was agreed, 1 met, 2 missed.
 */
export const receiptTypes = {
  Receipt: [
    ...PAID_CALL,
    { name: "offer", type: "bytes32" },
    { name: "mandate", type: "bytes32" },
    { name: "session", type: "bytes32" },
    { name: "slaMet", type: "uint8" },
  ],
} as const;

/** Receipts of before agreements were in them; what was signed then stays as it was. */
export const firstReceiptTypes = { Receipt: PAID_CALL } as const;

/** What a buyer signs when it has checked a receipt: `receiptHash` is the receipt's typed-data digest. */
export const receiptAckTypes = { ReceiptAck: [{ name: "receiptHash", type: "bytes32" }] } as const;

/**
 * The relayer's word for a batch of audit entries (sdk/src/audit/chain.ts says how each field is made): `epoch` names the chain, `previous`
 * is the digest of the seal before, or the epoch itself; `root` is over the hashes of `entries` entries from `firstSeq`, `head` the last of them.
 */
export const auditSealTypes = {
  AuditSeal: [
    { name: "epoch", type: "bytes32" },
    { name: "number", type: "uint64" },
    { name: "firstSeq", type: "uint64" },
    { name: "entries", type: "uint64" },
    { name: "previous", type: "bytes32" },
    { name: "root", type: "bytes32" },
    { name: "head", type: "bytes32" },
    { name: "sealedAtMs", type: "uint64" },
  ],
} as const;

/** The relayer's word for one export: sha-256 of every byte before the line that carries it. */
export const auditExportTypes = {
  AuditExport: [
    { name: "digest", type: "bytes32" },
    { name: "lines", type: "uint64" },
    { name: "cursor", type: "string" },
    { name: "exportedAtMs", type: "uint64" },
  ],
} as const;

/** x402's own offer and receipt (extension offer-receipt), domains x402OfferDomain and x402ReceiptDomain. */
export const x402OfferTypes = {
  Offer: [
    { name: "version", type: "uint256" },
    { name: "resourceUrl", type: "string" },
    { name: "scheme", type: "string" },
    { name: "network", type: "string" },
    { name: "asset", type: "string" },
    { name: "payTo", type: "string" },
    { name: "amount", type: "string" },
    { name: "validUntil", type: "uint256" },
  ],
} as const;
export const x402ReceiptTypes = {
  Receipt: [
    { name: "version", type: "uint256" },
    { name: "network", type: "string" },
    { name: "resourceUrl", type: "string" },
    { name: "payer", type: "string" },
    { name: "issuedAt", type: "uint256" },
    { name: "transaction", type: "string" },
  ],
} as const;
export const x402OfferDomain = { name: "x402 offer", version: "1", chainId: 1 } as const;
export const x402ReceiptDomain = { name: "x402 receipt", version: "1", chainId: 1 } as const;

/** Immutable terms of a channel; amounts are atomic token units, withdrawDelay is seconds. */
export type ChannelConfig = {
  payer: Address;
  payerAuthorizer: Address;
  receiver: Address;
  receiverAuthorizer: Address;
  token: Address;
  withdrawDelay: number;
  salt: Hex;
};

/** Domain of every SessionChannels signature; it binds chain and contract. */
export function sessionChannelsDomain(chainId: number, verifyingContract: Address) {
  return { name: "x402 Batch Settlement", version: "1", chainId, verifyingContract } as const satisfies TypedDataDomain;
}

/** Domain of DepositAuthorization; `verifyingContract` is the AllowanceDepositCollector. */
export function allowanceCollectorDomain(chainId: number, verifyingContract: Address) {
  return {
    name: "Tallystick Allowance Collector",
    version: "1",
    chainId,
    verifyingContract,
  } as const satisfies TypedDataDomain;
}

/** Domain of Receipt and ReceiptAck; `verifyingContract` is the SessionChannels that the seller is paid through. */
export function receiptDomain(chainId: number, verifyingContract: Address) {
  return { name: "Tallystick Receipt", version: "1", chainId, verifyingContract } as const satisfies TypedDataDomain;
}

/** Domain of AuditSeal and AuditExport; `verifyingContract` is the SessionChannels that the relayer settles through. */
export function auditDomain(chainId: number, verifyingContract: Address) {
  return { name: "Tallystick Audit", version: "1", chainId, verifyingContract } as const satisfies TypedDataDomain;
}

export type AuditDomain = ReturnType<typeof auditDomain>;
export type ReceiptDomain = ReturnType<typeof receiptDomain>;
export type SessionChannelsDomain = ReturnType<typeof sessionChannelsDomain>;

/** The channel id: the typed-data hash of its config. */
export function channelIdOf(domain: SessionChannelsDomain, config: ChannelConfig): Hex {
  return hashTypedData({ domain, types: channelConfigTypes, primaryType: "ChannelConfig", message: config });
}

/** What a payer signs: up to `maxClaimableAmount`, cumulative, atomic units. */
export function voucherDigest(domain: SessionChannelsDomain, channelId: Hex, maxClaimableAmount: bigint): Hex {
  return hashTypedData({ domain, types: voucherTypes, primaryType: "Voucher", message: { channelId, maxClaimableAmount } });
}
