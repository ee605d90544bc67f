// What a look at a service means. Pure: what it answered against what the registry says, and what follows from several looks.
import { isAddressEqual, type Address } from "viem";
import { SERVICE_SCHEMES, namesOf } from "../../../../sdk/src/bazaar.ts";
import { addressIn, requiredAmount, type Accepts, type PaymentRequired } from "../../../../sdk/src/agent/wire.ts";
import type { EndpointFacts } from "./types.ts";

/** Failures in a row after which a service is hidden, and successes after which it is back. */
export const HIDE_AFTER = 3;
export const BACK_AFTER = 2;
/** In a row: a curator's relayer then asks the registry to suspend it. */
export const SUSPEND_AFTER = 10;

export type Registered = { payTo: Address; token: Address; price: bigint; schemes: number };
export type Verdict = { honest: boolean; fault?: string; detail?: string };

/**
 * The terms of a 402 beside the registry's. Everything that is offered on this network must be the registry's, in at least one of its schemes.
 * @throws TallystickError `seller_malformed` for terms that cannot be read.
 */
export function judgeTerms({ accepts }: PaymentRequired, network: string, registered: Registered): Verdict {
  const here = accepts.filter((entry) => entry?.network === network);
  if (here.length === 0) return { honest: false, fault: "network_missing", detail: `nothing is offered on ${network}` };
  for (const entry of here) {
    const fault = faultOf(entry, registered);
    if (fault !== undefined) return { honest: false, ...fault };
  }
  const schemes: readonly string[] = namesOf(SERVICE_SCHEMES, BigInt(registered.schemes));
  if (!here.some(({ scheme }) => schemes.includes(scheme))) return { honest: false, fault: "scheme_missing", detail: `none of ${schemes.join(", ")} is offered` };
  return { honest: true };
}

function faultOf(entry: Accepts, { payTo, token, price }: Registered): { fault: string; detail: string } | undefined {
  const fields = entry as unknown as Record<string, unknown>;
  const offered = { payTo: addressIn(fields, "payTo"), token: addressIn(fields, "asset"), price: requiredAmount(fields, "amount") };
  if (!isAddressEqual(offered.payTo, payTo)) return { fault: "pay_to_differs", detail: `${offered.payTo} is to be paid, the registry says ${payTo}` };
  if (!isAddressEqual(offered.token, token)) return { fault: "token_differs", detail: `${offered.token} is asked for, the registry says ${token}` };
  if (offered.price !== price) return { fault: "price_differs", detail: `${offered.price} is asked for, the registry says ${price}` };
  return undefined;
}

export type Standing = { failures: number; successes: number; hiddenSince: Date | undefined; hiddenReason: string | undefined };

export function nextStanding({ failures, successes, hiddenSince, hiddenReason }: Standing, fault: string | undefined, now: Date): Standing {
  if (fault === undefined) {
    const back = successes + 1 >= BACK_AFTER;
    return { failures: 0, successes: successes + 1, hiddenSince: back ? undefined : hiddenSince, hiddenReason: back ? undefined : hiddenReason };
  }
  const hidden = hiddenSince !== undefined || failures + 1 >= HIDE_AFTER;
  return { failures: failures + 1, successes: 0, hiddenSince: hidden ? (hiddenSince ?? now) : undefined, hiddenReason: hidden ? fault : undefined };
}

/** The call that a provider gives as its sample: its first endpoint, or the service's root. */
export function sampleCall(url: string, endpoint: EndpointFacts | undefined): { method: string; url: string; headers: Record<string, string>; body: Buffer | undefined } {
  if (endpoint === undefined) return { method: "GET", url, headers: {}, body: undefined };
  const sample = typeof endpoint.sampleInput === "object" && endpoint.sampleInput !== null && !Array.isArray(endpoint.sampleInput) ? (endpoint.sampleInput as Record<string, unknown>) : {};
  const inPath = new Set<string>();
  const path = endpoint.path.replace(/\{([^{}/]+)\}/g, (_whole, name: string) => {
    inPath.add(name);
    return encodeURIComponent(plain(sample[name]) || "1");
  });
  const rest = Object.entries(sample).filter(([name]) => !inPath.has(name));
  const base = url + (path === "/" ? "" : path);
  if (["POST", "PUT", "PATCH"].includes(endpoint.method)) return { method: endpoint.method, url: base, headers: { "content-type": "application/json" }, body: Buffer.from(JSON.stringify(Object.fromEntries(rest))) };
  const query = new URLSearchParams(rest.map(([name, value]) => [name, plain(value)])).toString();
  return { method: endpoint.method, url: query === "" ? base : `${base}?${query}`, headers: {}, body: undefined };
}

const plain = (value: unknown): string => (typeof value === "object" ? JSON.stringify(value ?? "") : String(value ?? "")).slice(0, 1_000);
