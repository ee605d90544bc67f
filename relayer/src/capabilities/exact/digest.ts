// The EIP-712 digest of a TransferWithAuthorization, with the domain separator and the type hash made once. The same bytes as viem's
// hashTypedData (a test compares them), at a fraction of its time: every verify and every settle hashes one.
import { encodeAbiParameters, keccak256, stringToBytes, type Hex } from "viem";
import { transferWithAuthorizationTypes } from "../../../../sdk/src/typed-data.ts";
import type { Config } from "../../config.ts";
import { writeAddress, writeBytes32, writeUint } from "./words.ts";
import type { Authorization } from "./types.ts";

export type Digest = (authorization: Omit<Authorization, "signature">) => Uint8Array;

const WORD = 32;
const fields = transferWithAuthorizationTypes.TransferWithAuthorization;
const TYPEHASH = keccak256(stringToBytes(`TransferWithAuthorization(${fields.map(({ type, name }) => `${type} ${name}`).join(",")})`));
const DOMAIN = keccak256(stringToBytes("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"));

export function createDigest({ token, chainId }: Pick<Config, "token" | "chainId">): Digest {
  const separator = keccak256(
    encodeAbiParameters(
      [{ type: "bytes32" }, { type: "bytes32" }, { type: "bytes32" }, { type: "uint256" }, { type: "address" }],
      [DOMAIN, keccak256(stringToBytes(token.name)), keccak256(stringToBytes(token.version)), BigInt(chainId), token.address],
    ),
  );
  return ({ from, to, value, validAfter, validBefore, nonce }) => {
    const struct = Buffer.alloc(7 * WORD);
    writeBytes32(struct, 0, TYPEHASH);
    writeAddress(struct, WORD, from);
    writeAddress(struct, 2 * WORD, to);
    writeUint(struct, 3 * WORD, value);
    writeUint(struct, 4 * WORD, validAfter);
    writeUint(struct, 5 * WORD, validBefore);
    writeBytes32(struct, 6 * WORD, nonce);
    const preimage = Buffer.alloc(2 + 2 * WORD);
    preimage.set([0x19, 0x01]);
    writeBytes32(preimage, 2, separator);
    preimage.set(keccak256(struct, "bytes"), 2 + WORD);
    return keccak256(preimage, "bytes");
  };
}

export const asHex = (bytes: Uint8Array): Hex => `0x${Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString("hex")}`;
