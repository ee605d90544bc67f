// Web3 Secret Storage version 3: a private key encrypted with a passphrase, as every Ethereum wallet reads it.
// scrypt or pbkdf2 makes 32 bytes: the first 16 encrypt (aes-128-ctr), the last 16 authenticate (keccak over ciphertext).
import { createCipheriv, createDecipheriv, pbkdf2, randomBytes, randomUUID, scrypt, timingSafeEqual, type ScryptOptions } from "node:crypto";
import { promisify } from "node:util";
import { bytesToHex, concat, hexToBytes, isAddress, keccak256, type Address, type Hex } from "viem";
import { privateKeyToAddress } from "viem/accounts";
import { CliError } from "./exit.ts";

const deriveScrypt = promisify<string, Buffer, number, ScryptOptions, Buffer>(scrypt);
const derivePbkdf2 = promisify(pbkdf2);

/** What other wallets write: a few tenths of a second and 128 MiB a guess. */
const SCRYPT = { n: 131_072, r: 8, p: 1 };
/** A file may ask for more than we write, not for all of the machine. */
const MAX_SCRYPT_BYTES = 1 << 30;
const MAX_PBKDF2_ROUNDS = 10_000_000;
const KEY_BYTES = 32;

type KdfParams = { dklen?: unknown; salt?: unknown; n?: unknown; r?: unknown; p?: unknown; c?: unknown; prf?: unknown };
type Crypto = { cipher?: unknown; cipherparams?: { iv?: unknown }; ciphertext?: unknown; kdf?: unknown; kdfparams?: KdfParams; mac?: unknown };

export type Keystore = { version: 3; id: string; address: string; crypto: Record<string, unknown> };

/** Encrypts a private key. `cost` is scrypt's; leave it out except in tests of the format. */
export async function encryptKey(privateKey: Hex, password: string, cost = SCRYPT): Promise<Keystore> {
  const [salt, iv] = [randomBytes(32), randomBytes(16)];
  const derived = await scryptKey(password, salt, cost);
  const cipher = createCipheriv("aes-128-ctr", derived.subarray(0, 16), iv);
  const ciphertext = Buffer.concat([cipher.update(hexToBytes(privateKey)), cipher.final()]);
  return {
    version: 3,
    id: randomUUID(),
    address: privateKeyToAddress(privateKey).slice(2).toLowerCase(),
    crypto: {
      cipher: "aes-128-ctr",
      cipherparams: { iv: iv.toString("hex") },
      ciphertext: ciphertext.toString("hex"),
      kdf: "scrypt",
      kdfparams: { dklen: KEY_BYTES, ...cost, salt: salt.toString("hex") },
      mac: macOf(derived, ciphertext).slice(2),
    },
  };
}

/**
 * Decrypts the text of a keystore file.
 * @throws CliError `keystore_invalid` when it is no such file, `keystore_password_wrong`.
 */
export async function decryptKey(text: string, password: string): Promise<Hex> {
  const { crypto, address } = parse(text);
  const ciphertext = hexField(crypto.ciphertext, "ciphertext");
  if (ciphertext.length !== KEY_BYTES) throw invalid("its ciphertext is not that of one key");
  const derived = await derive(crypto, password);
  if (!timingSafeEqual(hexToBytes(macOf(derived, ciphertext)), padded(hexField(crypto.mac, "mac")))) {
    throw new CliError({ code: "keystore_password_wrong", exit: "usage", detail: "The passphrase does not open the keystore." });
  }
  const decipher = createDecipheriv("aes-128-ctr", derived.subarray(0, 16), hexField(crypto.cipherparams?.iv, "iv"));
  const privateKey = bytesToHex(Buffer.concat([decipher.update(ciphertext), decipher.final()]));
  if (address !== undefined && privateKeyToAddress(privateKey).toLowerCase() !== address.toLowerCase()) throw invalid("its address is not that of the key inside");
  return privateKey;
}

/** The address that a keystore file states, which nothing proves until it is opened. */
export function statedAddress(text: string): Address | undefined {
  return parse(text).address;
}

function parse(text: string): { crypto: Crypto; address: Address | undefined } {
  let file: { version?: unknown; crypto?: Crypto; Crypto?: Crypto; address?: unknown };
  try {
    file = JSON.parse(text) as typeof file;
  } catch (cause) {
    throw invalid("it is no JSON", cause);
  }
  const crypto = file?.crypto ?? file?.Crypto;
  if (file?.version !== 3 || typeof crypto !== "object" || crypto === null) throw invalid("it is not of version 3");
  if (crypto.cipher !== "aes-128-ctr") throw invalid("its cipher is not aes-128-ctr");
  const stated = typeof file.address === "string" ? `0x${file.address.replace(/^0x/i, "").toLowerCase()}` : undefined;
  if (stated !== undefined && !isAddress(stated)) throw invalid("its address is none");
  return { crypto, address: stated };
}

async function derive({ kdf, kdfparams }: Crypto, password: string): Promise<Buffer> {
  const { salt, dklen, n, r, p, c, prf } = kdfparams ?? {};
  if (dklen !== KEY_BYTES) throw invalid("its dklen is not 32");
  if (kdf === "scrypt") return scryptKey(password, hexField(salt, "salt"), { n: positive(n, "n"), r: positive(r, "r"), p: positive(p, "p") });
  if (kdf === "pbkdf2" && prf === "hmac-sha256") {
    const rounds = positive(c, "c");
    if (rounds > MAX_PBKDF2_ROUNDS) throw invalid(`it asks for ${rounds} rounds`);
    return derivePbkdf2(password.normalize("NFKC"), hexField(salt, "salt"), rounds, KEY_BYTES, "sha256");
  }
  throw invalid("its key derivation is neither scrypt nor pbkdf2 with hmac-sha256");
}

async function scryptKey(password: string, salt: Buffer, { n, r, p }: { n: number; r: number; p: number }): Promise<Buffer> {
  // scrypt works in 128·n·r bytes, and a bit for each of p.
  const bytes = 128 * r * (n + p + 2);
  if (bytes > MAX_SCRYPT_BYTES || p > 16 || (n & (n - 1)) !== 0) throw invalid(`its scrypt parameters (n ${n}, r ${r}, p ${p}) are out of bounds`);
  return deriveScrypt(password.normalize("NFKC"), salt, KEY_BYTES, { N: n, r, p, maxmem: bytes * 2 });
}

function macOf(derived: Buffer, ciphertext: Uint8Array): Hex {
  return keccak256(concat([derived.subarray(16, 32), ciphertext]));
}

/** timingSafeEqual needs equal lengths; a mac of another length is no match of any. */
function padded(mac: Buffer): Buffer {
  return mac.length === 32 ? mac : Buffer.alloc(32);
}

function hexField(value: unknown, name: string): Buffer {
  if (typeof value !== "string" || !/^(?:0x)?(?:[0-9a-f]{2})+$/i.test(value)) throw invalid(`its ${name} is no hex`);
  return Buffer.from(value.replace(/^0x/i, ""), "hex");
}

function positive(value: unknown, name: string): number {
  if (typeof value !== "number" || !Number.isSafeInteger(value) || value < 1) throw invalid(`its ${name} is no positive number`);
  return value;
}

function invalid(why: string, cause?: unknown): CliError {
  return new CliError({ code: "keystore_invalid", exit: "usage", detail: `The keystore file cannot be used: ${why}.`, cause });
}
