// Answers are kept encrypted: AES-256-GCM, bound to the payment they belong to. A copy of the database alone tells nobody what was bought.
//
// Every start of a process draws a data key: an HMAC of the configured key over a random salt that stands in each sealed answer. Under one
// data key the nonce is a counter, so none repeats (NIST SP 800-38D 8.2.1), and a key is prepared once for all that a process seals.
//
// Sealed bytes: key id (8) | salt (16) | nonce (12) | ciphertext | tag (16). The first key seals; every key of the ring opens, so a key is
// retired by moving it back and dropping it once the answers it sealed have expired.
import { createCipheriv, createDecipheriv, createHash, createHmac, createSecretKey, randomBytes, type KeyObject } from "node:crypto";
import type { Hex } from "viem";
import { TallystickError } from "../../../sdk/src/errors.ts";
import { createBoundedCache } from "./bounded-cache.ts";

export type Vault = {
  seal(paymentId: string, plain: Uint8Array): Buffer;
  /** @throws TallystickError 500 `answer_unreadable`: sealed under a key that is gone, or not what was sealed for this payment. */
  open(paymentId: string, sealed: Uint8Array): Buffer;
};

const KEY_ID_BYTES = 8;
const SALT_BYTES = 16;
const NONCE_BYTES = 12;
const TAG_BYTES = 16;
const HEAD_BYTES = KEY_ID_BYTES + SALT_BYTES + NONCE_BYTES;
/** Data keys of other processes, kept ready. */
const MOST_DATA_KEYS = 64;

/** @param keys 32 bytes each. */
export function createVault(keys: readonly Hex[]): Vault {
  const ring = keys.map((hex) => {
    const key = Buffer.from(hex.slice(2), "hex");
    if (key.length !== 32) throw new RangeError("an answer key has 32 bytes");
    return { key: createSecretKey(key), id: createHash("sha256").update("tallystick answer key ").update(key).digest().subarray(0, KEY_ID_BYTES) };
  });
  const [active] = ring;
  if (active === undefined) throw new RangeError("at least one answer key is needed");
  const salt = randomBytes(SALT_BYTES);
  const mine = { key: dataKey(active.key, salt), head: Buffer.concat([active.id, salt]) };
  const known = createBoundedCache<string, KeyObject>(MOST_DATA_KEYS);
  let sealed = 0n;

  function keyOf(head: Buffer): KeyObject | undefined {
    const name = head.toString("latin1");
    const root = ring.find(({ id }) => id.equals(head.subarray(0, KEY_ID_BYTES)));
    const key = known.get(name) ?? (root && dataKey(root.key, head.subarray(KEY_ID_BYTES)));
    if (key !== undefined) known.set(name, key);
    return key;
  }

  return {
    seal(paymentId, plain) {
      const out = Buffer.allocUnsafe(HEAD_BYTES + plain.length + TAG_BYTES);
      mine.head.copy(out);
      out.writeUInt32BE(0, KEY_ID_BYTES + SALT_BYTES);
      out.writeBigUInt64BE(sealed++, HEAD_BYTES - 8);
      const cipher = createCipheriv("aes-256-gcm", mine.key, out.subarray(HEAD_BYTES - NONCE_BYTES, HEAD_BYTES)).setAAD(Buffer.from(paymentId));
      cipher.update(plain).copy(out, HEAD_BYTES);
      cipher.final(); // GCM is a stream: nothing is left
      cipher.getAuthTag().copy(out, HEAD_BYTES + plain.length);
      return out;
    },
    open(paymentId, sealedBytes) {
      const bytes = Buffer.from(sealedBytes.buffer, sealedBytes.byteOffset, sealedBytes.byteLength);
      const key = bytes.length < HEAD_BYTES + TAG_BYTES ? undefined : keyOf(bytes.subarray(0, KEY_ID_BYTES + SALT_BYTES));
      if (key === undefined) throw unreadable(paymentId);
      const nonce = bytes.subarray(HEAD_BYTES - NONCE_BYTES, HEAD_BYTES);
      const decipher = createDecipheriv("aes-256-gcm", key, nonce, { authTagLength: TAG_BYTES }).setAAD(Buffer.from(paymentId)).setAuthTag(bytes.subarray(-TAG_BYTES));
      try {
        return Buffer.concat([decipher.update(bytes.subarray(HEAD_BYTES, -TAG_BYTES)), decipher.final()]);
      } catch (cause) {
        throw unreadable(paymentId, cause);
      }
    },
  };
}

/** HMAC as a key derivation: the configured key is uniformly random. */
function dataKey(root: KeyObject, salt: Buffer): KeyObject {
  return createSecretKey(createHmac("sha256", root).update("answers ").update(salt).digest());
}

function unreadable(paymentId: string, cause?: unknown): TallystickError {
  return new TallystickError({ code: "answer_unreadable", status: 500, retry: "never", detail: `The stored answer of payment ${paymentId} cannot be opened with the answer keys of this relayer.`, cause });
}
