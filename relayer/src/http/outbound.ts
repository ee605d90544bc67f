// The only HTTP client for addresses that others chose. It resolves a name once and connects to that very address, refuses
// private, loopback and link-local ranges (unless configured for local use), follows no redirect, and limits bytes and time.
import { lookup as dnsLookup, type LookupAddress } from "node:dns";
import { isIP } from "node:net";
import ipaddr from "ipaddr.js";
import { Agent, errors, request as undiciRequest, type Dispatcher } from "undici";
import { TallystickError } from "../../../sdk/src/errors.ts";

export type OutboundRequest = {
  method: string;
  url: string;
  headers: Record<string, string | string[]>;
  body?: Buffer;
  /** Limit for the whole exchange. */
  timeoutMs: number;
  maxBytes: number;
  signal?: AbortSignal;
};
export type OutboundResponse = { status: number; headers: Record<string, string | string[]>; body: Buffer };

/** A request whose answer is read as it comes: `timeoutMs` bounds the wait for the headers and then for each part of the body. */
export type OutboundStreamRequest = OutboundRequest & {
  /** Limit for the whole exchange, milliseconds, once the head of the answer is known. */
  totalMs(head: Omit<OutboundResponse, "body">): number;
};
export type OutboundStream = Omit<OutboundResponse, "body"> & {
  /**
   * The body as it is written, in what parts it arrives. Leaving the loop early closes the connection.
   * @throws TallystickError as fetch does, with what was read before it still good.
   */
  body: AsyncIterable<Buffer>;
};

export type Outbound = {
  /** @throws TallystickError upstream_unreachable | upstream_timeout | upstream_too_large | outbound_address_refused, all safe to retry. */
  fetch(request: OutboundRequest): Promise<OutboundResponse>;
  /** Status and headers first, the body as it comes. @throws as fetch. */
  open(request: OutboundStreamRequest): Promise<OutboundStream>;
  close(): Promise<void>;
};

export function createOutbound(options: { allowPrivate: boolean; lookup?: typeof dnsLookup }): Outbound {
  const agent = new Agent({
    connect: { lookup: guardedLookup(options.allowPrivate, options.lookup ?? dnsLookup) as never },
    connections: 256,
    pipelining: 1,
  });
  return {
    fetch: async (request) => {
      const { status, headers, body } = await exchange(agent, options.allowPrivate, { ...request, totalMs: () => request.timeoutMs });
      return { status, headers, body: await collect(body) };
    },
    open: (request) => exchange(agent, options.allowPrivate, request),
    close: () => agent.close(),
  };
}

async function exchange(agent: Dispatcher, allowPrivate: boolean, request: OutboundStreamRequest): Promise<OutboundStream> {
  const url = new URL(request.url);
  // A literal address never reaches the resolver, so it is checked here.
  const host = url.hostname.replace(/^\[|\]$/g, "");
  if (isIP(host) !== 0 && !allowPrivate && !isPublic(host)) throw addressRefused(host);
  const clock = startClock(request.timeoutMs);
  const signal = request.signal === undefined ? clock.ranOut : AbortSignal.any([clock.ranOut, request.signal]);
  const explain = (error: unknown) => explained(error, request, clock.ranOut);
  try {
    const response = await undiciRequest(url, {
      dispatcher: agent,
      method: request.method as Dispatcher.HttpMethod,
      headers: request.headers,
      body: request.body ?? null,
      signal,
      headersTimeout: request.timeoutMs,
      bodyTimeout: request.timeoutMs,
    });
    const head = { status: response.statusCode, headers: definedHeaders(response.headers) };
    clock.set(request.totalMs(head));
    return { ...head, body: limited(response.body, request.maxBytes, explain, clock) };
  } catch (error) {
    clock.stop();
    throw explain(error);
  }
}

type Clock = { ranOut: AbortSignal; /** Counts from the start of the exchange. */ set(limitMs: number): void; stop(): void };

function startClock(limitMs: number): Clock {
  const controller = new AbortController();
  const startedAt = performance.now();
  const arm = (ms: number) => setTimeout(() => controller.abort(), Math.max(0, ms)).unref();
  let timer = arm(limitMs);
  const stop = () => clearTimeout(timer);
  return {
    ranOut: controller.signal,
    set(ms) {
      stop();
      timer = arm(ms - (performance.now() - startedAt));
    },
    stop,
  };
}

function explained(error: unknown, request: OutboundRequest, timeout: AbortSignal): TallystickError {
  if (error instanceof TallystickError) return error;
  if (timeout.aborted || error instanceof errors.HeadersTimeoutError || error instanceof errors.BodyTimeoutError) {
    return failure("upstream_timeout", 504, `The service did not answer within ${request.timeoutMs} ms.`, error);
  }
  return refusalIn(error) ?? failure("upstream_unreachable", 502, "The service could not be reached or broke off its answer.", error);
}

/** Leaving the loop, however, destroys what is not read. */
async function* limited(body: AsyncIterable<Buffer>, maxBytes: number, explain: (error: unknown) => TallystickError, clock: Clock): AsyncGenerator<Buffer, void, void> {
  let size = 0;
  try {
    for await (const chunk of body) {
      size += chunk.length;
      if (size > maxBytes) throw failure("upstream_too_large", 502, `The service's answer is larger than ${maxBytes} bytes.`, undefined);
      yield chunk;
    }
  } catch (error) {
    throw explain(error);
  } finally {
    clock.stop();
  }
}

/** The whole of a body. */
export async function collect(body: AsyncIterable<Buffer>): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of body) chunks.push(chunk);
  return Buffer.concat(chunks);
}

function definedHeaders(headers: Record<string, string | string[] | undefined>): Record<string, string | string[]> {
  return Object.fromEntries(Object.entries(headers).filter((entry): entry is [string, string | string[]] => entry[1] !== undefined));
}

type LookupCallback = (error: Error | null, address?: string | LookupAddress[], family?: number) => void;

/** A resolver that answers only addresses we may connect to; the connection is made to the address it answers. */
function guardedLookup(allowPrivate: boolean, lookup: typeof dnsLookup) {
  return (hostname: string, options: { all?: boolean; family?: number }, callback: LookupCallback) => {
    lookup(hostname, { all: true, family: options.family ?? 0 }, (error, addresses) => {
      if (error !== null) return callback(error);
      const allowed = allowPrivate ? addresses : addresses.filter((entry) => isPublic(entry.address));
      const [first] = allowed;
      // One private answer among public ones is an attack or a mistake; both are refused.
      if (first === undefined || allowed.length !== addresses.length) return callback(addressRefused(hostname));
      if (options.all === true) return callback(null, [first]);
      return callback(null, first.address, first.family);
    });
  };
}

/** True for a globally routable unicast address; IPv4 inside IPv6 (mapped, NAT64, 6to4, Teredo) is judged as not. */
export function isPublic(address: string): boolean {
  const parsed = ipaddr.process(address);
  return parsed.range() === "unicast";
}

function addressRefused(host: string): TallystickError {
  return failure("outbound_address_refused", 502, `${host} is a private, loopback or reserved address.`, undefined);
}

function refusalIn(error: unknown): TallystickError | undefined {
  for (let cause = error; cause instanceof Error; cause = cause.cause) if (cause instanceof TallystickError) return cause;
  return undefined;
}

function failure(code: string, status: number, detail: string, cause: unknown): TallystickError {
  return new TallystickError({ code, status, retry: "safe", detail, cause });
}
