// Answers are kept encrypted: AES-256-GCM, bound to the payment they belong to. A copy of the database alone tells nobody what was bought.
//
// Each payment has a key of its own, derived from one of the configuration: random nonces of 96 bits are good for some 2^32 messages under
// one key (NIST SP 800-38D 8.3), which a busy relayer sells in days.
//
// Sealed bytes: key id (8) | nonce (12) | ciphertext | tag (16). The first key seals; every key of the ring opens, so a key is retired by
// moving it back and dropping it once the answers it sealed have expired.
import { createCipheriv, createDecipheriv, createHash, createHmac, createSecretKey, randomBytes, type KeyObject } from "node:crypto";
import type { Hex } from "viem";
import { TallystickError } from "../../../sdk/src/errors.ts";

export type Vault = {
  seal(paymentId: string, plain: Uint8Array): Buffer;
  /** @throws TallystickError 500 `answer_unreadable`: sealed under a key that is gone, or not what was sealed for this payment. */
  open(paymentId: string, sealed: Uint8Array): Buffer;
};

const KEY_ID_BYTES = 8;
const NONCE_BYTES = 12;
const TAG_BYTES = 16;

/** @param keys 32 bytes each. */
export function createVault(keys: readonly Hex[]): Vault {
  const ring = keys.map((hex) => {
    const key = Buffer.from(hex.slice(2), "hex");
    if (key.length !== 32) throw new RangeError("an answer key has 32 bytes");
    return { key: createSecretKey(key), id: createHash("sha256").update("tallystick answer key ").update(key).digest().subarray(0, KEY_ID_BYTES) };
  });
  const [active] = ring;
  if (active === undefined) throw new RangeError("at least one answer key is needed");
  return {
    seal(paymentId, plain) {
      const nonce = randomBytes(NONCE_BYTES);
      const cipher = createCipheriv("aes-256-gcm", keyOf(active.key, paymentId), nonce).setAAD(Buffer.from(paymentId));
      return Buffer.concat([active.id, nonce, cipher.update(plain), cipher.final(), cipher.getAuthTag()]);
    },
    open(paymentId, sealed) {
      const bytes = Buffer.from(sealed.buffer, sealed.byteOffset, sealed.byteLength);
      const found = ring.find(({ id }) => id.equals(bytes.subarray(0, KEY_ID_BYTES)));
      if (found === undefined || bytes.length < KEY_ID_BYTES + NONCE_BYTES + TAG_BYTES) throw unreadable(paymentId);
      const nonce = bytes.subarray(KEY_ID_BYTES, KEY_ID_BYTES + NONCE_BYTES);
      const decipher = createDecipheriv("aes-256-gcm", keyOf(found.key, paymentId), nonce, { authTagLength: TAG_BYTES }).setAAD(Buffer.from(paymentId)).setAuthTag(bytes.subarray(-TAG_BYTES));
      try {
        return Buffer.concat([decipher.update(bytes.subarray(KEY_ID_BYTES + NONCE_BYTES, -TAG_BYTES)), decipher.final()]);
      } catch (cause) {
        throw unreadable(paymentId, cause);
      }
    },
  };
}

/** HMAC as a key derivation: the configured key is uniformly random. */
function keyOf(root: KeyObject, paymentId: string): Buffer {
  return createHmac("sha256", root).update("answer ").update(paymentId).digest();
}

function unreadable(paymentId: string, cause?: unknown): TallystickError {
  return new TallystickError({ code: "answer_unreadable", status: 500, retry: "never", detail: `The stored answer of payment ${paymentId} cannot be opened with the answer keys of this relayer.`, cause });
}
