// A request that can be sent more than once: its body in memory, its identity as a hash. And answers put together again.
import type { Hex } from "viem";
import { TallystickError } from "../errors.ts";
import { inputHash } from "../receipt.ts";

export type Sendable = {
  url: URL;
  method: string;
  headers: Headers;
  body: Uint8Array<ArrayBuffer> | undefined;
  signal: AbortSignal | undefined;
  /** What a receipt's inputHash must be. */
  inputHash: Hex;
  /** Same URL, method, content type and body: the same purchase. */
  key: string;
  /** For this call alone, beside the agent's own limits. */
  bounds?: CallBounds;
};

/** Most that one call may cost, atomic units; and how large a deposit is that comes with it. */
export type CallBounds = { most?: bigint; deposit?: { calls?: number; max?: bigint } };

/** A body larger than this is not held in memory. */
const MAX_BODY_BYTES = 32 * 1024 * 1024;

/** @throws TallystickError `request_too_large`. */
export async function sendable(input: Parameters<typeof fetch>[0], init: RequestInit | undefined): Promise<Sendable> {
  // A stream as body wants duplex said; we read it whole anyway.
  const streaming = init?.body instanceof ReadableStream ? ({ duplex: "half" } as RequestInit) : {};
  const request = new Request(input, { ...streaming, ...init });
  const body = request.body === null ? undefined : new Uint8Array(await request.arrayBuffer());
  if (body !== undefined && body.length > MAX_BODY_BYTES) {
    throw new TallystickError({ code: "request_too_large", status: 413, retry: "never", field: "body", detail: `A paid request's body is kept for repetition; ${body.length} bytes are more than ${MAX_BODY_BYTES}.` });
  }
  const url = new URL(request.url);
  const contentType = request.headers.get("content-type") ?? "";
  const hash = inputHash({ method: request.method, target: url.pathname + url.search, contentType, body: body ?? new Uint8Array() });
  return { url, method: request.method, headers: request.headers, body, signal: init?.signal ?? undefined, inputHash: hash, key: `${url.origin} ${hash}` };
}

/** Sends it, with or without a payment. */
export function sendOnce(fetcher: typeof fetch, request: Sendable, payment?: string): Promise<Response> {
  const headers = new Headers(request.headers);
  // A compressed answer is unpacked before we see it, and a receipt is about the bytes that were sent. Browsers ignore this.
  if (!headers.has("accept-encoding")) headers.set("accept-encoding", "identity");
  if (payment !== undefined) headers.set("payment-signature", payment);
  return fetcher(request.url, { method: request.method, headers, body: request.body ?? null, ...(request.signal === undefined ? {} : { signal: request.signal }), redirect: "manual" });
}

/** True for answers that are passed on as they come instead of being read first. */
export function isStream(response: Response): boolean {
  return /^text\/event-stream\b/i.test(response.headers.get("content-type") ?? "");
}

const NULL_BODY = new Set([101, 204, 205, 304]);

/** The same answer with a body that was read already. */
export function rebuilt(response: Response, body: Uint8Array<ArrayBuffer>): Response {
  const copy = new Response(NULL_BODY.has(response.status) ? null : body, { status: response.status, statusText: response.statusText, headers: response.headers });
  Object.defineProperty(copy, "url", { value: response.url });
  return copy;
}

/** RFC 9457, as our relayer answers; undefined for anything else. */
export async function problemOf(response: Response): Promise<{ code: string; retry: string; detail: string; field?: string } | undefined> {
  if (!/^application\/problem\+json\b/i.test(response.headers.get("content-type") ?? "")) return undefined;
  try {
    const problem = (await response.clone().json()) as { code?: unknown; retry?: unknown; detail?: unknown; field?: unknown };
    if (typeof problem.code !== "string") return undefined;
    return { code: problem.code, retry: String(problem.retry), detail: String(problem.detail ?? ""), ...(typeof problem.field === "string" ? { field: problem.field } : {}) };
  } catch {
    return undefined; // says it is a problem document and is none
  }
}
