// The receiverAuthorizer keys. What such a key can do: claim any voucher of its channels, and refund a channel's
// unclaimed balance to the payer, which would take a provider's unclaimed income. So it never leaves this interface,
// signs only the messages below, and the service that asks for a refund never lets it fall below what is charged.
//
// Rotation: new channels are opened under the active key (the one the 402 advertises); retired keys stay in the ring until
// their last channel is settled. A KMS fits behind `AuthorizerSigner`.
import { hexToBytes, type Address, type Hex } from "viem";
import { privateKeyToAccount } from "viem/accounts";
import type { AuditExport, AuditSeal } from "../../../sdk/src/audit/chain.ts";
import type { Receipt } from "../../../sdk/src/receipt.ts";
import {
  auditExportTypes, auditSealTypes, claimBatchTypes, packedClaimTypes, refundTypes, x402OfferDomain, x402OfferTypes, x402ReceiptDomain, x402ReceiptTypes,
  type AuditDomain, type ReceiptDomain, type SessionChannelsDomain,
} from "../../../sdk/src/typed-data.ts";
import { messageHash, type NegotiationDomain, type Offer } from "../../../sdk/src/negotiation/messages.ts";
import { concessionDigest, type DisputeEvaluatorDomain } from "../../../sdk/src/job-messages.ts";
import { TallystickError } from "../../../sdk/src/errors.ts";
import { receiptDigest } from "../crypto/receipt-digest.ts";
import { signDigest } from "../crypto/secp256k1.ts";
import { prepare, preparedByDomain } from "../crypto/typed-hash.ts";

export type PackedClaimMessage = {
  receiver: Address;
  receiverAuthorizer: Address;
  token: Address;
  withdrawDelay: number;
  receiptsRoot: Hex;
  rows: Hex;
};
export type ClaimEntry = { channelId: Hex; maxClaimableAmount: bigint; totalClaimed: bigint };

/** x402's offer and receipt (extension offer-receipt); validUntil and issuedAt are unix seconds. */
export type X402Offer = { version: number; resourceUrl: string; scheme: string; network: string; asset: string; payTo: string; amount: string; validUntil: number };
export type X402Receipt = { version: number; network: string; resourceUrl: string; payer: string; issuedAt: number; transaction: string };

export type AuthorizerSigner = {
  address: Address;
  signPackedClaim(domain: SessionChannelsDomain, message: PackedClaimMessage): Promise<Hex>;
  signClaimBatch(domain: SessionChannelsDomain, claims: ClaimEntry[]): Promise<Hex>;
  signRefund(domain: SessionChannelsDomain, message: { channelId: Hex; nonce: bigint; amount: bigint }): Promise<Hex>;
  /** Accepts a deliverable in the name of a client that asked for automatic release: a Concession of DisputeEvaluator. */
  signConcession(domain: DisputeEvaluatorDomain, concession: Parameters<typeof concessionDigest>[1]): Promise<Hex>;
  /** What follows moves no money. The same message always gets the same signature: a replayed answer has the same receipt. */
  signReceipt(domain: ReceiptDomain, receipt: Receipt): Promise<Hex>;
  /** An offer that a provider's price policy lets this key make. */
  signOffer(domain: NegotiationDomain, offer: Offer): Promise<Hex>;
  signX402Offer(offer: X402Offer): Promise<Hex>;
  signX402Receipt(receipt: X402Receipt): Promise<Hex>;
  signAuditSeal(domain: AuditDomain, seal: AuditSeal): Promise<Hex>;
  signAuditExport(domain: AuditDomain, file: AuditExport): Promise<Hex>;
};

export type Keyring = {
  /** Advertised in every 402. */
  active: Address;
  has(authorizer: Address): boolean;
  /** @throws TallystickError `authorizer_unknown` for a key that is not in the ring. */
  signerFor(authorizer: Address): AuthorizerSigner;
};

/** A keyring over private keys held in memory; the first is active. */
export function keyringFromPrivateKeys(keys: readonly Hex[]): Keyring {
  const signers = new Map(keys.map(localSigner).map((signer) => [lower(signer.address), signer]));
  const [first] = signers.values();
  if (first === undefined) throw new TallystickError({ code: "config_invalid", status: 500, retry: "never", detail: "The keyring needs at least one key." });
  return {
    active: first.address,
    has: (authorizer) => signers.has(lower(authorizer)),
    signerFor(authorizer) {
      const signer = signers.get(lower(authorizer));
      if (signer !== undefined) return signer;
      throw new TallystickError({ code: "authorizer_unknown", status: 500, retry: "never", detail: `No key for receiverAuthorizer ${authorizer}.` });
    },
  };
}

const lower = (address: Address): string => address.toLowerCase();

const hashPackedClaim = preparedByDomain(packedClaimTypes, "PackedClaim");
const hashClaimBatch = preparedByDomain(claimBatchTypes, "ClaimBatch");
const hashRefund = preparedByDomain(refundTypes, "Refund");
const hashX402Offer = prepare(x402OfferDomain, x402OfferTypes, "Offer");
const hashX402Receipt = prepare(x402ReceiptDomain, x402ReceiptTypes, "Receipt");
const hashAuditSeal = preparedByDomain(auditSealTypes, "AuditSeal");
const hashAuditExport = preparedByDomain(auditExportTypes, "AuditExport");

function localSigner(key: Hex): AuthorizerSigner {
  const bytes = hexToBytes(key);
  return {
    address: privateKeyToAccount(key).address,
    signPackedClaim: async (domain, message) => signDigest(bytes, hashPackedClaim(domain)(message)),
    signClaimBatch: async (domain, claims) => signDigest(bytes, hashClaimBatch(domain)({ claims })),
    signRefund: async (domain, message) => signDigest(bytes, hashRefund(domain)(message)),
    signConcession: async (domain, concession) => signDigest(bytes, hexToBytes(concessionDigest(domain, concession))),
    signReceipt: async (domain, receipt) => signDigest(bytes, receiptDigest(domain, receipt)),
    signOffer: async (domain, offer) => signDigest(bytes, hexToBytes(messageHash(domain, "Offer", offer))),
    signX402Offer: async (offer) => signDigest(bytes, hashX402Offer(offer)),
    signX402Receipt: async (receipt) => signDigest(bytes, hashX402Receipt(receipt)),
    signAuditSeal: async (domain, seal) => signDigest(bytes, hashAuditSeal(domain)(seal)),
    signAuditExport: async (domain, file) => signDigest(bytes, hashAuditExport(domain)(file)),
  };
}
