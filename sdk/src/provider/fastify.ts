// A Fastify server that sells its routes: one price a route, taken before the handler, charged before the first byte of the answer.
//   app.register(tallystick, { relayerUrl, account, service: "quotes", publicUrl: "https://quotes.example", list: { price: "$0.001" } });
//   app.get("/quote", { config: { price: "$0.001" } }, handler);
// Register it first: what is registered later is sold, what is registered earlier in a scope of its own is not.
// A handler that takes the reply over (reply.hijack) sells nothing: what it writes is not charged.
import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { Readable } from "node:stream";
import type { Address } from "viem";
import { actualCharge, chargeOf, parsePrice } from "../charge.ts";
import { TallystickError } from "../errors.ts";
import { createProvider, type Provider, type ProviderOptions } from "./provider.ts";
import { problemAnswer, type Answer, type Headers, type Sale } from "./sale.ts";

/** What a call costs, or at most: `reply.charge` then says how much less it is. Nothing said, the whole of it is charged. */
export type Price = string | { max: string };

/** What a handler knows of the payment. */
export type Payment = { paymentId: string; payer: Address; /** The most that this call is charged, atomic units. */ price: bigint };

declare module "fastify" {
  interface FastifyContextConfig {
    /** "$0.001", { max: "$0.01" }, or false: free. */
    price?: Price | false;
  }
  interface FastifyRequest {
    /** Undefined on a route that is free. */
    payment: Payment | undefined;
  }
  interface FastifyReply {
    /** The actual charge, at most the price: "$0.0042", "4200" (atomic units), "33%", "0". */
    charge(amount: string): FastifyReply;
  }
}

export type TallystickOptions = ProviderOptions & {
  /** Of routes that name none; without it those are free. */
  defaultPrice?: Price;
  /** Larger answers are not sold: they are held in memory and stored. */
  maxAnswerBytes?: number;
};

/** One priced call under way. */
type Call = {
  price: bigint;
  /** As sent. */
  body: Uint8Array;
  sale: Sale | undefined;
  startedAtMs: number;
  charge: bigint | undefined;
  /** Charged, released, or on the way to either: once. */
  resolved: boolean;
};

const DECIMALS = 6;
const MAX_ANSWER_BYTES = 16 * 1024 * 1024;

async function plugin(app: FastifyInstance, options: TallystickOptions): Promise<void> {
  const { defaultPrice, maxAnswerBytes = MAX_ANSWER_BYTES } = options;
  const provider = createProvider({ ...options, onProblem: options.onProblem ?? ((err) => app.log.warn({ err }, "tallystick")) });
  const calls = new WeakMap<FastifyRequest, Call>();
  const fallback = defaultPrice === undefined ? undefined : atomicPrice(defaultPrice);

  app.decorateRequest("payment", undefined);
  app.decorateReply("charge", function (this: FastifyReply, amount: string) {
    const call = calls.get(this.request);
    if (call?.sale === undefined) throw new TallystickError({ code: "charge_unpaid", status: 500, retry: "never", detail: "reply.charge is for calls that are paid for." });
    const charge = chargeOf(amount, call.price, DECIMALS);
    if (charge === undefined) throw new TallystickError({ code: "charge_invalid", status: 500, retry: "never", field: "amount", detail: `The charge ${amount} is above the price of ${call.price} atomic units, or no amount.` });
    call.charge = charge;
    return this;
  });
  // A price with a typing error ends the start, not the first call.
  app.addHook("onRoute", ({ config }) => void (config?.price !== undefined && config.price !== false && atomicPrice(config.price)));
  app.addHook("onReady", () => provider.start());
  app.addHook("onClose", () => provider.stop());

  app.addHook("preParsing", async (request, _reply, payload) => {
    const price = priceOf(request, fallback);
    if (price === undefined) return payload;
    const body = await bodyAsSent(request, payload);
    calls.set(request, { price, body: body ?? new Uint8Array(), sale: undefined, startedAtMs: 0, charge: undefined, resolved: false });
    return body === undefined ? payload : replayed(body);
  });
  app.addHook("preHandler", async (request, reply) => {
    const call = calls.get(request);
    if (call === undefined) return undefined;
    const session = request.headers["x-402-session-id"];
    const incoming = { method: request.method, target: request.raw.url!, contentType: request.headers["content-type"] ?? "", body: call.body, payment: paymentHeader(request), ...(session === undefined ? {} : { session: String(session) }) };
    const taken = await provider.take(incoming, call.price);
    if ("instead" in taken) return send(reply, taken.instead);
    call.sale = taken.sale;
    call.startedAtMs = Date.now();
    const { paymentId, payer, price } = taken.sale;
    request.payment = { paymentId, payer, price };
    call.price = price; // agreed with this buyer, perhaps
    const gone = () => void release(call, "client_gone");
    reply.raw.once("close", gone);
    if (reply.raw.destroyed) gone(); // while we asked the relayer
    return undefined;
  });
  app.addHook("onSend", async (request, reply, payload) => {
    const call = calls.get(request);
    if (call?.sale === undefined || call.resolved) return payload;
    return sell(call, call.sale, reply, payload, maxAnswerBytes);
  });
}

/** Turns a finished answer into a charged one. What leaves is what was charged for, or says that nothing was. */
async function sell(call: Call, sale: Sale, reply: FastifyReply, payload: unknown, maxBytes: number): Promise<unknown> {
  const override = reply.getHeader("settlement-overrides");
  reply.removeHeader("settlement-overrides");
  if (reply.statusCode >= 400) {
    reply.headers(await release(call, `handler_${reply.statusCode}`));
    return payload;
  }
  const amount = call.charge ?? actualCharge(override === undefined ? undefined : String(override), call.price, DECIMALS);
  if (amount === undefined) return fail(call, reply, "charge_invalid", "The seller asked for a charge above its price, or for none that can be read; nothing was charged.");
  const body = await collected(payload, maxBytes);
  if (body === undefined) return fail(call, reply, "answer_broken", "The seller's answer broke off or is too large; nothing was charged.");
  // The client left: it is not charged. From here on it is, and can fetch the answer.
  if (call.resolved) return body;
  call.resolved = true;
  const sold = reply.request.method === "HEAD" ? new Uint8Array() : body;
  const done = await sale.charge({ answer: { status: reply.statusCode, headers: textHeaders(reply), body: sold }, amount, startedAtMs: call.startedAtMs, endedAtMs: Date.now() });
  if ("instead" in done) return replace(reply, done.instead);
  reply.headers(done.headers);
  return body;
}

async function fail(call: Call, reply: FastifyReply, code: string, detail: string): Promise<Buffer> {
  const headers = await release(call, code);
  return replace(reply, withHeaders(problemAnswer(new TallystickError({ code, status: 500, retry: "safe", detail }), call.sale?.paymentId), headers));
}

async function release(call: Call, reason: string): Promise<Headers> {
  if (call.resolved || call.sale === undefined) return {};
  call.resolved = true;
  return call.sale.release(reason);
}

/** Nothing of the handler's answer is left. What other hooks set for browsers stays. */
function replace(reply: FastifyReply, { status, headers, body }: Answer): Buffer {
  for (const name of Object.keys(reply.getHeaders())) if (!/^(?:access-control-|vary$)/.test(name)) reply.removeHeader(name);
  reply.code(status).headers(headers);
  return Buffer.from(body);
}

const withHeaders = (answer: Answer, headers: Headers): Answer => ({ ...answer, headers: { ...answer.headers, ...headers } });

function send(reply: FastifyReply, { status, headers, body }: Answer): FastifyReply {
  reply.code(status).headers(headers);
  return body.length === 0 ? reply.send() : reply.send(Buffer.from(body));
}

function textHeaders(reply: FastifyReply): Headers {
  return Object.fromEntries(Object.entries(reply.getHeaders()).flatMap(([name, value]) => (value === undefined ? [] : [[name, Array.isArray(value) ? value.map(String) : String(value)]])));
}

/** Undefined for a route that is free. */
function priceOf(request: FastifyRequest, fallback: bigint | undefined): bigint | undefined {
  if (request.is404 || request.method === "OPTIONS") return undefined;
  const { price } = request.routeOptions.config;
  return price === false ? undefined : price === undefined ? fallback : atomicPrice(price);
}

const atomicPrice = (price: Price): bigint => parsePrice(typeof price === "string" ? price : price.max, DECIMALS);

function paymentHeader({ headers }: FastifyRequest): string | undefined {
  const header = headers["payment-signature"] ?? headers["x-402-payment"];
  return header === undefined ? undefined : String(header);
}

/** The body as the buyer sent and hashed it; undefined when there is none. @throws 413, as Fastify does. */
async function bodyAsSent({ method, headers, routeOptions }: FastifyRequest, payload: AsyncIterable<Uint8Array>): Promise<Buffer | undefined> {
  if (method === "GET" || method === "HEAD" || (headers["content-length"] === undefined && headers["transfer-encoding"] === undefined)) return undefined;
  const parts: Uint8Array[] = [];
  let size = 0;
  for await (const part of payload) {
    size += part.length;
    if (size > (routeOptions.bodyLimit ?? Infinity)) throw Object.assign(new Error("Request body is too large"), { statusCode: 413, code: "FST_ERR_CTP_BODY_TOO_LARGE" });
    parts.push(part);
  }
  return Buffer.concat(parts);
}

function replayed(body: Buffer): Readable & { receivedEncodedLength: number } {
  const stream = new Readable({ read() {} });
  if (body.length > 0) stream.push(body);
  stream.push(null);
  return Object.assign(stream, { receivedEncodedLength: body.length });
}

/** The whole of a payload; undefined when it breaks off or is larger. */
async function collected(payload: unknown, maxBytes: number): Promise<Buffer | undefined> {
  if (payload === null || payload === undefined) return Buffer.alloc(0);
  if (typeof payload === "string") return sized(Buffer.from(payload), maxBytes);
  if (payload instanceof Uint8Array) return sized(Buffer.from(payload.buffer, payload.byteOffset, payload.byteLength), maxBytes);
  const source = payload instanceof Response ? payload.body : payload;
  const parts: Buffer[] = [];
  let size = 0;
  try {
    for await (const part of (source ?? []) as AsyncIterable<Uint8Array | string>) {
      const bytes = Buffer.from(part as Uint8Array);
      size += bytes.length;
      if (size > maxBytes) return undefined; // leaving the loop destroys the stream
      parts.push(bytes);
    }
  } catch {
    return undefined; // whatever it was, there is no whole answer to sell
  }
  return Buffer.concat(parts);
}

const sized = (body: Buffer, maxBytes: number): Buffer | undefined => (body.length > maxBytes ? undefined : body);

/** The plugin. Its hooks are for the instance that it is registered in and everything registered after it. */
export const tallystick = Object.assign(plugin, { [Symbol.for("skip-override")]: true, [Symbol.for("fastify.display-name")]: "tallystick" });
export type { FastifyInstance, Provider };
