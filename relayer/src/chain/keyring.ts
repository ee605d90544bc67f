// The receiverAuthorizer keys. What such a key can do: claim any voucher of its channels, and refund a channel's
// unclaimed balance to the payer, which would take a provider's unclaimed income. So it never leaves this interface,
// signs only the two messages below, and the service that asks for a refund never lets it fall below what is charged.
//
// Rotation: new channels are opened under the active key (the one the 402 advertises); retired keys stay in the ring until
// their last channel is settled. A KMS fits behind `AuthorizerSigner`.
import { getAddress, type Address, type Hex } from "viem";
import { privateKeyToAccount } from "viem/accounts";
import { claimBatchTypes, packedClaimTypes, refundTypes, type SessionChannelsDomain } from "../../../sdk/src/typed-data.ts";
import { TallystickError } from "../../../sdk/src/errors.ts";

export type PackedClaimMessage = {
  receiver: Address;
  receiverAuthorizer: Address;
  token: Address;
  withdrawDelay: number;
  receiptsRoot: Hex;
  rows: Hex;
};
export type ClaimEntry = { channelId: Hex; maxClaimableAmount: bigint; totalClaimed: bigint };

export type AuthorizerSigner = {
  address: Address;
  signPackedClaim(domain: SessionChannelsDomain, message: PackedClaimMessage): Promise<Hex>;
  signClaimBatch(domain: SessionChannelsDomain, claims: ClaimEntry[]): Promise<Hex>;
  signRefund(domain: SessionChannelsDomain, message: { channelId: Hex; nonce: bigint; amount: bigint }): Promise<Hex>;
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
  const signers = new Map(keys.map(localSigner).map((signer) => [signer.address, signer]));
  const [active] = signers.keys();
  if (active === undefined) throw new TallystickError({ code: "config_invalid", status: 500, retry: "never", detail: "The keyring needs at least one key." });
  return {
    active,
    has: (authorizer) => signers.has(getAddress(authorizer)),
    signerFor(authorizer) {
      const signer = signers.get(getAddress(authorizer));
      if (signer !== undefined) return signer;
      throw new TallystickError({ code: "authorizer_unknown", status: 500, retry: "never", detail: `No key for receiverAuthorizer ${authorizer}.` });
    },
  };
}

function localSigner(key: Hex): AuthorizerSigner {
  const account = privateKeyToAccount(key);
  return {
    address: account.address,
    signPackedClaim: (domain, message) => account.signTypedData({ domain, types: packedClaimTypes, primaryType: "PackedClaim", message }),
    signClaimBatch: (domain, claims) => account.signTypedData({ domain, types: claimBatchTypes, primaryType: "ClaimBatch", message: { claims } }),
    signRefund: (domain, message) => account.signTypedData({ domain, types: refundTypes, primaryType: "Refund", message }),
  };
}
