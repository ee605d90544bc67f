// ANY /s/<service>/*: decode, call the service, encode.
import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import type { PassThrough } from "node:stream";
import { Type } from "typebox";
import { RECEIPT_EXTENSION } from "../../../../sdk/src/receipt.ts";
import { TallystickError } from "../../../../sdk/src/errors.ts";
import { encodePaymentResponse } from "../../http/x402-headers.ts";
import { newPaymentId } from "../../payment-id.ts";
import { problemResponse } from "../../problem-schema.ts";
import { notMetered } from "../negotiation/refusals.ts";
import { agreedFor, refusalOfSession, sessionExtension, soldAs, type AgreedService } from "../negotiation/agreed.ts";
import { standingPayment } from "../negotiation/standing.ts";
import { createLiveStreams, type LiveStreams } from "../streams/service.ts";
import { payByTransfer } from "../transfers/service.ts";
import { challengeOf, unpaid, type Challenge } from "./challenge.ts";
import { normalisePath } from "./logic.ts";
import { checkOnSale } from "./pause.ts";
import * as gateway from "./service.ts";
import type { GatewayDeps, Sale } from "./rail.ts";
import type { Service } from "./store.ts";

const METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

const RESPONSES = {
  400: problemResponse("The payment or the path is malformed; `field` names where"),
  402: problemResponse("Not paid, or the payment does not do: terms in PAYMENT-REQUIRED"),
  403: problemResponse("The mandate that the payment is made under does not allow it; `mandateId` names which, nothing moved"),
  404: problemResponse("No such service"),
  409: problemResponse("The payment-identifier was used with another request"),
  413: problemResponse("The body is too large"),
  429: problemResponse("Too many upstream runs of this payer ended without a charge"),
  502: problemResponse("The service failed; nothing was charged"),
  503: problemResponse("Ours, not yours: chain or ledger are away, or this payment is still being served; nothing was charged twice"),
  504: problemResponse("The service was too slow; nothing was charged"),
};

type Params = { service: string };

export function gatewayRoutes(app: FastifyInstance, deps: GatewayDeps): void {
  const streams = createLiveStreams();
  app.addHook("preClose", async () => streams.stop());
  app.addHook("onClose", () => streams.ended());
  app.register(async (scope) => {
    // Bodies are forwarded as they came, whatever they are.
    scope.removeAllContentTypeParsers();
    scope.addContentTypeParser("*", { parseAs: "buffer", bodyLimit: deps.config.limits.requestBytes }, (_request, body, done) => done(null, body));
    const handler = (request: FastifyRequest, reply: FastifyReply) => sell(deps, streams, request as FastifyRequest<{ Params: Params }>, reply);
    for (const url of ["/s/:service", "/s/:service/*"]) {
      scope.route({
        method: METHODS,
        url,
        handler,
        exposeHeadRoute: false,
        // The schema is for readers; the one parameter is checked by hand, at a tenth of what the general check of every call would cost.
        validatorCompiler: () => () => true,
        schema: {
          tags: ["gateway"],
          summary: "Buy one call of a service",
          description: "Without payment: 402 with the terms in PAYMENT-REQUIRED (x402 v2). With PAYMENT-SIGNATURE: the service's answer, and PAYMENT-RESPONSE.",
          params: Type.Object({ service: Type.String({ pattern: "^[a-z0-9][a-z0-9-]{0,62}$" }) }, { additionalProperties: true }),
          response: RESPONSES,
        },
      });
    }
  });
}

const SERVICE_NAME = /^[a-z0-9][a-z0-9-]{0,62}$/;

function serviceName({ params }: FastifyRequest<{ Params: Params }>): string {
  if (SERVICE_NAME.test(params.service)) return params.service;
  throw new TallystickError({ code: "request_malformed", status: 400, retry: "never", field: "service", detail: "A service's name has lower-case letters, digits and dashes." });
}

async function sell(deps: GatewayDeps, streams: LiveStreams, request: FastifyRequest<{ Params: Params }>, reply: FastifyReply): Promise<FastifyReply> {
  const listed = await gateway.gatewayService(deps, serviceName(request));
  const named = request.headers["x-402-session-id"];
  const agreed = named === undefined ? undefined : await agreedFor(deps, listed, named);
  const path = normalisePath(request.raw.url ?? "", listed.name);
  const url = deps.config.publicUrl + gateway.targetOf(listed, path);
  const header = paymentHeader(request);
  const left = header === undefined && agreed !== undefined ? await standingPayment(deps, agreed, request.headers) : undefined;
  if (header === undefined && left === undefined) checkOnSale(listed);
  if (left instanceof TallystickError || (header === undefined && left === undefined)) {
    return challenge(deps, request, reply, { ...(await termsOf(deps, listed, agreed)), url, paymentId: newPaymentId(), problem: left ?? (agreed && refusalOfSession(agreed)) ?? unpaid() });
  }

  const started = process.hrtime.bigint();
  const byTransfer = header === undefined ? undefined : await boughtByTransfer(deps, request, reply, { service: listed, path, url, header });
  if (byTransfer !== undefined) return byTransfer;
  const payment = left ?? gateway.readPayment(header!);
  const service = agreed === undefined ? listed : left === undefined ? soldAs(agreed, listed, payment.envelope.accepted.amount) : agreed.service;
  // Those who speak in the older names are answered with X-402-Receipt.
  if (usesAliases(request)) payment.envelope.extensions = { ...payment.envelope.extensions, [RECEIPT_EXTENSION]: {} };
  const call = { method: request.method, path, headers: request.headers, body: bodyOf(request), signal: goneSignal(request, reply), ...(left === undefined ? { streams } : {}), metered: isMetered(request, service) };
  try {
    const sale = await gateway.buy(deps, service, call, payment);
    reply.raw.once("finish", () => deps.reached("answer.sent"));
    deps.metrics.paidCallSeconds.observe(Number(process.hrtime.bigint() - started) / 1e9);
    return await reply.code(sale.answer.status).headers({ ...sale.answer.headers, ...saleHeaders(sale, usesAliases(request)), ...(agreed && sessionHeaders(agreed)) }).send(sale.live === undefined ? sale.answer.body : startingAtOnce(sale.live, reply, streams.stopping));
  } catch (error) {
    if (!(error instanceof TallystickError)) throw error;
    if (error.status === 402) return challenge(deps, request, reply, { ...(await termsOf(deps, listed, agreed && (await agreedFor(deps, listed, named)))), url, paymentId: payment.paymentId, problem: error });
    error.extra["paymentId"] ??= payment.paymentId;
    throw error;
  }
}

/** A session that takes no more calls is told, with how to go on, beside the terms of everybody. */
async function termsOf(deps: GatewayDeps, listed: Service, agreed: AgreedService | undefined): Promise<Pick<Challenge, "service" | "extensions">> {
  if (agreed === undefined) return { service: listed };
  return { service: agreed.over === undefined ? agreed.service : listed, extensions: await sessionExtension(deps, agreed) };
}

const sessionHeaders = ({ session }: AgreedService): Record<string, string> => ({ "X-402-Session-Id": session.sessionId, "X-402-Intent": session.intentId, "X-402-Offer": session.offerHash });

type ByTransfer = { service: Service; path: string; url: string; header: string };

/** X-402-Payment that names a transaction or a receipt; undefined for everything else. */
async function boughtByTransfer(deps: GatewayDeps, request: FastifyRequest, reply: FastifyReply, { service, path, url, header }: ByTransfer): Promise<FastifyReply | undefined> {
  if (request.headers["x-402-payment"] === undefined) return undefined;
  try {
    const purchase = gateway.purchaseOf(deps, service, { method: request.method, path, headers: request.headers, body: bodyOf(request) });
    const sale = await payByTransfer(deps, header, purchase, goneSignal(request, reply));
    return sale && (await reply.code(sale.answer.status).headers({ ...sale.answer.headers, ...saleHeaders(sale, true) }).send(sale.answer.body));
  } catch (error) {
    if (!(error instanceof TallystickError) || error.status !== 402) throw error;
    return challenge(deps, request, reply, { service, url, paymentId: newPaymentId(), problem: error });
  }
}

/** The buyer asks to pay a stream step by step. @throws TallystickError 400 `stream_not_metered`, before anything is reserved. */
function isMetered(request: FastifyRequest, service: Service): boolean {
  const wish = request.headers["tallystick-stream"];
  if (wish === undefined) return false;
  if (service.agreed !== undefined) throw notMetered();
  if (wish === "metered" && service.stream !== undefined) return true;
  const detail = service.stream === undefined ? `${service.name} sells streams at the price of a call only.` : "The only value of this header is metered.";
  throw new TallystickError({ code: "stream_not_metered", status: 400, retry: "never", field: "Tallystick-Stream", detail });
}

/** The head leaves before the first part of the body is there: Fastify sets it before it reads. */
function startingAtOnce(live: PassThrough, reply: FastifyReply, stopping: AbortSignal): PassThrough {
  live.once("resume", () => reply.raw.flushHeaders());
  // Its head said that the connection stays open; a relayer that stops would wait for it to be idle long enough.
  const { socket } = reply.raw; // taken off the response when that is finished
  reply.raw.once("finish", () => {
    if (stopping.aborted) socket?.end();
  });
  return live;
}

/** PAYMENT-SIGNATURE, or its older name. */
function paymentHeader(request: FastifyRequest): string | undefined {
  const headers = [request.headers["payment-signature"], request.headers["x-402-payment"]].filter((value) => value !== undefined);
  const [header] = headers;
  if (header === undefined) return undefined;
  if (headers.length === 1 && typeof header === "string" && header !== "") return header;
  throw new TallystickError({ code: "payment_malformed", status: 400, retry: "never", field: "PAYMENT-SIGNATURE", detail: "Send exactly one non-empty PAYMENT-SIGNATURE header." });
}

/** Whoever speaks in the older X-402-* names is answered in them too. */
const usesAliases = (request: FastifyRequest): boolean => Object.keys(request.headers).some((name) => name.startsWith("x-402-"));

const base64 = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString("base64");

export function saleHeaders({ settlement, paymentId }: Sale, aliases: boolean): Record<string, string> {
  const headers: Record<string, string> = { "Tallystick-Payment-Id": paymentId };
  if (settlement === undefined) return headers;
  headers["PAYMENT-RESPONSE"] = encodePaymentResponse(settlement);
  if (!aliases) return headers;
  const { channelId } = (settlement.extra?.["channelState"] ?? {}) as { channelId?: string };
  if (channelId !== undefined) headers["X-402-Session-Id"] = channelId;
  const { info } = (settlement.extensions?.[RECEIPT_EXTENSION] ?? {}) as { info?: { receipt: unknown } };
  if (info !== undefined) headers["X-402-Receipt"] = base64(info.receipt);
  return headers;
}

function bodyOf(request: FastifyRequest): Buffer {
  return Buffer.isBuffer(request.body) ? request.body : Buffer.alloc(0);
}

/** Aborts when the connection closes before the answer was sent. */
export function goneSignal(request: FastifyRequest, reply: FastifyReply): AbortSignal {
  const controller = new AbortController();
  reply.raw.once("close", () => {
    if (!reply.raw.writableEnded) controller.abort();
  });
  // It may have left while its request waited in here: then "close" has been told already.
  if (reply.raw.destroyed || request.raw.socket.destroyed) controller.abort();
  return controller.signal;
}

async function challenge(deps: GatewayDeps, request: FastifyRequest, reply: FastifyReply, refused: Challenge): Promise<FastifyReply> {
  const { headers, problem, offers } = await challengeOf(deps, refused);
  if (usesAliases(request)) reply.header("X-402-Offer", base64(offers));
  return reply.code(402).headers(headers).send(problem);
}
