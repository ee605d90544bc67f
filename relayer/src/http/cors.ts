// Pages of other origins may buy and read: every right here is a signature or a token in a header of its own, never a cookie, so
// any origin is allowed and credentials never are. What is for the operator (/metrics, /reference) stays closed to pages.
import type { FastifyInstance, FastifyRequest } from "fastify";

const OPEN = /^\/(?:s|api|discovery|supported|verify|settle|healthz|openapi\.json)(?:[/?]|$)/;
const METHODS = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";
/** How long a browser may remember a preflight, seconds; what Chromium takes at most. */
const MAX_AGE_S = "7200";
/** `*` stands for whatever else a service answers; the first names are for browsers that do not know it. */
const EXPOSED = "PAYMENT-REQUIRED, PAYMENT-RESPONSE, Tallystick-Payment-Id, Retry-After, *";

export function allowPages(app: FastifyInstance): void {
  app.addHook("onRequest", async (request, reply) => {
    // On the raw response: an answer that is written past Fastify, a stream, has them as well.
    for (const [name, value] of rulesFor(request)) reply.raw.setHeader(name, value);
    if (OPEN.test(request.url) && isPreflight(request)) return reply.code(204).send();
  });
  app.addHook("onSend", async (request, reply) => {
    const rules = rulesFor(request);
    if (rules.length === 0) return;
    // A service's own rules were made for its own origin; the buyer's page talks to ours.
    for (const name of Object.keys(reply.getHeaders())) if (name.startsWith("access-control-")) reply.removeHeader(name);
    for (const [name, value] of rules) reply.raw.setHeader(name, value);
  });
}

function rulesFor(request: FastifyRequest): [name: string, value: string][] {
  if (!OPEN.test(request.url)) return [];
  const shared: [string, string][] = [["Access-Control-Allow-Origin", "*"], ["Access-Control-Expose-Headers", EXPOSED]];
  if (!isPreflight(request)) return shared;
  const asked = request.headers["access-control-request-headers"];
  return [...shared, ["Access-Control-Allow-Methods", METHODS], ["Access-Control-Max-Age", MAX_AGE_S], ...(asked === undefined ? [] : [["Access-Control-Allow-Headers", asked] as [string, string]])];
}

/** Only a browser's question before a call. Any other OPTIONS is a call, and paid like one; a preflight never carries a payment. */
function isPreflight({ method, headers }: FastifyRequest): boolean {
  return method === "OPTIONS" && headers.origin !== undefined && headers["access-control-request-method"] !== undefined && headers["payment-signature"] === undefined;
}
