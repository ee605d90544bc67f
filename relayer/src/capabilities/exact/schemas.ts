// The payload of an `exact` payment (EIP-3009), decoded and checked field by field.
import { Type } from "typebox";
import { Compile } from "typebox/compile";
import { getAddress, type Address, type Hex } from "viem";
import { check } from "../gateway/schemas.ts";
import type { Authorization } from "./types.ts";

const AddressString = Type.String({ pattern: "^0x[0-9a-fA-F]{40}$" });
const UintString = Type.String({ pattern: "^(0|[1-9][0-9]{0,77})$" });

const PAYLOAD = Compile(
  Type.Object({
    signature: Type.String({ pattern: "^0x([0-9a-fA-F]{2})+$", maxLength: 8192 }),
    authorization: Type.Object({
      from: AddressString,
      to: AddressString,
      value: UintString,
      validAfter: UintString,
      validBefore: UintString,
      nonce: Type.String({ pattern: "^0x[0-9a-fA-F]{64}$" }),
    }),
  }),
);

/** @throws TallystickError 400 that names the first offending field of `payload`. */
export function decodeExactPayload(payload: Record<string, unknown>): Authorization {
  const { signature, authorization } = check(PAYLOAD, payload);
  const address = (value: string): Address => getAddress(value.toLowerCase());
  return {
    from: address(authorization.from),
    to: address(authorization.to),
    value: BigInt(authorization.value),
    validAfter: BigInt(authorization.validAfter),
    validBefore: BigInt(authorization.validBefore),
    nonce: authorization.nonce.toLowerCase() as Hex,
    signature: signature as Hex,
  };
}
