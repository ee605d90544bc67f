// What of the cryptography runs in slower JavaScript on this machine. Never silent: the relayer logs each line and a metric shows it.
import { isWasm } from "./keccak.ts";
import { isNative } from "./secp256k1.ts";

export const FALLBACKS: readonly string[] = [
  ...(isNative ? [] : ["native secp256k1 is missing or wrong: signatures are made and checked by slower JavaScript"]),
  ...(isWasm ? [] : ["WebAssembly keccak is missing or wrong: hashes are made by slower JavaScript"]),
];
