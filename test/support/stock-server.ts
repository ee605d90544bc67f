// Sellers made of the official server packages, unmodified: @x402/express and @x402/hono with their batch-settlement and exact
// schemes, over any facilitator. One price; the handler echoes.
import { createAdaptorServer } from "@hono/node-server";
import { HTTPFacilitatorClient } from "@x402/core/server";
import type { PaymentRequirements } from "@x402/core/types";
import { BatchSettlementEvmScheme } from "@x402/evm/batch-settlement/server";
import { ExactEvmScheme } from "@x402/evm/exact/server";
import * as stockExpress from "@x402/express";
import * as stockHono from "@x402/hono";
import express from "express";
import { Hono } from "hono";
import { createServer, type Server } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";
import type { Address, LocalAccount } from "viem";
import { BASE_SEPOLIA } from "../../sdk/src/constants.ts";
import { close, listen } from "./stock-facilitator.ts";

export const STOCK_FRAMEWORKS = ["x402-express", "x402-hono"] as const;
export type StockFramework = (typeof STOCK_FRAMEWORKS)[number];

export type StockServerOptions = {
  framework: StockFramework;
  facilitatorUrl: string;
  /** What the server adds to its requests to /settle, as the package's own option allows. */
  settleHeaders?: () => Promise<Record<string, string>>;
  receiver: Address;
  /** Signs claims and refunds; without it, the facilitator's own authorizer does. */
  receiverAuthorizer?: LocalAccount;
  /** Atomic units. */
  price: bigint;
  /** Atomic units; what a buyer is told to deposit at least. */
  minDeposit: bigint;
};

export type StockServer = {
  url: string;
  /** Requests that reached the handler: what the seller worked for. */
  seen: { method: string; path: string; body: string }[];
  /** Claims all that was charged and pays it out, through the facilitator: the package's own channel manager. */
  claimAndSettle(): Promise<void>;
  /** Stops and starts again at the same address: channels were kept in memory, as the package does unless told. */
  restart(): Promise<void>;
  stop(): Promise<void>;
};

/**
 * Paths: /batch/* is sold by batch-settlement, /exact/* by exact. What follows tells the handler what to do:
 * status/<n> answers that status, charge/<amount> asks for that charge (50pct is 50%), slow/<ms> waits first; anything else echoes.
 */
export async function startStockServer(options: StockServerOptions): Promise<StockServer> {
  const seen: StockServer["seen"] = [];
  let running = await start(options, seen);
  const { url } = running;
  return {
    url,
    seen,
    claimAndSettle: () => running.claimAndSettle(),
    async restart() {
      await close(running.server);
      running = await start(options, seen, Number(new URL(url).port));
    },
    stop: () => close(running.server),
  };
}

async function start(options: StockServerOptions, seen: StockServer["seen"], port = 0) {
  const { settleHeaders } = options;
  const createAuthHeaders = settleHeaders === undefined ? {} : { createAuthHeaders: async () => ({ verify: {}, settle: await settleHeaders(), supported: {} }) };
  const facilitator = new HTTPFacilitatorClient({ url: options.facilitatorUrl, ...createAuthHeaders });
  const batch = new BatchSettlementEvmScheme(options.receiver, {
    ...(options.receiverAuthorizer === undefined ? {} : { receiverAuthorizerSigner: options.receiverAuthorizer as NonNullable<ConstructorParameters<typeof BatchSettlementEvmScheme>[1]>["receiverAuthorizerSigner"] }),
  });
  const resources = new stockExpress.x402ResourceServer(facilitator).register(BASE_SEPOLIA.network, batch).register(BASE_SEPOLIA.network, new ExactEvmScheme());
  const accepts = (scheme: string, extra: Record<string, string> = {}) => {
    const { address, name, version } = BASE_SEPOLIA.usdc;
    return { scheme, network: BASE_SEPOLIA.network, payTo: options.receiver, price: { amount: options.price.toString(), asset: address, extra: { name, version, ...extra } }, maxTimeoutSeconds: 300 };
  };
  const routes = {
    "/batch/*": { accepts: accepts("batch-settlement", { assetTransferMethod: "eip3009", minDeposit: options.minDeposit.toString() }) },
    "/exact/*": { accepts: accepts("exact") },
  };
  // Fails early, and not at the first request, when the facilitator does not serve these schemes.
  await resources.initialize();
  const handle: Handle = async (method, path, body) => {
    seen.push({ method, path, body });
    const [, verb, argument] = /\/(status|charge|slow)\/([^/?]+)$/.exec(path) ?? [];
    if (verb === "slow") await sleep(Number(argument));
    return { status: verb === "status" ? Number(argument) : 200, charge: verb === "charge" ? argument?.replace("pct", "%") : undefined, body: { method, path, body, run: seen.length } };
  };
  const server = options.framework === "x402-express" ? expressServer(routes, resources, handle) : honoServer(routes, resources, handle);
  const manager = batch.createChannelManager(facilitator, BASE_SEPOLIA.network as PaymentRequirements["network"], BASE_SEPOLIA.usdc.address);
  const claimAndSettle = async () => void (await manager.claimAndSettle());
  return { server, url: await listen(server, port), claimAndSettle };
}

type Routes = Parameters<typeof stockExpress.paymentMiddleware>[0];
type Handle = (method: string, path: string, body: string) => Promise<{ status: number; charge: string | undefined; body: object }>;

function expressServer(routes: Routes, resources: stockExpress.x402ResourceServer, handle: Handle): Server {
  const app = express();
  app.use(express.text({ type: () => true }));
  app.use(stockExpress.paymentMiddleware(routes, resources, undefined, undefined, false));
  app.use(async (request, response) => {
    const { status, charge, body } = await handle(request.method, request.originalUrl, typeof request.body === "string" ? request.body : "");
    if (charge !== undefined) stockExpress.setSettlementOverrides(response, { amount: charge });
    response.status(status).json(body);
  });
  return createServer(app);
}

function honoServer(routes: Routes, resources: stockExpress.x402ResourceServer, handle: Handle): Server {
  const app = new Hono();
  app.use(stockHono.paymentMiddleware(routes, resources, undefined, undefined, false));
  app.all("*", async (context) => {
    const { status, charge, body } = await handle(context.req.method, new URL(context.req.url).pathname, await context.req.text());
    if (charge !== undefined) stockHono.setSettlementOverrides(context, { amount: charge });
    return context.json(body, status as 200);
  });
  return createAdaptorServer({ fetch: app.fetch }) as Server;
}
