// The voucher keys of a guard: one a mandate, derived from its master secret. A channel's payerAuthorizer thereby names its mandate.
import { concat, keccak256, numberToHex, stringToHex, type Hex } from "viem";
import { privateKeyToAccount, type PrivateKeyAccount } from "viem/accounts";

const LABEL = stringToHex("tallystick guard voucher key 1", { size: 32 });
const ORDER = 0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141n;

/** The account that signs the vouchers of one mandate. The instance is the store's. */
export function voucherAccount(master: Hex, instance: Hex, mandateId: Hex): PrivateKeyAccount {
  for (let round = 0n; ; round++) {
    const key = keccak256(concat([LABEL, master, instance, mandateId, numberToHex(round, { size: 32 })]));
    // Past the curve's order once in 2^128: the next round then.
    if (BigInt(key) > 0n && BigInt(key) < ORDER) return privateKeyToAccount(key);
  }
}
