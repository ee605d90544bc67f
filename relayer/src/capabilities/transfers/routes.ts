// POST /api/pay/request, POST /api/pay/submit, GET /api/purchases/<request>. The list of purchases is of all schemes: audit/routes.ts.
import type { FastifyInstance, FastifyReply } from "fastify";
import { TallystickError } from "../../../../sdk/src/errors.ts";
import { problemResponse } from "../../problem-schema.ts";
import { callerOf } from "../access/service.ts";
import type { GatewayDeps, Sale } from "../gateway/rail.ts";
import { goneSignal, saleHeaders } from "../gateway/routes.ts";
import { AskBody, PaymentTerms, SubmitBody, type Ask, type Submit } from "./schemas.ts";
import * as transfers from "./service.ts";

const faults = {
  400: problemResponse("Malformed; `field` names where"), 404: problemResponse("No such service or request"), 409: problemResponse("Something said differs from what is stored; `field` names it"),
  503: problemResponse("Ours, not yours: ask again"),
};
/** A request is kept before anybody has paid for it. */
const MOST_REQUEST_BYTES = 65_536;

export function transferRoutes(app: FastifyInstance, deps: GatewayDeps): void {
  app.post<{ Body: Ask }>(
    "/api/pay/request",
    {
      bodyLimit: Math.min(MOST_REQUEST_BYTES, deps.config.limits.requestBytes),
      schema: { tags: ["transfers"], summary: "What a call costs, and where to pay for it by a plain transfer", body: AskBody, response: { ...faults, 402: PaymentTerms } },
    },
    async (request, reply) => reply.code(402).header("Cache-Control", "no-store").send(transfers.termsOf(deps, await transfers.ask(deps, request.body, request.ip, keyOf(request.headers["idempotency-key"])))),
  );
  app.post<{ Body: Submit }>(
    "/api/pay/submit",
    {
      schema: {
        tags: ["transfers"], summary: "Name the transaction that paid; the purchased answer comes back", body: SubmitBody,
        description: "202 while the transaction is not mined or not deep enough: send the same again. Recipient, token, amount and chain are compared with what is stored, never taken from here.",
        response: { ...faults, 402: problemResponse("The transaction does not pay for the request"), 410: problemResponse("Too late") },
      },
    },
    async (request, reply) => send(reply, await transfers.submit(deps, request.body, goneSignal(request, reply))),
  );
  app.get<{ Params: { requestId: string } }>(
    "/api/purchases/:requestId",
    { schema: { tags: ["transfers"], summary: "The answer that you bought, as long as it is kept", response: { ...faults, 401: problemResponse("Not signed in"), 410: problemResponse("No longer kept") } } },
    async (request, reply) => send(reply, await transfers.purchaseFor(deps, request.params.requestId, (await callerOf(deps, request)).address)),
  );
}

function keyOf(header: string | string[] | undefined): string | undefined {
  if (header === undefined) return undefined;
  if (typeof header === "string" && /^[\x21-\x7e]{1,200}$/.test(header)) return header;
  throw new TallystickError({ code: "request_malformed", status: 400, retry: "never", field: "Idempotency-Key", detail: "An idempotency key has 1 to 200 printable characters." });
}

const send = (reply: FastifyReply, sale: Sale) => reply.code(sale.answer.status).headers({ ...sale.answer.headers, ...saleHeaders(sale, true) }).send(sale.answer.body);
