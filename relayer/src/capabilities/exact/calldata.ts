// The transfer as the token is called with it, alone or many through Multicall3.
import { compactSignatureToSignature, concat, encodeFunctionData, numberToHex, parseAbi, size, type Address, type Hex } from "viem";
import { writeHex, writeUint } from "../../crypto/typed-hash.ts";
import type { Authorization } from "./types.ts";

/** USDC 2.2: contract wallets. */
const transferBytesAbi = parseAbi(["function transferWithAuthorization(address from, address to, uint256 value, uint256 validAfter, uint256 validBefore, bytes32 nonce, bytes signature)"]);

/** transferWithAuthorization(address,address,uint256,uint256,uint256,bytes32,uint8,bytes32,bytes32) */
const TRANSFER_SELECTOR = 0xe3ee160e;
/** Selector and nine words. */
export const PLAIN_CALL_BYTES = 4 + 9 * 32;
/** Where these words begin in it. */
export const PAYER_AT = 4;
export const VALUE_AT = 4 + 2 * 32;
export const NONCE_AT = 4 + 5 * 32;

/** The transfer of a key's signature; undefined when it is none. */
export function plainCall({ from, to, value, validAfter, validBefore, nonce, signature }: Authorization): Buffer | undefined {
  const parts = plainSignature(signature);
  if (parts === undefined) return undefined;
  const call = Buffer.alloc(PLAIN_CALL_BYTES);
  call.writeUInt32BE(TRANSFER_SELECTOR, 0);
  writeHex(call, PAYER_AT + 12, 20, from);
  writeHex(call, 48, 20, to);
  writeUint(call, VALUE_AT, value);
  writeUint(call, 100, validAfter);
  writeUint(call, 132, validBefore);
  writeHex(call, NONCE_AT, 32, nonce);
  call[227] = parts.v;
  writeHex(call, 228, 32, parts.r);
  writeHex(call, 260, 32, parts.s);
  return call;
}

export function transferCalldata(authorization: Authorization): Hex {
  const plain = plainCall(authorization);
  if (plain !== undefined) return `0x${plain.toString("hex")}`;
  const { from, to, value, validAfter, validBefore, nonce, signature } = authorization;
  return encodeFunctionData({ abi: transferBytesAbi, args: [from, to, value, validAfter, validBefore, nonce, signature] });
}

/** The three parts of a key's signature, whatever its spelling (65 bytes, or the 64 of ERC-2098); undefined for a contract wallet's. */
export function plainSignature(signature: Hex): { v: number; r: Hex; s: Hex } | undefined {
  const bytes = size(signature);
  if (bytes !== 65 && bytes !== 64) return undefined;
  const r: Hex = `0x${signature.slice(2, 66)}`;
  if (bytes === 64) {
    const { s, yParity } = compactSignatureToSignature({ r, yParityAndS: `0x${signature.slice(66)}` });
    return { v: 27 + yParity!, r, s };
  }
  const v = V_OF[signature.slice(130).toLowerCase()];
  return v === undefined ? undefined : { v, r, s: `0x${signature.slice(66, 130)}` }; // else 65 bytes that only their wallet understands
}
const V_OF: Partial<Record<string, number>> = { "00": 27, "01": 28, "1b": 27, "1c": 28 };

/** aggregate3((address target, bool allowFailure, bytes callData)[]) */
const AGGREGATE3: Hex = "0x82ad56cb";
const word = (value: number): Hex => numberToHex(value, { size: 32 });

/** Many plain transfers in one call of Multicall3; none of them undoes another. */
export function aggregateCalldata(token: Address, calls: readonly Buffer[]): Hex {
  // A tuple: token, true, 0x60, the bytes' length, the bytes padded to words.
  const padded = Math.ceil(PLAIN_CALL_BYTES / 32) * 32;
  const stride = 4 * 32 + padded;
  const tuples = calls.map((call) => {
    const tuple = Buffer.alloc(stride);
    writeHex(tuple, 12, 20, token);
    tuple[63] = 1;
    tuple[95] = 0x60;
    tuple.writeUInt32BE(call.length, 124);
    call.copy(tuple, 128);
    return tuple;
  });
  const offsets = calls.map((_, index) => word(32 * calls.length + stride * index));
  return concat([AGGREGATE3, word(32), word(calls.length), ...offsets, `0x${Buffer.concat(tuples).toString("hex")}`]);
}
