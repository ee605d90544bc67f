// Ending a mandate: here at once and for good, with all below it; and what is still to be sent for the chain to hear of it.
import { encodeFunctionData, isAddressEqual, type Address, type Hex } from "viem";
import { mandateRegistryAbi as abi } from "../../../../sdk/src/abi/mandate-registry.ts";
import { TallystickError } from "../../../../sdk/src/errors.ts";
import { mandateRevocationDigest } from "../../../../sdk/src/mandate-messages.ts";
import type { Deps } from "../../deps.ts";
import { EVENT } from "../../telemetry/log.ts";
import { registryStands } from "./chain-view.ts";
import { fundedChannels, type FundedChannel } from "./guard-store.ts";
import { domainOf, unknownMandate } from "./registration.ts";
import { isSignedBy } from "./signatures.ts";
import * as store from "./store.ts";
import type { MandateRecord } from "./store.ts";

export type RevocationDeps = Pick<Deps, "chain" | "config" | "db" | "log" | "reached">;

/** Who says so: signed in, or by signature (MandateRevocation), which the chain takes from anybody. */
export type Revoker = { caller: Address } | { by: Address; signature: Hex };

export type Revoked = {
  mandateId: Hex;
  /** It and every mandate below it. */
  ended: readonly Hex[];
  /** The transaction that ends it on the chain; undefined where no registry stands or it has ended there. `from`: who must send it. */
  transaction: { to: Address; data: Hex; from: Address | undefined } | undefined;
  /** Channels under them that still hold money: their payer starts the withdrawals. */
  channels: readonly FundedChannel[];
};

const MOST_ENDED = 10_000;
const MOST_CHANNELS = 1_000;

/** @throws TallystickError 404 `mandate_unknown`; 403 `not_revoker`, `revocation_signature_invalid`. */
export async function revokeMandate(deps: RevocationDeps, mandateId: Hex, revoker: Revoker): Promise<Revoked> {
  const lineage = await store.findLineage(deps.db, mandateId);
  const [record, parent] = lineage;
  if (record === undefined) throw unknownMandate(mandateId);
  const by = await checkRevoker(deps, record, parent, revoker);
  const isNew = await store.revoke(deps.db, mandateId, by);
  deps.reached("mandate.revoked");
  if (isNew) deps.log.info({ event: EVENT.mandateRevoked, mandateId, by }, "mandate revoked");
  return {
    mandateId,
    ended: (await store.findSubtree(deps.db, mandateId, MOST_ENDED)).map((ended) => ended.mandateId),
    transaction: record.chain.revoked || !(await registryStands(deps).catch(() => false)) ? undefined : transactionOf(deps, lineage, by, revoker),
    channels: await fundedChannels(deps.db, mandateId, MOST_CHANNELS),
  };
}

/** The principal, or the delegate of the parent: as the contract has it. */
async function checkRevoker(deps: RevocationDeps, { mandateId, mandate }: MandateRecord, parent: MandateRecord | undefined, revoker: Revoker): Promise<Address> {
  const by = "caller" in revoker ? revoker.caller : revoker.by;
  const mayRevoke = [mandate.principal, ...(parent === undefined ? [] : [parent.mandate.delegate])].some((party) => isAddressEqual(party, by));
  if (!mayRevoke && "caller" in revoker && !isAddressEqual(by, mandate.delegate)) throw unknownMandate(mandateId);
  if (!mayRevoke) throw new TallystickError({ code: "not_revoker", status: 403, retry: "never", detail: `Only the principal and the delegate of its parent may revoke ${mandateId}.` });
  if ("caller" in revoker || (await isSignedBy(deps, by, mandateRevocationDigest(domainOf(deps), mandateId), revoker.signature))) return by;
  throw new TallystickError({ code: "revocation_signature_invalid", status: 403, retry: "never", field: "signature", detail: `The revocation of ${mandateId} is not signed by ${by}.` });
}

function transactionOf({ config }: RevocationDeps, records: readonly MandateRecord[], by: Address, revoker: Revoker): Revoked["transaction"] {
  // What follows the parent is not read.
  const lineage = records.slice(0, 2).map(({ mandate }) => mandate);
  if ("caller" in revoker) return { to: config.mandateRegistry, from: by, data: encodeFunctionData({ abi, functionName: "revoke", args: [lineage] }) };
  return { to: config.mandateRegistry, from: undefined, data: encodeFunctionData({ abi, functionName: "revokeWithSignature", args: [lineage, [], by, revoker.signature] }) };
}
