// The payload of an `exact` payment (EIP-3009), decoded and checked field by field.
import { Type } from "typebox";
import { Compile } from "typebox/compile";
import type { Hex } from "viem";
import { TallystickError } from "../../../../sdk/src/errors.ts";
import { toAddress } from "../../crypto/address.ts";
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
  return {
    from: toAddress(authorization.from),
    to: toAddress(authorization.to),
    value: uint256(authorization.value, "value"),
    validAfter: uint256(authorization.validAfter, "validAfter"),
    validBefore: uint256(authorization.validBefore, "validBefore"),
    nonce: authorization.nonce.toLowerCase() as Hex,
    signature: signature as Hex,
  };
}

/** 78 digits hold more than 256 bits do. */
function uint256(text: string, field: string): bigint {
  const value = BigInt(text);
  if (value < 1n << 256n) return value;
  throw new TallystickError({ code: "payment_malformed", status: 400, retry: "never", field: `payload.authorization.${field}`, detail: `${field} is no uint256.` });
}
