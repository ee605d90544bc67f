// ANY /s/<service>/*: decode, call the service, encode.
import { encodePaymentRequiredHeader, encodePaymentResponseHeader } from "@x402/core/http";
import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { Type } from "typebox";
import { TallystickError, toProblem } from "../../../../sdk/src/errors.ts";
import { newPaymentId } from "../../payment-id.ts";
import { problemResponse } from "../../problem-schema.ts";
import { EVENT } from "../../telemetry/log.ts";
import type { Channel } from "../channels/store.ts";
import { normalisePath } from "./logic.ts";
import * as gateway from "./service.ts";
import type { Service } from "./store.ts";
import { paymentRequired, termsOf, withChannelState } from "./terms.ts";

const METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

const RESPONSES = {
  400: problemResponse("The payment or the path is malformed; `field` names where"),
  402: problemResponse("Not paid, or the payment does not do: terms in PAYMENT-REQUIRED"),
  404: problemResponse("No such service"),
  409: problemResponse("The payment-identifier was used with another request"),
  413: problemResponse("The body is too large"),
  429: problemResponse("Too many upstream runs of this payer ended without a charge"),
  502: problemResponse("The service failed; nothing was charged"),
  503: problemResponse("Ours, not yours: chain or ledger are away, or this payment is still being served; nothing was charged twice"),
  504: problemResponse("The service was too slow; nothing was charged"),
};

type Params = { service: string };

export function gatewayRoutes(app: FastifyInstance, deps: gateway.GatewayDeps): void {
  app.register(async (scope) => {
    // Bodies are forwarded as they came, whatever they are.
    scope.removeAllContentTypeParsers();
    scope.addContentTypeParser("*", { parseAs: "buffer", bodyLimit: deps.config.limits.requestBytes }, (_request, body, done) => done(null, body));
    const handler = (request: FastifyRequest, reply: FastifyReply) => sell(deps, request as FastifyRequest<{ Params: Params }>, reply);
    for (const url of ["/s/:service", "/s/:service/*"]) {
      scope.route({
        method: METHODS,
        url,
        handler,
        exposeHeadRoute: false,
        schema: {
          tags: ["gateway"],
          summary: "Buy one call of a service",
          description: "Without payment: 402 with the terms in PAYMENT-REQUIRED (x402 v2, scheme batch-settlement). With PAYMENT-SIGNATURE: the service's answer, and PAYMENT-RESPONSE.",
          params: Type.Object({ service: Type.String({ pattern: "^[a-z0-9][a-z0-9-]{0,62}$" }) }, { additionalProperties: true }),
          response: RESPONSES,
        },
      });
    }
  });
}

async function sell(deps: gateway.GatewayDeps, request: FastifyRequest<{ Params: Params }>, reply: FastifyReply): Promise<FastifyReply> {
  const service = await gateway.serviceNamed(deps, request.params.service);
  const path = normalisePath(request.raw.url ?? "", service.name);
  const url = `${deps.config.publicUrl}/s/${service.name}${path}`;
  const header = paymentHeader(request);
  if (header === undefined) return challenge(deps, reply, { service, url, paymentId: newPaymentId(), problem: unpaid() });

  const started = process.hrtime.bigint();
  const payment = gateway.readPayment(header);
  const call = { method: request.method, path, headers: request.headers, body: bodyOf(request), signal: goneSignal(request, reply) };
  try {
    const sale = await gateway.buy(deps, service, call, payment);
    deps.metrics.paidCallSeconds.observe(Number(process.hrtime.bigint() - started) / 1e9);
    reply.code(sale.answer.status).headers(sale.answer.headers);
    if (sale.settlement !== undefined) reply.header("PAYMENT-RESPONSE", encodePaymentResponseHeader(sale.settlement));
    return await reply.header("Tallystick-Payment-Id", sale.paymentId).send(sale.answer.body);
  } catch (error) {
    if (!(error instanceof TallystickError)) throw error;
    if (error.status === 402) return challenge(deps, reply, { service, url, paymentId: payment.paymentId, problem: error });
    error.extra["paymentId"] ??= payment.paymentId;
    throw error;
  }
}

function paymentHeader(request: FastifyRequest): string | undefined {
  const header = request.headers["payment-signature"];
  if (header === undefined) return undefined;
  if (typeof header === "string" && header !== "") return header;
  throw new TallystickError({ code: "payment_malformed", status: 400, retry: "never", field: "PAYMENT-SIGNATURE", detail: "Send exactly one non-empty PAYMENT-SIGNATURE header." });
}

function bodyOf(request: FastifyRequest): Buffer {
  return Buffer.isBuffer(request.body) ? request.body : Buffer.alloc(0);
}

/** Aborts when the connection closes before the answer was sent. */
function goneSignal(request: FastifyRequest, reply: FastifyReply): AbortSignal {
  const controller = new AbortController();
  reply.raw.once("close", () => {
    if (!reply.raw.writableEnded) controller.abort();
  });
  if (request.raw.destroyed && !request.raw.complete) controller.abort();
  return controller.signal;
}

function unpaid(): TallystickError {
  return new TallystickError({ code: "payment_required", status: 402, retry: "safe", detail: "Pay for this call: the terms are in PAYMENT-REQUIRED.", extra: { x402Error: "Payment required" } });
}

type Challenge = { service: Service; url: string; paymentId: string; problem: TallystickError };

/** 402 with the terms; with the channel's state where that lets the buyer catch up. */
function challenge(deps: gateway.GatewayDeps, reply: FastifyReply, { service, url, paymentId, problem }: Challenge): FastifyReply {
  const { channel, ...extra } = problem.extra as { channel?: Channel };
  const terms = termsOf(deps.config, service, deps.keyring.active, paymentId);
  const offered = channel === undefined ? terms : withChannelState(terms, channel);
  const required = paymentRequired(offered, url, service, String(problem.extra["x402Error"] ?? problem.code));
  deps.metrics.refusals.inc({ code: problem.code });
  const event = problem.code === "payment_required" ? EVENT.paymentRequired : EVENT.paymentRefused;
  deps.log.info({ event, paymentId, service: service.name, code: problem.code, field: problem.field }, problem.message);
  return reply
    .code(402)
    .header("PAYMENT-REQUIRED", encodePaymentRequiredHeader(required))
    .header("Cache-Control", "no-store")
    .header("Tallystick-Payment-Id", paymentId)
    .type("application/problem+json")
    .send({ ...toProblem(problem), ...extra, channel: undefined, paymentId });
}
