// 32-byte words of the ABI, written into a buffer that is zero where nothing is written.
import type { Address, Hex } from "viem";

const WORD = 32;
const LOW_64 = (1n << 64n) - 1n;
const TOO_LARGE = 1n << 256n;

export function writeAddress(into: Buffer, at: number, address: Address): void {
  if (address.length !== 42 || into.write(address.slice(2), at + 12, 20, "hex") !== 20) throw new RangeError(`no address: ${address}`);
}

export function writeBytes32(into: Buffer, at: number, value: Hex): void {
  if (value.length !== 66 || into.write(value.slice(2), at, WORD, "hex") !== WORD) throw new RangeError(`not 32 bytes: ${value}`);
}

/** @throws RangeError for what is no uint256. */
export function writeUint(into: Buffer, at: number, value: bigint): void {
  if (value < 0n || value >= TOO_LARGE) throw new RangeError(`no uint256: ${value}`);
  let rest = value;
  for (let part = 3; part >= 0; part--, rest >>= 64n) into.writeBigUInt64BE(rest & LOW_64, at + 8 * part);
}

export function readUint(from: Buffer, at: number): bigint {
  let value = 0n;
  for (let part = 0; part < 4; part++) value = (value << 64n) | from.readBigUInt64BE(at + 8 * part);
  return value;
}
