// The relayer as a Fastify app: the plugin is the app, main only listens. Tests build the same app.
import swagger from "@fastify/swagger";
import swaggerUi from "@fastify/swagger-ui";
import { TypeBoxValidatorCompiler } from "@fastify/type-provider-typebox";
import fastify, { type FastifyError, type FastifyInstance } from "fastify";
import { TallystickError, toProblem } from "../../sdk/src/errors.ts";
import { accessRoutes } from "./capabilities/access/routes.ts";
import { agentRoutes } from "./capabilities/agents/routes.ts";
import { auditRoutes } from "./capabilities/audit/routes.ts";
import { discoveryRoutes } from "./capabilities/discovery/routes.ts";
import { disputeRoutes } from "./capabilities/disputes/routes.ts";
import { eventRoutes } from "./capabilities/events/routes.ts";
import { exportRoutes } from "./capabilities/export/routes.ts";
import { facilitatorRoutes } from "./capabilities/facilitator/routes.ts";
import { feeRoutes } from "./capabilities/fees/routes.ts";
import { firewallRoutes } from "./capabilities/firewall/routes.ts";
import { gatewayRoutes } from "./capabilities/gateway/routes.ts";
import type { GatewayDeps } from "./capabilities/gateway/rail.ts";
import { healthRoutes } from "./capabilities/health/routes.ts";
import { guardRoutes } from "./capabilities/guard/routes.ts";
import type { HostedGuard } from "./capabilities/guard/service.ts";
import { jobRoutes } from "./capabilities/jobs/routes.ts";
import { mandateRoutes } from "./capabilities/mandates/routes.ts";
import { negotiationRoutes } from "./capabilities/negotiation/routes.ts";
import { paymentRoutes } from "./capabilities/payments/routes.ts";
import { payoutRoutes } from "./capabilities/payouts/routes.ts";
import { recoveryRoutes } from "./capabilities/recovery/routes.ts";
import { ratingRoutes } from "./capabilities/ratings/routes.ts";
import { receiptRoutes } from "./capabilities/receipts/routes.ts";
import { reportRoutes } from "./capabilities/reports/routes.ts";
import { saleRoutes } from "./capabilities/sales/routes.ts";
import { serviceRoutes } from "./capabilities/services/routes.ts";
import { sessionRoutes } from "./capabilities/sessions/routes.ts";
import { subscriptionRoutes } from "./capabilities/subscriptions/routes.ts";
import { statementRoutes } from "./capabilities/statements/routes.ts";
import { streamRoutes } from "./capabilities/streams/routes.ts";
import { transactionRoutes } from "./capabilities/transactions/routes.ts";
import { transferRoutes } from "./capabilities/transfers/routes.ts";
import { isLedgerRewound, ledgerRewound } from "./db/continuity.ts";
import { databaseUnavailable, isDatabaseUnavailable } from "./db/pool.ts";
import { webhookRoutes } from "./capabilities/webhooks/routes.ts";
import { allowPages } from "./http/cors.ts";
import { serializeOnDemand } from "./http/serializers.ts";
import { EVENT } from "./telemetry/log.ts";

export async function buildApp(deps: GatewayDeps, guard?: HostedGuard): Promise<FastifyInstance> {
  const app = fastify({
    // Events are logged where they happen, with their payment id; a line a request would only repeat them.
    logger: false,
    bodyLimit: deps.config.limits.requestBytes,
    routerOptions: { maxParamLength: 4096 },
    // Several headers of one name, a broken target, a slow header: refused by the parser, with a problem document too.
    clientErrorHandler: (_error, socket) => {
      if (socket.writable) socket.end("HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
    },
  });
  allowPages(app);
  endConnectionsWithTheLastAnswer(app);
  app.setValidatorCompiler(TypeBoxValidatorCompiler);
  app.setSerializerCompiler(serializeOnDemand);
  app.setErrorHandler((error: FastifyError | TallystickError, request, reply) => {
    const problem = asProblem(error);
    if (problem.status >= 500) deps.log.error({ event: EVENT.failure, err: error, code: problem.code, url: request.url }, problem.message);
    const retryAfter = problem.extra["retryAfterS"];
    if (typeof retryAfter === "number") reply.header("Retry-After", String(retryAfter));
    return reply.code(problem.status).header("Cache-Control", "no-store").type("application/problem+json").send(toProblem(problem, request.url));
  });
  app.setNotFoundHandler((request, reply) => {
    const problem = new TallystickError({ code: "not_found", status: 404, retry: "never", detail: `No such resource: ${request.method} ${request.url}` });
    return reply.code(404).type("application/problem+json").send(toProblem(problem, request.url));
  });
  await app.register(swagger, {
    openapi: {
      openapi: "3.1.0",
      info: { title: "Tallystick relayer", version: "0.1.0", description: "Sells HTTP APIs by the call, settles on Base. Speaks x402 v2." },
      servers: [{ url: deps.config.publicUrl }],
    },
  });
  await app.register(swaggerUi, { routePrefix: "/reference", theme: { title: "Tallystick relayer" } });
  await app.register(async (scope) => {
    healthRoutes(scope, deps);
    // A worker answers only whether it lives.
    if (deps.config.role === "worker") return;
    accessRoutes(scope, deps);
    paymentRoutes(scope, deps);
    receiptRoutes(scope, deps);
    sessionRoutes(scope, deps);
    subscriptionRoutes(scope, deps);
    eventRoutes(scope, deps);
    facilitatorRoutes(scope, deps);
    serviceRoutes(scope, deps);
    agentRoutes(scope, deps);
    saleRoutes(scope, deps);
    recoveryRoutes(scope, deps);
    exportRoutes(scope, deps);
    auditRoutes(scope, deps);
    feeRoutes(scope, deps);
    payoutRoutes(scope, deps);
    statementRoutes(scope, deps);
    gatewayRoutes(scope, deps);
    mandateRoutes(scope, deps);
    negotiationRoutes(scope, deps);
    guardRoutes(scope, deps, guard);
    jobRoutes(scope, deps);
    disputeRoutes(scope, deps);
    transactionRoutes(scope, deps);
    webhookRoutes(scope, deps);
    streamRoutes(scope, deps);
    transferRoutes(scope, deps);
    firewallRoutes(scope, deps);
    ratingRoutes(scope, deps);
    reportRoutes(scope, deps);
    discoveryRoutes(scope, deps);
  });
  app.get("/openapi.json", { schema: { hide: true } }, async () => app.swagger());
  await app.ready();
  return app;
}

/**
 * close() waits for connections, and a client may hold some on which it never asked anything: they count as busy until they time out.
 * So once closing, the last answer ends them all.
 */
function endConnectionsWithTheLastAnswer(app: FastifyInstance): void {
  let running = 0;
  let closing = false;
  const endWhenDone = () => {
    if (closing && running === 0) app.server.closeAllConnections();
  };
  app.addHook("onRequest", async (_request, reply) => {
    running += 1;
    reply.raw.once("close", () => {
      running -= 1;
      endWhenDone();
    });
  });
  app.addHook("preClose", async () => {
    closing = true;
    endWhenDone();
  });
}

/** Every error becomes a problem with a stable code. What we did not foresee is ours: 500, and it may have happened. */
function asProblem(error: FastifyError | TallystickError): TallystickError {
  if (error instanceof TallystickError) return error;
  if (isLedgerRewound(error)) return ledgerRewound(error);
  if (isDatabaseUnavailable(error)) return databaseUnavailable(error);
  const status = error.statusCode ?? 500;
  if (status >= 400 && status < 500) {
    const code = error.code === "FST_ERR_CTP_BODY_TOO_LARGE" ? "body_too_large" : error.validation === undefined ? "request_invalid" : "request_malformed";
    const field = error.validation?.[0]?.instancePath.replaceAll("/", ".").replace(/^\./, "");
    return new TallystickError({ code, status, retry: "never", detail: error.message, cause: error, ...(field === undefined || field === "" ? {} : { field }) });
  }
  return new TallystickError({ code: "internal", status: 500, retry: "unknown", detail: "Something failed on our side.", cause: error });
}
