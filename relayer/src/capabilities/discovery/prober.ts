// Looks at every listed service now and then: is it there, does it ask for what the registry says, and (with a key and a budget) does it deliver
// what is paid for. What fails again and again is hidden from search, and comes back when it is well again. Leases let any number of processes
// share the work.
import { encodeFunctionData, keccak256, stringToBytes, isAddressEqual } from "viem";
import { bazaarRegistryAbi } from "../../../../sdk/src/abi/bazaar-registry.ts";
import { readPaymentRequired, type PaymentRequired } from "../../../../sdk/src/agent/wire.ts";
import { TallystickError } from "../../../../sdk/src/errors.ts";
import { inTransaction } from "../../db/pool.ts";
import type { Deps } from "../../deps.ts";
import { EVENT } from "../../telemetry/log.ts";
import { CANARY_TIMEOUT_MS, payCanary, type Ask } from "./canary.ts";
import { serviceHealth } from "./health-store.ts";
import { judgeTerms, nextStanding, sampleCall, SUSPEND_AFTER } from "./probe-logic.ts";
import * as store from "./probe-store.ts";
import { clock } from "./sync-store.ts";
import { rankAgain } from "./sync.ts";

export type ProbeDeps = Pick<Deps, "config" | "db" | "chain" | "outbound" | "submitter" | "log" | "now">;

const AT_ONCE = 8;
const MOST_A_ROUND = 64;
const TIMEOUT_MS = 10_000;
const MOST_BYTES = 1 << 20;
/** Longer than the looks of a round take, in turns. */
const LEASE_S = Math.ceil((MOST_A_ROUND / AT_ONCE) * ((TIMEOUT_MS + CANARY_TIMEOUT_MS) / 1_000));
const CANARY_EVERY_MS = 3_600_000;
const KEPT_DAYS = 30;

/** For the sweeper. @returns how many services were looked at. */
export async function probeServices(deps: ProbeDeps): Promise<number> {
  if (deps.config.discovery.probePeriodS === 0) return 0;
  await store.enrol(deps.db);
  const since = await clock(deps.db);
  const targets = await store.lease(deps.db, MOST_A_ROUND, LEASE_S);
  const next = targets.values();
  const lane = async (): Promise<void> => {
    for (const target of next) await probe(deps, target);
  };
  await Promise.all(Array.from({ length: AT_ONCE }, lane));
  if (targets.length > 0) await rankAgain(deps, since);
  await store.forgetOld(deps.db, KEPT_DAYS);
  return targets.length;
}

async function probe(deps: ProbeDeps, target: store.Target): Promise<void> {
  const { look, required } = await lookAtTerms(deps, target);
  const canary = required === undefined || look.fault !== undefined ? undefined : await lookAsBuyer(deps, target, required);
  const fault = look.fault ?? canary?.fault;
  const standing = nextStanding(target.standing, fault, deps.now());
  await inTransaction(deps.db, async (client) => {
    await store.insertLook(client, target.serviceId, look);
    if (canary !== undefined) await store.insertLook(client, target.serviceId, canary);
    await store.setStanding(client, target.serviceId, standing, deps.config.discovery.probePeriodS, canary !== undefined);
    await store.copyHealth(client, target.serviceId, await serviceHealth(client, target.serviceId));
  });
  if ((standing.hiddenSince === undefined) !== (target.standing.hiddenSince === undefined)) {
    const { serviceId } = target;
    deps.log.info({ event: standing.hiddenSince === undefined ? EVENT.serviceShown : EVENT.serviceHidden, serviceId, code: fault }, "search changed its mind about a service");
  }
  if (standing.failures >= SUSPEND_AFTER) await suspend(deps, target, fault ?? "");
}

async function lookAtTerms(deps: ProbeDeps, target: store.Target): Promise<{ look: store.Look; required: PaymentRequired | undefined }> {
  const base = { kind: "terms", honest: undefined, paid: 0n } as const;
  const startedAt = performance.now();
  try {
    const { status, headers, latencyMs } = await askerOf(deps, target)({}, TIMEOUT_MS);
    if (status !== 402) return { look: { ...base, ok: false, status, latencyMs, fault: "not_asked_to_pay", detail: `answered ${status} to a call without payment` }, required: undefined };
    const read = readTerms(headers, deps.config.network, target);
    return { look: { ...base, ok: read.required !== undefined, honest: read.honest, status, latencyMs, fault: read.fault, detail: read.detail }, required: read.required };
  } catch (error) {
    if (!(error instanceof TallystickError)) throw error;
    return { look: { ...base, ok: false, status: undefined, latencyMs: Math.round(performance.now() - startedAt), fault: error.code, detail: error.message }, required: undefined };
  }
}

function readTerms(headers: Headers, network: string, target: store.Target): { required: PaymentRequired | undefined; honest: boolean; fault: string | undefined; detail: string | undefined } {
  try {
    const required = readPaymentRequired(headers);
    const { honest, fault, detail } = judgeTerms(required, network, target);
    return { required, honest, fault, detail };
  } catch (error) {
    if (!(error instanceof TallystickError)) throw error;
    return { required: undefined, honest: false, fault: error.code, detail: error.message };
  }
}

async function lookAsBuyer(deps: ProbeDeps, target: store.Target, required: PaymentRequired): Promise<store.Look | undefined> {
  if (target.canaryAt !== undefined && deps.now().getTime() - target.canaryAt.getTime() < CANARY_EVERY_MS) return undefined;
  const startedAt = performance.now();
  try {
    return await payCanary(deps, target, required, askerOf(deps, target));
  } catch (error) {
    if (!(error instanceof TallystickError)) throw error;
    return { kind: "canary", ok: false, honest: undefined, status: undefined, latencyMs: Math.round(performance.now() - startedAt), fault: error.code, detail: error.message, paid: 0n };
  }
}

/** Asks with the provider's own sample. What this relayer sells itself is reached where buyers reach it; everything else through `outbound`. */
function askerOf({ config, outbound }: ProbeDeps, target: store.Target): Ask {
  const { method, url, headers: own, body } = sampleCall(target.url, target.facts.endpoints[0]);
  const isOurs = target.soldHere && target.url.startsWith(`${config.publicUrl}/s/`);
  return async (more, timeoutMs) => {
    const startedAt = performance.now();
    const headers = { ...own, ...more };
    const { status, headers: answered } = isOurs
      ? await askOurselves(url, { method, headers, ...(body === undefined ? {} : { body: new Uint8Array(body) }) }, timeoutMs)
      : await outbound.fetch({ method, url, headers, ...(body === undefined ? {} : { body }), timeoutMs, maxBytes: MOST_BYTES });
    return { status, headers: headersOf(answered), latencyMs: Math.round(performance.now() - startedAt) };
  };
}

async function askOurselves(url: string, init: RequestInit, timeoutMs: number): Promise<{ status: number; headers: Record<string, string> }> {
  try {
    const response = await fetch(url, { ...init, redirect: "manual", signal: AbortSignal.timeout(timeoutMs) });
    await response.arrayBuffer();
    return { status: response.status, headers: Object.fromEntries(response.headers) };
  } catch (cause) {
    throw new TallystickError({ code: "upstream_unreachable", status: 502, retry: "safe", detail: "The gateway does not answer at its own address.", cause });
  }
}

/** A header that came twice is none of ours to choose from. */
function headersOf(answered: Record<string, string | string[]>): Headers {
  return new Headers(Object.entries(answered).flatMap(([name, value]): [string, string][] => (typeof value === "string" && /^[\t\x20-\x7e]*$/.test(value) ? [[name, value]] : [])));
}

/** Only where the registry's curator is one of this relayer's senders; once for each version of the terms. */
async function suspend(deps: ProbeDeps, target: store.Target, fault: string): Promise<void> {
  const { registry } = deps.config.bazaar;
  if (target.suspendedVersion === target.version) return;
  const curator = await deps.chain.client.readContract({ address: registry, abi: bazaarRegistryAbi, functionName: "curator" }).catch(() => undefined);
  if (curator === undefined || !deps.submitter.addresses.some((address) => isAddressEqual(address, curator))) return;
  const data = encodeFunctionData({ abi: bazaarRegistryAbi, functionName: "suspend", args: [target.serviceId, keccak256(stringToBytes(fault))] });
  await deps.submitter
    .submit({ purpose: "listing", to: registry, data, record: async (client) => void (await store.setSuspended(client, target.serviceId, target.version)) })
    .catch((err: unknown) => deps.log.warn({ event: EVENT.failure, serviceId: target.serviceId, err }, "not suspended on chain; it stays hidden"));
}
