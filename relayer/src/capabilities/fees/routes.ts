import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { Type, type Static } from "typebox";
import { TallystickError } from "../../../../sdk/src/errors.ts";
import { newPaymentId } from "../../payment-id.ts";
import { problemResponse } from "../../problem-schema.ts";
import { callerOf, type AccessDeps } from "../access/service.ts";
import { challengeOf } from "../gateway/challenge.ts";
import type { GatewayDeps } from "../gateway/rail.ts";
import { saleHeaders } from "../gateway/routes.ts";
import { readPayment } from "../gateway/service.ts";
import { contentTypeOf } from "../ledger/logic.ts";
import { feeService, invoiceOf, ownInvoice, payInvoice, payUrl } from "./invoices.ts";
import { AuthorizationBody, FeesView, InvoicePage, InvoiceParams, InvoiceQuery, InvoiceView, LinesPage, LinesQuery } from "./schemas.ts";
import { feesOf, invoicePage, linesPage, viewOf } from "./service.ts";
import { authorize, revoke } from "./standing-order.ts";

type ById = { Params: Static<typeof InvoiceParams> };

/** An invoice is paid by an empty body; some clients send one all the same. */
const MAX_PAY_BYTES = 4_096;
const refusals = { 400: problemResponse("Malformed"), 401: problemResponse("Not signed in") };
const unknown = problemResponse("Unknown, or not yours");

export function feeRoutes(app: FastifyInstance, deps: GatewayDeps & AccessDeps): void {
  app.get("/api/v1/fees", { schema: { tags: ["fees"], summary: "What the relayer takes of your sales, and the vouchers you left to pay it", response: { 200: FeesView, 401: refusals[401] } } }, async (request) => {
    const { address } = await callerOf(deps, request);
    return feesOf(deps, address);
  });
  app.put<{ Body: Static<typeof AuthorizationBody> }>(
    "/api/v1/fees/authorization",
    {
      schema: {
        tags: ["fees"], summary: "Leave vouchers from which your invoices are paid as they are issued",
        description: "Of a channel of yours to the relayer's fee receiver. Each voucher pays one invoice, never more than its fee; the highest is the most that can be taken. Vouchers left before stay.",
        body: AuthorizationBody, response: { 200: FeesView, ...refusals, 402: problemResponse("The channel does not fit the terms") },
      },
    },
    async (request) => {
      const { address } = await callerOf(deps, request);
      await authorize(deps, address, request.body);
      return feesOf(deps, address);
    },
  );
  app.delete("/api/v1/fees/authorization", { schema: { tags: ["fees"], summary: "Take back the vouchers that paid nothing", response: { 200: FeesView, 401: refusals[401] } } }, async (request) => {
    const { address } = await callerOf(deps, request);
    await revoke(deps, address);
    return feesOf(deps, address);
  });
  app.get<{ Querystring: Static<typeof InvoiceQuery> }>(
    "/api/v1/invoices",
    { schema: { tags: ["fees"], summary: "Your invoices, newest first", querystring: InvoiceQuery, response: { 200: InvoicePage, ...refusals } } },
    async (request, reply) => {
      const { address } = await callerOf(deps, request);
      return reply.header("Cache-Control", "no-store").send(await invoicePage(deps, address, request.query.before));
    },
  );
  app.get<ById>("/api/v1/invoices/:invoiceId", { schema: { tags: ["fees"], summary: "One of them", params: InvoiceParams, response: { 200: InvoiceView, ...refusals, 404: unknown } } }, async (request) => {
    const { address } = await callerOf(deps, request);
    return viewOf(deps, await ownInvoice(deps, address, request.params.invoiceId));
  });
  app.get<ById & { Querystring: Static<typeof LinesQuery> }>(
    "/api/v1/invoices/:invoiceId/lines",
    { schema: { tags: ["fees"], summary: "The fee of each payment on it", params: InvoiceParams, querystring: LinesQuery, response: { 200: LinesPage, ...refusals, 404: unknown } } },
    async (request) => {
      const { address } = await callerOf(deps, request);
      return linesPage(deps, await ownInvoice(deps, address, request.params.invoiceId), request.query.after);
    },
  );
  app.register(async (scope) => {
    scope.removeAllContentTypeParsers();
    scope.addContentTypeParser("*", { parseAs: "buffer", bodyLimit: MAX_PAY_BYTES }, (_request, body, done) => done(null, body));
    scope.post<ById>(
      "/api/v1/invoices/:invoiceId/pay",
      {
        schema: {
          tags: ["fees"], summary: "Pay an invoice, as any x402 resource is paid",
          description: "Without payment: 402 with the terms. With PAYMENT-SIGNATURE, by any x402 client: charged once. Whoever knows the id may pay it.",
          params: InvoiceParams,
          response: { 200: Type.Object({ invoiceId: Type.String(), state: Type.Literal("paid"), feeAtomic: Type.String(), token: Type.String(), paymentId: Type.String() }), 400: refusals[400], 402: problemResponse("Not paid, or the payment does not do: terms in PAYMENT-REQUIRED"), 404: unknown, 409: problemResponse("Paid already, or not issued yet"), 503: problemResponse("Ours, or another payment of it is under way") },
        },
      },
      (request, reply) => pay(deps, request, reply),
    );
  });
}

async function pay(deps: GatewayDeps, request: FastifyRequest<ById>, reply: FastifyReply): Promise<FastifyReply> {
  const invoice = await invoiceOf(deps, request.params.invoiceId);
  const header = request.headers["payment-signature"];
  let paymentId = newPaymentId();
  try {
    const payment = header === undefined ? undefined : readPayment(String(header));
    paymentId = payment?.paymentId ?? paymentId;
    const body = Buffer.isBuffer(request.body) ? request.body : Buffer.alloc(0);
    const sale = await payInvoice(deps, invoice, payment, { contentType: contentTypeOf(request.headers), body });
    return reply.code(sale.answer.status).headers({ ...sale.answer.headers, ...saleHeaders(sale, false) }).send(sale.answer.body);
  } catch (error) {
    if (!(error instanceof TallystickError) || error.status !== 402) throw error;
    const { headers, problem } = await challengeOf(deps, { service: feeService(deps, invoice.fee, invoice.token), url: payUrl(deps, invoice.invoiceId), paymentId, problem: error });
    return reply.code(402).headers(headers).send(problem);
  }
}
