// Price policies: what an owner lets this relayer offer while it is away. Whoever brings one needs no sign-in: it is signed.
import { isAddressEqual, type Hex } from "viem";
import type { Signed } from "../../../../sdk/src/negotiation/messages.ts";
import { messageHash } from "../../../../sdk/src/negotiation/messages.ts";
import { ownerOf } from "../firewall/registry.ts";
import { isSignedBy } from "../mandates/signatures.ts";
import { checkListed, domainOf, refuse, type NegotiationDeps } from "./service.ts";
import * as store from "./store.ts";

/** @throws TallystickError 403 `signature_invalid`, `policy_not_yours`; 404; 409 `policy_older`, `negotiation_listing_mismatch`; 400 for terms that contradict each other or the service. */
export async function publishPolicy(deps: NegotiationDeps, name: string, policy: Signed<"PricePolicy">): Promise<Hex> {
  const { message } = policy;
  const service = await deps.catalog.find(name);
  if (service === undefined) throw refuse("service_unknown", 404, `No service is called ${name}.`, "name");
  if (message.service !== name) throw refuse("policy_other", 400, "The policy is for another service.", "pricePolicy.service");
  if (!isAddressEqual(ownerOf(service), message.provider)) throw refuse("policy_not_yours", 403, `${name} is not ${message.provider}'s to sell.`, "pricePolicy.provider");
  const policyHash = messageHash(domainOf(deps), "PricePolicy", message);
  if (!(await isSignedBy(deps, message.provider, policyHash, policy.signature))) throw refuse("signature_invalid", 403, `The policy is not signed by ${message.provider} for this chain.`, "signature");
  if ((await store.findPolicy(deps.db, policyHash)) !== undefined) return policyHash;
  if (service.subscription !== undefined) throw refuse("service_by_month", 409, `${name} is sold by the month; what is negotiated is the price of calls.`);
  await checkListed(deps, "pricePolicy", message);
  if (message.floorPrice > message.listPrice) throw refuse("policy_contradicts", 400, "The floor is above the list price.", "pricePolicy.floorPrice");
  if (!isAddressEqual(message.payTo, service.receiver)) throw refuse("policy_contradicts", 400, `${service.receiver} is paid for ${name}.`, "pricePolicy.payTo");
  if (!isAddressEqual(message.token, service.token)) throw refuse("policy_contradicts", 400, `${name} is paid in ${service.token}.`, "pricePolicy.token");
  if (!deps.keyring.has(message.operator)) throw refuse("policy_operator", 400, `This relayer makes offers with ${deps.keyring.active}.`, "pricePolicy.operator");
  if (message.expiresAt * 1000 <= deps.now().getTime()) throw refuse("policy_expired", 400, "The policy is over.", "pricePolicy.expiresAt");
  if (await store.insertPolicy(deps.db, policyHash, policy)) return policyHash;
  throw refuse("policy_older", 409, "A policy of this or a later version stands; raise the version.", "pricePolicy.version");
}

export async function standingPolicy(deps: NegotiationDeps, name: string): Promise<store.StoredPolicy> {
  const [standing] = await store.standingPolicies(deps.db, { service: name, capability: "" }, 1);
  if (standing === undefined) throw refuse("policy_unknown", 404, `${name} has no price policy.`, "name");
  return standing;
}
