// The peer: @x402/express with its batch-settlement scheme, unmodified, at the best configuration its documentation offers.
// Channels in memory (its fastest storage), its own authorizer key (nothing asked of the facilitator but the first look at a
// channel and the claims), vouchers verified in its own process for the whole run, Express without what it does not need.
import { HTTPFacilitatorClient } from "@x402/core/server";
import type { PaymentRequirements } from "@x402/core/types";
import { BatchSettlementEvmScheme, InMemoryChannelStorage } from "@x402/evm/batch-settlement/server";
import { paymentMiddleware, x402ResourceServer } from "@x402/express";
import express from "express";
import { createServer } from "node:http";
import type { Address, Hex } from "viem";
import { privateKeyToAccount } from "viem/accounts";
import { BASE_SEPOLIA } from "../../sdk/src/constants.ts";
import { listen } from "../../test/support/stock-facilitator.ts";
import { bodyOf } from "./handler.ts";
import { answer, optionsOf } from "./part.ts";

export type StockOptions = {
  facilitatorUrl: string;
  receiver: Address;
  authorizerKey: Hex;
  /** Decimal, atomic units. */
  price: string;
  /** Below /sold; /free is what costs nothing. */
  service: string;
  /** Where calls are passed on to; answered here when left out. */
  upstream?: string;
};

const { facilitatorUrl, receiver, authorizerKey, price, service, upstream } = optionsOf<StockOptions>();
/** The chain is looked at once a channel: after that, all is verified here. Default is 5 minutes, which a run could exceed. */
const ONCHAIN_STATE_TTL_MS = 3_600_000;

const { network, usdc } = BASE_SEPOLIA;
const facilitator = new HTTPFacilitatorClient({ url: facilitatorUrl });
const storage = new InMemoryChannelStorage();
const receiverAuthorizerSigner = privateKeyToAccount(authorizerKey);
const scheme = new BatchSettlementEvmScheme(receiver, { storage, receiverAuthorizerSigner, onchainStateTtlMs: ONCHAIN_STATE_TTL_MS });
const resources = new x402ResourceServer(facilitator).register(network, scheme);
await resources.initialize();
const extra = { name: usdc.name, version: usdc.version, assetTransferMethod: "eip3009" };
const accepts = { scheme: "batch-settlement", network, payTo: receiver, price: { amount: price, asset: usdc.address, extra }, maxTimeoutSeconds: 300 };

const prefix = `/sold/${service}`;
const app = express();
app.disable("x-powered-by");
app.disable("etag");
app.get("/free", (_request, response) => void response.json({ free: true }));
app.use(paymentMiddleware({ [`${prefix}/*`]: { accepts } }, resources, undefined, undefined, false));
app.get(`${prefix}/*rest`, async (request, response) => {
  const path = request.originalUrl.slice(prefix.length);
  const body = upstream === undefined ? bodyOf(path) : await passedOn(upstream + path);
  response.type("application/json").send(body);
});

async function passedOn(url: string): Promise<string> {
  const answered = await fetch(url);
  if (!answered.ok) throw new Error(`upstream answered ${answered.status}`);
  return answered.text();
}

const server = createServer(app);
server.keepAliveTimeout = 60_000;
const manager = scheme.createChannelManager(facilitator, network as PaymentRequirements["network"], usdc.address);

answer(await listen(server), {
  /** Claims all that was charged and pays it out, by the package's own channel manager. */
  claim: async () => void (await manager.claimAndSettle()),
  /** What it charged, by channel. */
  charged: async () => new Map((await storage.list()).map(({ channelId, chargedCumulativeAmount }) => [channelId, BigInt(chargedCumulativeAmount)])),
});
