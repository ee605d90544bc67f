// What an owner signed, sent to the registry at this relayer's expense: each signature once, so many of one owner and of all in a day.
import { encodeFunctionData, type Address, type Hex } from "viem";
import { bazaarRegistryAbi as abi } from "../../../../sdk/src/abi/bazaar-registry.ts";
import { SERVICE_STATUSES, termsRefOf, type ServiceKey, type ServiceTerms } from "../../../../sdk/src/bazaar.ts";
import { listServiceDigest, setServiceStatusDigest, updateServiceDigest } from "../../../../sdk/src/bazaar-messages.ts";
import type { Act } from "../../../../sdk/src/bazaar/terms.ts";
import { TallystickError } from "../../../../sdk/src/errors.ts";
import { headOf, readChain } from "../../chain/client.ts";
import { EVENT } from "../../telemetry/log.ts";
import type { GatewayDeps } from "../gateway/rail.ts";
import { isSignedBy } from "../mandates/signatures.ts";
import { followOwner, saveView } from "./chain-store.ts";
import { readServices, registryError, registryStands, type ServiceView } from "./chain-view.ts";
import { checkDeadline, domainOf } from "./logic.ts";
import * as store from "./terms-store.ts";

/** A listing with the longest address of its metadata, signed by a wallet that takes its time. */
const MOST_GAS = 400_000n;
const WAIT_MS = 15_000;
const MOST_SIGNATURE_BYTES = 4_096;

export type Sent = { hash: Hex; status: "confirmed" | "pending" };
export type Consent = { deadline: bigint; signature: Hex };

const hereOf = ({ config }: Pick<GatewayDeps, "config">) => ({ chainId: config.chainId, registry: config.bazaar.registry });

export function digestOf(deps: Pick<GatewayDeps, "config">, act: Act): Hex {
  const domain = domainOf(hereOf(deps));
  if (act.kind === "list") return listServiceDigest(domain, act);
  return act.kind === "update" ? updateServiceDigest(domain, act) : setServiceStatusDigest(domain, act);
}

/** The registry's call. Without a consent its sender must be the owner. */
export function callOf(key: ServiceKey, act: Act, previous: ServiceTerms | undefined, consent: Consent | undefined): Hex {
  const signed = consent ?? { deadline: 0n, signature: "0x" as Hex };
  if (act.kind === "list") return encodeFunctionData({ abi, functionName: "list", args: [key, act.terms, act.publish, signed] });
  if (act.kind === "status") return encodeFunctionData({ abi, functionName: "setStatus", args: [key, SERVICE_STATUSES.indexOf(act.status), signed] });
  if (previous === undefined) throw new TallystickError({ code: "terms_unknown", status: 409, retry: "never", detail: "The terms that stand on chain are not known here; whoever knows them can send the update itself." });
  return encodeFunctionData({ abi, functionName: "update", args: [key, termsRefOf(previous), act.terms, signed] });
}

/** What the chain says now. @throws TallystickError 503 `registry_missing`, `chain_unavailable`. */
export async function readNow(deps: GatewayDeps, serviceId: Hex, key: ServiceKey): Promise<ServiceView> {
  if (!(await registryStands(deps))) throw new TallystickError({ code: "registry_missing", status: 503, retry: "never", detail: `No registry stands at ${deps.config.bazaar.registry}; what is sold here is not listed on chain.` });
  const views = await readServices(deps, new Map([[serviceId, key]]), await headOf(deps.chain));
  return views.get(serviceId)!;
}

/** Reads the chain and saves what it says: for what was just sent, by us or by the owner. */
export async function syncNow(deps: GatewayDeps, serviceId: Hex, key: ServiceKey): Promise<ServiceView> {
  const view = await readNow(deps, serviceId, key);
  const changed = await saveView(deps.db, serviceId, view, { followed: false });
  if (changed !== undefined) deps.catalog.changed(changed);
  const moved = key.agent === 0n ? undefined : await followOwner(deps.db, serviceId);
  if (moved !== undefined) deps.catalog.changed(moved);
  await deps.listings.changed();
  return view;
}

type Order = { act: Act; key: ServiceKey; owner: Address; previous: ServiceTerms | undefined; consent: Consent };

/**
 * Sends it, once: a signature that was sent before is answered by its transaction.
 * @throws TallystickError 403 `signature_invalid`, `signature_expired`; 409 with the registry's own reason; 429 `listing_quota`; 503.
 */
export async function send(deps: GatewayDeps, order: Order): Promise<Sent> {
  const { act, owner, consent } = order;
  const digest = digestOf(deps, act);
  const before = await store.findAct(deps.db, digest);
  if (before !== undefined && !["reverted", "dropped"].includes(before.state)) return outcome(deps, before.txId, before.hash);
  await checkConsent(deps, order, digest);
  await checkQuota(deps, await store.countActs(deps.db, owner));
  const data = callOf(order.key, act, order.previous, consent);
  await rehearse(deps, order);
  const { txId, hash } = await deps.submitter.submit({
    purpose: "listing", to: deps.config.bazaar.registry, data, mostGas: MOST_GAS,
    async record(client, id) {
      await store.lockActs(client);
      await checkQuota(deps, await store.countActs(client, owner));
      const isNew = await store.insertAct(client, { digest, serviceId: act.serviceId, owner, kind: act.kind, revision: act.kind === "list" ? 0 : act.revision }, id);
      if (!isNew) throw new TallystickError({ code: "listing_under_way", status: 409, retry: "safe", detail: "This signature is being sent by another request." });
    },
  });
  deps.log.info({ event: EVENT.listingSent, serviceId: act.serviceId, act: act.kind, owner, hash }, "sent to the registry");
  return outcome(deps, txId, hash);
}

async function outcome(deps: GatewayDeps, txId: bigint, hash: Hex): Promise<Sent> {
  const told = await deps.submitter.wait(txId, WAIT_MS);
  if (told.status === "confirmed") return { hash: told.hash, status: "confirmed" };
  if (told.status === "pending") return { hash: told.hash, status: "pending" };
  throw new TallystickError({ code: "listing_reverted", status: 409, retry: "safe", detail: `Transaction ${hash} came to nothing (${told.status}); something else changed the service first.`, extra: { transaction: hash } });
}

async function checkConsent(deps: GatewayDeps, { owner, consent: { deadline, signature } }: Order, digest: Hex): Promise<void> {
  checkDeadline(deadline, BigInt(Math.floor(deps.now().getTime() / 1_000)));
  if (signature.length > 2 + 2 * MOST_SIGNATURE_BYTES || !(await isSignedBy(deps, owner, digest, signature))) {
    throw new TallystickError({ code: "signature_invalid", status: 403, retry: "never", field: "signature", detail: `The signature is not one of ${owner}, who owns the service, over what was asked, for chain ${deps.config.chainId} and registry ${deps.config.bazaar.registry}.` });
  }
}

async function checkQuota({ config }: GatewayDeps, { ofOwner, inAll }: { ofOwner: number; inAll: number }): Promise<void> {
  const { actsPerOwner, actsInAll } = config.bazaar;
  const full = ofOwner >= actsPerOwner ? `${ofOwner} of yours` : inAll >= actsInAll ? `${inAll} of all owners` : undefined;
  if (full === undefined) return;
  throw new TallystickError({ code: "listing_quota", status: 429, retry: "safe", detail: `This relayer sent ${full} in the last 24 hours, and pays for no more of them; send the transaction yourself, or wait.`, extra: { retryAfterS: 3_600 } });
}

/** The registry's own refusal, by its name, before anything is signed. */
async function rehearse(deps: GatewayDeps, { key, act, previous, consent }: Order): Promise<void> {
  const call = { address: deps.config.bazaar.registry, abi, account: deps.submitter.address } as const;
  try {
    await readChain(async () => {
      if (act.kind === "list") await deps.chain.client.simulateContract({ ...call, functionName: "list", args: [key, act.terms, act.publish, consent] });
      else if (act.kind === "status") await deps.chain.client.simulateContract({ ...call, functionName: "setStatus", args: [key, SERVICE_STATUSES.indexOf(act.status), consent] });
      else await deps.chain.client.simulateContract({ ...call, functionName: "update", args: [key, termsRefOf(previous!), act.terms, consent] });
    });
  } catch (error) {
    const told = registryError(error);
    if (told === undefined) throw error;
    throw new TallystickError({ code: "registry_refused", status: 409, retry: "never", detail: `The registry refuses: ${told.name}(${told.args.map(String).join(", ")}).`, extra: { contractError: told.name }, cause: error });
  }
}
