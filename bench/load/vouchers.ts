// Vouchers in numbers, signed by native secp256k1 before any clock starts: hashes made by hand, checked once against the SDK's.
import { createRequire } from "node:module";
import { concat, domainSeparator, keccak256, numberToHex, type Hex } from "viem";
import { BASE_SEPOLIA, SESSION_CHANNELS } from "../../sdk/src/constants.ts";
import { sessionChannelsDomain, voucherDigest, voucherTypes } from "../../sdk/src/typed-data.ts";
import type { LoadChannel } from "./job.ts";

const { ecdsaSign } = createRequire(import.meta.url)("secp256k1/bindings") as { ecdsaSign(digest: Uint8Array, key: Uint8Array): { signature: Uint8Array; recid: number } };

const domain = sessionChannelsDomain(BASE_SEPOLIA.chainId, SESSION_CHANNELS);
const separator = domainSeparator({ domain });
const voucherTypehash = keccak256(Buffer.from(`Voucher(${voucherTypes.Voucher.map(({ name, type }) => `${type} ${name}`).join(",")})`));

function digestOf(channelId: Hex, ceiling: bigint): Uint8Array {
  const struct = keccak256(concat([voucherTypehash, channelId, numberToHex(ceiling, { size: 32 })]));
  return keccak256(concat(["0x1901", separator, struct]), "bytes");
}

/** 65 bytes over the voucher of that ceiling. */
export function signVoucher({ channelId, key }: LoadChannel, ceiling: bigint): Hex {
  const { signature, recid } = ecdsaSign(digestOf(channelId, ceiling), Buffer.from(key.slice(2), "hex"));
  return `0x${Buffer.from(signature).toString("hex")}${(27 + recid).toString(16)}`;
}

/** @throws when the digests made here are not the SDK's. */
export function checkDigests({ channelId }: LoadChannel): void {
  const ours = `0x${Buffer.from(digestOf(channelId, 123_456n)).toString("hex")}`;
  if (ours !== voucherDigest(domain, channelId, 123_456n)) throw new Error("the benchmark's voucher digest is not the SDK's");
}
