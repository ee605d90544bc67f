// What a provider's own server may say of a sale, and how it becomes what the ledger keeps. Pure.
import { TallystickError } from "../../../../sdk/src/errors.ts";
import { forwardable, privateCacheControl } from "../gateway/logic.ts";
import type { Answer } from "../ledger/types.ts";
import type { WireCharge } from "./schemas.ts";

/**
 * Receipts and offers that the relayer signs name the resource, so it has to be the provider's own.
 * @throws TallystickError 400 `resource_foreign`.
 */
export function checkResource(resource: string, serviceUrl: string): void {
  const below = URL.canParse(resource) && (resource === serviceUrl || [`${serviceUrl}/`, `${serviceUrl}?`].some((start) => resource.startsWith(start)));
  // What a URL parser would rewrite (dot segments above all) could name something else than it seems to.
  if (below && new URL(resource).hash === "" && new URL(resource).href === normal(resource)) return;
  throw new TallystickError({ code: "resource_foreign", status: 400, retry: "never", field: "resource", detail: `${resource} is not below the service's url ${serviceUrl}.` });
}

/** An origin alone is the one thing that a parser writes otherwise and means the same. */
const normal = (resource: string): string => resource.replace(/^(https?:\/\/[^/?#]+)(?=\?|$)/, "$1/");

export type ReadCharge = { amount: bigint; answer: Answer; /** By the provider's clock. */ tookMs: number };

/** @throws TallystickError 400 `charge_above_price`, `answer_malformed`, `times_malformed`; 413 `answer_too_large`. */
export function readCharge(wire: WireCharge, price: bigint, maxBytes: number): ReadCharge {
  const amount = wire.amountAtomic === undefined ? price : BigInt(wire.amountAtomic);
  if (amount > price) throw malformed("charge_above_price", "amountAtomic", `The charge ${amount} is above the price ${price} that was taken.`);
  const tookMs = wire.endedAtMs - wire.startedAtMs;
  if (tookMs < 0) throw malformed("times_malformed", "endedAtMs", "endedAtMs is before startedAtMs.");
  return { amount, answer: readAnswer(wire.answer, maxBytes), tookMs };
}

/** When the run began and ended by our clock, unix milliseconds: a receipt never says that it began before it was paid for. */
export function runTimes(tookMs: number, reservedAtMs: number, nowMs: number): { startedAtMs: number; endedAtMs: number } {
  return { startedAtMs: Math.min(nowMs, Math.max(reservedAtMs, nowMs - tookMs)), endedAtMs: nowMs };
}

function readAnswer({ status, headers, bodyBase64 }: WireCharge["answer"], maxBytes: number): Answer {
  if (!/^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/.test(bodyBase64)) throw malformed("answer_malformed", "answer.bodyBase64", "bodyBase64 is not standard base64.");
  const body = Buffer.from(bodyBase64, "base64");
  if (body.length > maxBytes) throw new TallystickError({ code: "answer_too_large", status: 413, retry: "never", field: "answer.bodyBase64", detail: `The answer is ${body.length} bytes, more than ${maxBytes} are not kept.` });
  return { status, headers: kept(headers), body };
}

const TOKEN = /^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,256}$/;

/** Headers as the gateway would store them: no payment headers, private. */
function kept(given: Answer["headers"]): Answer["headers"] {
  for (const [name, value] of Object.entries(given)) {
    const ok = TOKEN.test(name) && [value].flat().every((one) => /^[\t\x20-\x7e\x80-\xff]*$/.test(one));
    if (!ok) throw malformed("answer_malformed", "answer.headers", `The header ${JSON.stringify(name)} cannot be sent.`);
  }
  const headers = forwardable(Object.fromEntries(Object.entries(given).map(([name, value]) => [name.toLowerCase(), value])));
  return { ...headers, "cache-control": privateCacheControl(headers["cache-control"]) };
}

function malformed(code: string, field: string, detail: string): TallystickError {
  return new TallystickError({ code, status: 400, retry: "never", field, detail });
}
