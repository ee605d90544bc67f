// One run of a service's upstream: the head of its answer first, so that a streamed one can pass as it is written.
import { actualCharge } from "../../../../sdk/src/charge.ts";
import { BASE } from "../../../../sdk/src/constants.ts";
import { TallystickError } from "../../../../sdk/src/errors.ts";
import type { Deps } from "../../deps.ts";
import { collect } from "../../http/outbound.ts";
import type { Answer, Delivery } from "../ledger/types.ts";
import { isStreaming } from "../streams/logic.ts";
import type { LiveStreams } from "../streams/service.ts";
import { runHandler } from "./handler.ts";
import { forwardable, privateCacheControl } from "./logic.ts";
import type { GatewayDeps } from "./rail.ts";
import type { Service } from "./store.ts";

/** An HTTP call on a service, already normalised. */
export type Call = {
  method: string;
  /** Path and query below /s/<service>. */
  path: string;
  headers: Record<string, string | string[] | undefined>;
  body: Buffer;
  /** Aborts when the client goes away before it was answered. */
  signal: AbortSignal;
  /** Where streams of this process are kept; undefined for callers that want answers whole. */
  streams?: LiveStreams;
  /** The buyer pays a stream step by step. */
  metered?: boolean;
};

/** An answer whose head has arrived. */
export type UpstreamRun = {
  status: number;
  /** As they may be passed on. */
  headers: Answer["headers"];
  /** What this answer costs at most, atomic units. */
  amount: bigint;
  startedAt: Date;
  body: AsyncIterable<Buffer>;
  /** True when the body is to be passed on as it is written. */
  streams: boolean;
  /** Lets the run outlive its buyer's connection. */
  detach(): void;
  stop(): void;
};

/** No stream is longer, milliseconds; each part of it has the service's own time limit. */
const LONGEST_STREAM_MS = 15 * 60_000;

/** @throws TallystickError 502 or 504: the service failed, and nothing may be charged. */
export async function openUpstream(deps: Pick<GatewayDeps, "now" | "handlers" | "outbound" | "config">, service: Service, call: Call, paymentId: string): Promise<UpstreamRun> {
  if (service.origin === undefined) throw new Error("invariant: only the provider's own server runs a self-hosted service");
  const startedAt = deps.now();
  const stopped = new AbortController();
  const stop = () => stopped.abort();
  if (call.signal.aborted) stop();
  call.signal.addEventListener("abort", stop);
  const detach = () => call.signal.removeEventListener("abort", stop);
  const handler = deps.handlers.get(service.name);
  if (handler !== undefined) {
    const { method, path, headers, body } = call;
    const answer = await runHandler(handler, { method, path, headers: forwardable(headers), body, paymentId, signal: stopped.signal }, service.upstreamTimeoutMs, stop);
    return { status: answer.status, headers: passedOn(answer.headers), amount: costOf(answer, service), startedAt, body: whole(answer.body), streams: false, detach, stop };
  }
  const streams = (head: Pick<Answer, "status" | "headers">) => call.streams !== undefined && isStreaming(call.method, head.status, head.headers);
  const response = await deps.outbound.open({
    method: call.method,
    url: service.origin + call.path,
    headers: { ...forwardable(call.headers), ...(call.metered === true ? { "accept-encoding": "identity" } : {}), "tallystick-payment-id": paymentId },
    ...(call.body.length === 0 ? {} : { body: call.body }),
    timeoutMs: service.upstreamTimeoutMs,
    totalMs: (head) => (streams(head) ? LONGEST_STREAM_MS : service.upstreamTimeoutMs),
    maxBytes: deps.config.limits.answerBytes,
    signal: stopped.signal,
  });
  try {
    const amount = costOf(response, service);
    return { status: response.status, headers: passedOn(response.headers), amount, startedAt, body: response.body, streams: streams(response), detach, stop };
  } catch (error) {
    stop();
    throw error;
  }
}

async function* whole(body: Buffer): AsyncGenerator<Buffer> {
  yield body;
}

function passedOn(raw: Answer["headers"]): Answer["headers"] {
  const headers = forwardable(raw);
  // Named where the service names none: the receipt covers the type that the buyer gets, and bytes without one are sent as this.
  return { "content-type": "application/octet-stream", ...headers, "cache-control": privateCacheControl(headers["cache-control"]) };
}

function costOf(response: Pick<Answer, "status" | "headers">, service: Service): bigint {
  if (response.status === 402) {
    throw new TallystickError({ code: "upstream_payment_required", status: 502, retry: "never", detail: "The service itself asked for a payment; nothing was charged." });
  }
  const amount = actualCharge(response.headers["settlement-overrides"], service.price, BASE.usdc.decimals);
  if (amount === undefined) {
    throw new TallystickError({ code: "upstream_charge_invalid", status: 502, retry: "never", detail: "The service asked for a charge above its price, or for none that can be read; nothing was charged." });
  }
  return amount;
}

/** The whole answer. */
export async function deliveryOf(deps: Pick<Deps, "now">, run: UpstreamRun): Promise<Delivery> {
  const body = await collect(run.body);
  return { answer: { status: run.status, headers: run.headers, body }, amount: run.amount, startedAt: run.startedAt, endedAt: deps.now() };
}
