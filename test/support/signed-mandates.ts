// Mandates for tests: signed by real keys, put into the ledger as registration does.
import { keccak256, numberToHex, zeroHash, type Address, type Hex, type LocalAccount } from "viem";
import { insertMandate } from "../../relayer/src/capabilities/mandates/store.ts";
import { bindGuard } from "../../relayer/src/capabilities/mandates/guard-store.ts";
import { inTransaction, type Db } from "../../relayer/src/db/pool.ts";
import { BASE_SEPOLIA, LOCAL_MANDATE_REGISTRY } from "../../sdk/src/constants.ts";
import { mandateIdOf, mandateRegistryDomain, mandateTypes, type Mandate } from "../../sdk/src/mandate.ts";
import { guardBindingTypes } from "../../sdk/src/guard-binding.ts";
import { payeesRoot } from "../../sdk/src/payees.ts";

export const MANDATE_DOMAIN = mandateRegistryDomain(BASE_SEPOLIA.chainId, LOCAL_MANDATE_REGISTRY);

let salts = 0n;

/** Valid from a day ago for ten days, without periods, for any payee; a salt of its own. */
export function mandateOf(principal: Address, delegate: Address, change: Partial<Mandate> = {}): Mandate {
  const nowS = Math.floor(Date.now() / 1000);
  return {
    principal, delegate, token: BASE_SEPOLIA.usdc.address, limit: 1_000_000n, periodLimit: 0n, paymentLimit: change.limit ?? 1_000_000n, period: 0, validAfter: nowS - 86_400, validUntil: nowS + 864_000,
    epoch: 0, payeesRoot: zeroHash, capability: zeroHash, parent: zeroHash, terms: zeroHash, salt: keccak256(numberToHex(++salts, { size: 32 })), ...change,
  };
}

export const idOfMandate = (mandate: Mandate, domain = MANDATE_DOMAIN): Hex => mandateIdOf(domain, mandate);

export function signMandate(grantor: LocalAccount, mandate: Mandate, domain = MANDATE_DOMAIN): Promise<Hex> {
  return grantor.signTypedData({ domain, types: mandateTypes, primaryType: "Mandate", message: mandate });
}

export function signBinding(key: LocalAccount, mandateId: Hex, domain = MANDATE_DOMAIN): Promise<Hex> {
  return key.signTypedData({ domain, types: guardBindingTypes, primaryType: "GuardBinding", message: { mandateId, authorizer: key.address } });
}

/** Puts mandates (a root first, each above the next) and a voucher key for the last into the ledger; nothing is checked. @returns their ids. */
export async function placeMandates(db: Db, lineage: readonly { mandate: Mandate; payees?: readonly Address[] }[], guard?: Address): Promise<Hex[]> {
  const ids: Hex[] = [];
  await inTransaction(db, async (client) => {
    for (const { mandate, payees } of lineage) {
      const full = { ...mandate, parent: ids.at(-1) ?? mandate.parent, payeesRoot: payees === undefined ? mandate.payeesRoot : payeesRoot(payees) };
      const mandateId = idOfMandate(full);
      ids.push(mandateId);
      await insertMandate(client, { mandateId, mandate: full, lineage: ids.toReversed(), signature: undefined, payees, registeredBy: full.principal, idempotencyKey: undefined });
    }
    if (guard !== undefined) await bindGuard(client, lineage[0]!.mandate.principal, guard, ids.at(-1)!, "0x00");
  });
  return ids;
}
