// Where keys come from: the environment, a keystore file, or the local world's published accounts. Never an argument.
import { existsSync, readFileSync } from "node:fs";
import { isHex, size, type Hex, type LocalAccount } from "viem";
import { english, mnemonicToAccount, privateKeyToAccount, privateKeyToAddress } from "viem/accounts";
import { usageError, CliError } from "./exit.ts";
import { decryptKey } from "./keystore.ts";
import type { Prompt } from "./prompt.ts";

const BARE_KEY = /^(?:0x)?[0-9a-f]{64}$/i;
const PREFIXED_ID = /^0x[0-9a-f]{64}$/i;
/** Hardhat's published mnemonic: what the local world's accounts are made of. Never a secret, never for a public chain. */
const LOCAL_MNEMONIC = "test test test test test test test test test test test junk";
const NEWCOMER = 9;

/**
 * Refuses what looks like a private key or a mnemonic anywhere in the arguments: the shell's history and the process list
 * keep those. An argument that may be a 32-byte id (a channel's) passes, unless it is the very key in use.
 * @throws CliError `key_in_arguments`; what was given is not in it.
 */
export function refuseKeysIn(args: readonly string[], idsAllowed: boolean, environmentKey: string | undefined): void {
  const own = normalised(environmentKey);
  for (const arg of args) {
    for (const part of [arg, arg.slice(arg.indexOf("=") + 1)]) {
      const bare = BARE_KEY.test(part.trim());
      const isId = idsAllowed && PREFIXED_ID.test(part) && normalised(part) !== own;
      if ((bare && !isId) || isMnemonic(part)) {
        throw usageError(
          "An argument looks like a private key or a mnemonic. It was not used, and is not repeated here.",
          "Arguments stay in the shell's history and show in the process list: treat that key as known to others.\nGive keys through TALLYSTICK_PRIVATE_KEY or a keystore file (tallystick keystore create).",
          "key_in_arguments",
        );
      }
    }
  }
}

function isMnemonic(text: string): boolean {
  const words = text.trim().toLowerCase().split(/\s+/);
  return words.length >= 12 && words.length <= 24 && words.length % 3 === 0 && words.every((word) => english.includes(word));
}

function normalised(key: string | undefined): string | undefined {
  return key?.trim().toLowerCase().replace(/^0x/, "");
}

/** Reads a key as people write it. @throws CliError `key_invalid`, without the key. */
export function readKey(text: string, from: string): Hex {
  const hex = `0x${normalised(text)}`;
  if (isHex(hex) && size(hex) === 32 && hex.length === 66 && onCurve(hex)) return hex;
  throw usageError(`${from} must be a private key: 32 bytes in hex, of the curve secp256k1.`, undefined, "key_invalid");
}

/** Zero and what is past the curve's order are no keys. The library's error is dropped: it may hold what it was given. */
function onCurve(hex: Hex): boolean {
  try {
    return privateKeyToAddress(hex) !== undefined;
  } catch {
    return false;
  }
}

export type KeySources = {
  privateKey: string | undefined;
  /** Keystore file: given, or the usual one. */
  keystore: { path: string; given: boolean };
  password: string | undefined;
  prompt: Prompt | undefined;
};

/** The account to sign with. @throws CliError `no_key`, `keystore_locked` and what the files throw. */
export async function accountFrom({ privateKey, keystore, password, prompt }: KeySources): Promise<LocalAccount> {
  if (privateKey !== undefined && privateKey !== "") return privateKeyToAccount(readKey(privateKey, "TALLYSTICK_PRIVATE_KEY"));
  if (!keystore.given && !existsSync(keystore.path)) {
    throw usageError(
      "There is no key to sign with.",
      `Set TALLYSTICK_PRIVATE_KEY, or make a keystore file: tallystick keystore create (${keystore.path}, or TALLYSTICK_KEYSTORE).\nIn the local world (npm start) add --local.`,
      "no_key",
    );
  }
  const passphrase = password ?? (await prompt?.(`Passphrase of ${keystore.path}: `));
  if (passphrase === undefined) {
    throw usageError(`${keystore.path} is locked and there is no terminal to ask on.`, "Set TALLYSTICK_KEYSTORE_PASSWORD.", "keystore_locked");
  }
  return privateKeyToAccount(await decryptKey(readKeystore(keystore.path), passphrase));
}

export function readKeystore(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (cause) {
    throw new CliError({ code: "keystore_unreadable", exit: "usage", detail: `${path} cannot be read.`, hint: "TALLYSTICK_KEYSTORE names the file; tallystick keystore create makes one.", cause });
  }
}

/** Development account n, for a chain on this machine only; the caller has checked that it is one. */
export function localAccount(text: string | undefined): LocalAccount {
  const addressIndex = text === undefined ? NEWCOMER : /^1?\d$/.test(text) ? Number(text) : undefined;
  if (addressIndex === undefined) throw usageError("--account must be a whole number from 0 to 19.");
  return mnemonicToAccount(LOCAL_MNEMONIC, { addressIndex });
}
