// Public key recovery: native libsecp256k1, or @noble/curves (through viem) when the binding did not build. The fallback
// is about 30 times slower, so it is never silent: main logs it and a metric shows it.
import { createRequire } from "node:module";
import { keccak256, recoverAddress, getAddress, type Address, type Hex } from "viem";
import { sign } from "viem/accounts";

type Sign = (digest: Uint8Array, privateKey: Uint8Array) => { signature: Uint8Array; recid: number };
type Recover = (signature: Uint8Array, recoveryId: number, digest: Uint8Array) => Promise<Address | undefined>;

const HALF_ORDER = 0x7fffffffffffffffffffffffffffffff5d576e7357a4501ddfe92f46681b20a0n;

const native = loadNative();
export const isNative = native !== undefined;
const recover: Recover = native?.recover ?? fallback;

/**
 * The address that made a 65-byte signature over a digest, or undefined when the contract would not accept it: wrong length,
 * v other than 27 or 28, or s in the upper half (OpenZeppelin's ECDSA refuses those, so a claim with it would fail).
 */
export async function recoverSigner(digest: Uint8Array, signature: Hex): Promise<Address | undefined> {
  if (!/^0x[0-9a-fA-F]{130}$/.test(signature)) return undefined;
  const bytes = Buffer.from(signature.slice(2), "hex");
  const v = bytes[64];
  if (v !== 27 && v !== 28) return undefined;
  if (BigInt(`0x${bytes.subarray(32, 64).toString("hex")}`) > HALF_ORDER) return undefined;
  return recover(bytes.subarray(0, 64), v - 27, digest);
}

/** Signs a digest: 65 bytes, v 27 or 28, low s, the nonce of RFC 6979, so that the same message always gets the same signature. */
export async function signDigest(privateKey: Hex, digest: Hex): Promise<Hex> {
  if (native === undefined) return sign({ hash: digest, privateKey, to: "hex" });
  const { signature, recid } = native.sign(Buffer.from(digest.slice(2), "hex"), Buffer.from(privateKey.slice(2), "hex"));
  return `0x${Buffer.from(signature).toString("hex")}${(27 + recid).toString(16)}`;
}

type Bindings = {
  ecdsaRecover(signature: Uint8Array, recoveryId: number, digest: Uint8Array, compressed: boolean): Uint8Array;
  ecdsaSign: Sign;
};

function loadNative(): { recover: Recover; sign: Sign } | undefined {
  let bindings: Bindings;
  try {
    bindings = createRequire(import.meta.url)("secp256k1/bindings");
  } catch {
    return undefined; // the addon is not built for this platform; isNative tells
  }
  return { recover: recoverWith(bindings), sign: (digest, privateKey) => bindings.ecdsaSign(digest, privateKey) };
}

function recoverWith({ ecdsaRecover }: Bindings): Recover {
  return async (signature, recoveryId, digest) => {
    let publicKey: Uint8Array;
    try {
      publicKey = ecdsaRecover(signature, recoveryId, digest, false);
    } catch {
      return undefined; // r or s out of range, or no point: nobody's signature
    }
    return getAddress(`0x${keccak256(publicKey.subarray(1)).slice(-40)}`);
  };
}

async function fallback(signature: Uint8Array, recoveryId: number, digest: Uint8Array): Promise<Address | undefined> {
  const hex = Buffer.from(signature).toString("hex");
  try {
    return await recoverAddress({ hash: digest, signature: `0x${hex}${(27 + recoveryId).toString(16)}` });
  } catch {
    return undefined;
  }
}
