// Channel ids and voucher digests with everything prepared: the same hashes as sdk/src/typed-data.ts (a test compares them),
// without encoding the types again for every request.
import type { Address, Hex } from "viem";
import { channelConfigTypes, voucherTypes, type ChannelConfig, type SessionChannelsDomain } from "../../../sdk/src/typed-data.ts";
import { isSignedBy, recoverSigner } from "./secp256k1.ts";
import { prepare } from "./typed-hash.ts";

export type Hasher = {
  channelId(config: ChannelConfig): Hex;
  /** @throws RangeError when the ceiling does not fit in 128 bits. */
  voucherDigest(channelId: Hex, ceiling: bigint): Uint8Array;
  /** Who signed the voucher, or undefined when the contract would refuse it. */
  voucherSigner(channelId: Hex, ceiling: bigint, signature: Hex): Promise<Address | undefined>;
  /** Whether that is `authorizer`; cheaper than comparing addresses. */
  isVoucherOf(authorizer: Address, channelId: Hex, ceiling: bigint, signature: Hex): Promise<boolean>;
};

const MAX_CEILING = (1n << 128n) - 1n;

export function createHasher(domain: SessionChannelsDomain): Hasher {
  const hashConfig = prepare(domain, channelConfigTypes, "ChannelConfig");
  const hashVoucher = prepare(domain, voucherTypes, "Voucher");
  // The config of a channel comes with every request and is one frozen object then (wire-config.ts). Any other may still change.
  const known = new WeakMap<ChannelConfig, Hex>();
  const computeId = (config: ChannelConfig): Hex => `0x${Buffer.from(hashConfig(config)).toString("hex")}`;
  const voucherDigest = (channelId: Hex, maxClaimableAmount: bigint) => hashVoucher({ channelId, maxClaimableAmount });
  const possible = (ceiling: bigint) => ceiling >= 0n && ceiling <= MAX_CEILING;
  return {
    voucherDigest,
    channelId(config) {
      if (!Object.isFrozen(config)) return computeId(config);
      let id = known.get(config);
      if (id === undefined) known.set(config, (id = computeId(config)));
      return id;
    },
    voucherSigner: async (channelId, ceiling, signature) => (possible(ceiling) ? recoverSigner(voucherDigest(channelId, ceiling), signature) : undefined),
    isVoucherOf: async (authorizer, channelId, ceiling, signature) => possible(ceiling) && isSignedBy(voucherDigest(channelId, ceiling), signature, authorizer),
  };
}
