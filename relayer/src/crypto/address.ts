// EIP-55 checksums with the fast keccak: the same text as viem's getAddress, whose JavaScript hash costs ten times as much.
import type { Address } from "viem";
import { keccak } from "./keccak.ts";

/** Of 20 bytes. */
export function addressOf(bytes: Uint8Array): Address {
  return checksummed(Buffer.from(bytes).toString("hex"));
}

/** Of 0x and 40 hex digits in any case, which the caller has checked; a wrong checksum is mended. */
export function toAddress(text: string): Address {
  return checksummed(text.slice(2).toLowerCase());
}

function checksummed(digits: string): Address {
  const hash = keccak(Buffer.from(digits, "latin1"));
  let address = "0x";
  for (let i = 0; i < 40; i++) {
    const nibble = i % 2 === 0 ? hash[i >> 1]! >> 4 : hash[i >> 1]! & 0x0f;
    address += nibble >= 8 ? digits[i]!.toUpperCase() : digits[i]!;
  }
  return address as Address;
}
