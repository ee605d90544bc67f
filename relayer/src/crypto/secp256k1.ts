// Signing and public key recovery: native libsecp256k1, or @noble/curves (through viem) when the binding did not build or gives
// other answers than it must. The fallback is about 30 times slower, so it is never silent: main logs it and a metric shows it.
//
// Recovery, not verification against a key known from earlier: that would accept both values of v, and the contract accepts one.
import { createRequire } from "node:module";
import { recoverAddress, type Address, type Hex } from "viem";
import { sign } from "viem/accounts";
import { addressOf } from "./address.ts";
import { keccak } from "./keccak.ts";

/** What we use of the package's bindings; each throws when it cannot. */
export type Bindings = {
  ecdsaRecover(signature: Uint8Array, recoveryId: number, digest: Uint8Array, compressed: boolean): Uint8Array;
  ecdsaSign(digest: Uint8Array, privateKey: Uint8Array): { signature: Uint8Array; recid: number };
};

/** 64 bytes, r and s, with s in the lower half. */
type Split = { rs: Buffer; recoveryId: number };

const HALF_ORDER = Buffer.from("7fffffffffffffffffffffffffffffff5d576e7357a4501ddfe92f46681b20a0", "hex");

/** keccak256 of "tallystick self-check key": nobody's key. Signatures made with @noble/curves, one for each value of v. */
const KNOWN = {
  privateKey: "281aeec6b7b7d3370db66239ae4128a6dc43ac13c6921ab25a2032a3cbfd0a79",
  address: "791329a11e755dfada633bfc20152101e5712ebb",
  signed: [
    ["7fb12b61b959047f3ec42f0e74a555610caa261f92b919752ea10cab18acf2dc", "0xb1928d8d4d6ca1d9093bd1445a00036bc3901b8d936c6f485d36266dc6bbb0f6526d456f8f5f8e845464fc5790d484f8c2a9a0c58e2298a647c4a4a6bc0d36881c"],
    ["316922f285f2f1e5fcdb6bd268e34e2e9a42919ac2f19dbad71d39cf11f5f959", "0x8ddc1f910e71b1c3d513a5472fa868273f3c3b6d9958bb64e285df0999f2246a0387009d1ec64b909cee31f32b3c7f150e80aaceb301eba4164ee9e81a12c5981b"],
  ],
} as const;

const native = loadNative();
export const isNative = native !== undefined;

/**
 * The address that made a 65-byte signature over a digest, or undefined when the contract would not accept it: wrong length,
 * v other than 27 or 28, or s in the upper half (OpenZeppelin's ECDSA refuses those, so a claim with it would fail).
 */
export async function recoverSigner(digest: Uint8Array, signature: Hex): Promise<Address | undefined> {
  const bytes = await recover(digest, signature);
  return bytes === undefined ? undefined : addressOf(bytes);
}

/** Whether `signer`, in any case of letters, made the signature; false for whatever recoverSigner finds nobody for. */
export async function isSignedBy(digest: Uint8Array, signature: Hex, signer: Address): Promise<boolean> {
  const bytes = await recover(digest, signature);
  return bytes !== undefined && Buffer.from(bytes).toString("hex") === signer.slice(2).toLowerCase();
}

/** Signs a digest: 65 bytes, v 27 or 28, low s, the nonce of RFC 6979, so that the same message always gets the same signature. */
export async function signDigest(privateKey: Uint8Array, digest: Uint8Array): Promise<Hex> {
  if (native === undefined) return sign({ hash: hexOf(digest), privateKey: hexOf(privateKey), to: "hex" });
  const { signature, recid } = native.ecdsaSign(digest, privateKey);
  return `${hexOf(signature)}${recid === 0 ? "1b" : "1c"}`;
}

function recover(digest: Uint8Array, signature: Hex): Promise<Uint8Array | undefined> | Uint8Array | undefined {
  const split = splitSignature(signature);
  if (split === undefined) return undefined;
  return native === undefined ? fallback(split, digest) : recoverNatively(native, split, digest);
}

function splitSignature(signature: Hex): Split | undefined {
  if (signature.length !== 132 || !signature.startsWith("0x")) return undefined;
  const bytes = Buffer.from(signature.slice(2), "hex"); // ends at the first character that is no hex digit
  const v = bytes[64];
  if (v !== 27 && v !== 28) return undefined;
  if (bytes.compare(HALF_ORDER, 0, 32, 32, 64) > 0) return undefined;
  return { rs: bytes.subarray(0, 64), recoveryId: v - 27 };
}

function recoverNatively(bindings: Bindings, { rs, recoveryId }: Split, digest: Uint8Array): Uint8Array | undefined {
  let publicKey: Uint8Array;
  try {
    publicKey = bindings.ecdsaRecover(rs, recoveryId, digest, false);
  } catch {
    return undefined; // r or s out of range, or no point: nobody's signature
  }
  return keccak(publicKey.subarray(1)).subarray(12);
}

async function fallback({ rs, recoveryId }: Split, digest: Uint8Array): Promise<Uint8Array | undefined> {
  try {
    const address = await recoverAddress({ hash: digest, signature: `${hexOf(rs)}${(27 + recoveryId).toString(16)}` });
    return Buffer.from(address.slice(2), "hex");
  } catch {
    return undefined;
  }
}

function hexOf(bytes: Uint8Array): Hex {
  return `0x${Buffer.from(bytes).toString("hex")}`;
}

// ------------------------------------------------------------------ is the binding to be believed?

/** Signs and recovers what is known, and must find nobody for an r that is on no curve point. */
export function isRight(bindings: Bindings): boolean {
  const privateKey = Buffer.from(KNOWN.privateKey, "hex");
  try {
    return KNOWN.signed.every(([hash, known]) => {
      const digest = Buffer.from(hash, "hex");
      const split = splitSignature(known)!;
      const { signature, recid } = bindings.ecdsaSign(digest, privateKey);
      const signer = recoverNatively(bindings, split, digest);
      const nobody = recoverNatively(bindings, { rs: Buffer.alloc(64, 0xff), recoveryId: 0 }, digest);
      return split.rs.equals(signature) && recid === split.recoveryId && Buffer.from(signer ?? []).toString("hex") === KNOWN.address && nobody === undefined;
    });
  } catch {
    return false; // it could not even sign
  }
}

function loadNative(): Bindings | undefined {
  let bindings: Bindings;
  try {
    bindings = createRequire(import.meta.url)("secp256k1/bindings");
  } catch {
    return undefined; // the addon is not built for this platform; isNative tells
  }
  return isRight(bindings) ? bindings : undefined;
}
