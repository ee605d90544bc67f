// The order of a hire by mandate, as far as this relayer has a say. The registry decides what is signed, spent and revoked on the chain; here
// stays revoked what was revoked here, and a mandate for one capability buys that alone, which the chain does not look at.
import { decodeAbiParameters, getAbiItem, zeroHash, type Hex } from "viem";
import { mandateRegistryAbi } from "../../../../sdk/src/abi/mandate-registry.ts";
import { JOB_CAPABILITY } from "../../../../sdk/src/jobs/brief.ts";
import { mandateIdOf } from "../../../../sdk/src/mandate.ts";
import type { Queryable } from "../../db/pool.ts";
import type { Deps } from "../../deps.ts";
import { mandateRefused } from "../mandates/refusals.ts";
import { domainOf } from "../mandates/registration.ts";
import { findRevoked } from "../mandates/store.ts";
import { jobFault } from "./faults.ts";

/** @throws TallystickError 400 `order_malformed`; 403 `mandate_capability`, `mandate_revoked`: nothing moved. */
export async function checkOrder(client: Queryable, deps: Pick<Deps, "config">, order: Hex): Promise<void> {
  const mandates = mandatesIn(order);
  const ids = mandates.map((mandate) => mandateIdOf(domainOf(deps), mandate));
  const foreign = mandates.findIndex(({ capability }) => capability !== zeroHash && capability !== JOB_CAPABILITY);
  if (foreign !== -1) throw mandateRefused({ code: "mandate_capability", mandateId: ids[foreign]! }, ids[0]);
  const revoked = await findRevoked(client, ids);
  if (revoked !== undefined) throw mandateRefused({ code: "mandate_revoked", mandateId: revoked }, ids[0]);
}

function mandatesIn(order: Hex) {
  try {
    return decodeAbiParameters(getAbiItem({ abi: mandateRegistryAbi, name: "spend" }).inputs, order)[0].lineage;
  } catch {
    throw jobFault(400, "order_malformed", "order", "The order is no jobMandateOrder.");
  }
}
