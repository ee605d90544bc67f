// The EIP-712 digest of a TransferWithAuthorization of the configured token, prepared once.
import type { Hex } from "viem";
import { transferWithAuthorizationTypes } from "../../../../sdk/src/typed-data.ts";
import type { Config } from "../../config.ts";
import { prepare } from "../../crypto/typed-hash.ts";
import type { Authorization } from "./types.ts";

export type Digest = (authorization: Omit<Authorization, "signature">) => Uint8Array;

export function createDigest({ token: { address, name, version }, chainId }: Pick<Config, "token" | "chainId">): Digest {
  return prepare({ name, version, chainId, verifyingContract: address }, transferWithAuthorizationTypes, "TransferWithAuthorization");
}

export const asHex = (bytes: Uint8Array): Hex => `0x${Buffer.from(bytes).toString("hex")}`;
