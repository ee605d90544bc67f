// keccak256 over bytes. hash-wasm takes a tenth of the time that viem's JavaScript takes for the sizes a paid call hashes
// (`npm run -s bench -- crypto`), so every hot path uses this one. It is believed only after it has hashed known inputs right;
// the fallback is JavaScript and never silent: `isWasm` feeds the same warning as the native signatures do.
import { createKeccak, type IHasher } from "hash-wasm";
import { keccak256 as keccakInJavaScript } from "viem";

export type Keccak = (bytes: Uint8Array) => Uint8Array;

const wasm = await loadWasm();
export const isWasm = wasm !== undefined;

/** 32 new bytes. */
export const keccak: Keccak = wasm ?? slowKeccak;

export function slowKeccak(bytes: Uint8Array): Uint8Array {
  return keccakInJavaScript(bytes, "bytes");
}

/** Whether a keccak agrees with viem's around every edge of its 136-byte blocks. */
export function hashesRight(candidate: Keccak): boolean {
  return [0, 1, 32, 64, 66, 135, 136, 137, 288, 1000].every((length) => {
    const sample = Uint8Array.from({ length }, (_, i) => (i * 31 + length) & 0xff);
    return Buffer.compare(candidate(sample), slowKeccak(sample)) === 0;
  });
}

async function loadWasm(): Promise<Keccak | undefined> {
  let hasher: IHasher;
  try {
    hasher = await createKeccak(256);
  } catch {
    return undefined; // no WebAssembly on this platform; isWasm tells
  }
  // One instance: every call hashes from init to digest without giving the thread away.
  const candidate: Keccak = (bytes) => hasher.init().update(bytes).digest("binary");
  return hashesRight(candidate) ? candidate : undefined;
}
