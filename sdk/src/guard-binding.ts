// A guard holds one voucher key (payerAuthorizer) a mandate. Whoever holds the key says so by its signature, in the registry's domain:
// channels of the mandate's principal under that key are then paid for within that mandate.
import { hashTypedData, type Address, type Hex } from "viem";
import type { MandateRegistryDomain } from "./mandate.ts";

export const guardBindingTypes = {
  GuardBinding: [
    { name: "mandateId", type: "bytes32" },
    { name: "authorizer", type: "address" },
  ],
} as const;

/** It counts only for channels whose payer is the mandate's principal. */
export type GuardBinding = { mandateId: Hex; authorizer: Address };

/** The digest that the authorizer itself signs. */
export function guardBindingDigest(domain: MandateRegistryDomain, binding: GuardBinding): Hex {
  return hashTypedData({ domain, types: guardBindingTypes, primaryType: "GuardBinding", message: binding });
}
