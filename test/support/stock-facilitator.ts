// The official facilitator (@x402/core, @x402/evm: exact and batch-settlement), unmodified, behind its three HTTP routes on
// loopback. It runs in the caller's process and shares nothing with it but the chain.
import { x402Facilitator } from "@x402/core/facilitator";
import { toFacilitatorEvmSigner } from "@x402/evm";
import { BatchSettlementEvmScheme } from "@x402/evm/batch-settlement/facilitator";
import { ExactEvmScheme } from "@x402/evm/exact/facilitator";
import { createServer, type IncomingMessage, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { createWalletClient, http, publicActions, type HttpTransportConfig, type LocalAccount } from "viem";
import { baseSepolia } from "viem/chains";
import { BASE_SEPOLIA } from "../../sdk/src/constants.ts";

export type StockFacilitator = {
  url: string;
  /** What it was asked, in order: `verify exact`, `settle batch-settlement/deposit`. */
  asked: string[];
  stop(): Promise<void>;
};

/** `submitter` pays the gas. With an `authorizer` it offers itself as receiverAuthorizer; without, servers sign themselves. */
export async function startStockFacilitator(rpcUrl: string, submitter: LocalAccount, authorizer?: LocalAccount, transport: HttpTransportConfig = {}): Promise<StockFacilitator> {
  const client = createWalletClient({ account: submitter, chain: baseSepolia, transport: http(rpcUrl, transport), pollingInterval: 25 }).extend(publicActions);
  const signer = toFacilitatorEvmSigner({ ...client, address: submitter.address } as unknown as Parameters<typeof toFacilitatorEvmSigner>[0]);
  const facilitator = new x402Facilitator()
    .register(BASE_SEPOLIA.network, new ExactEvmScheme(signer))
    .register(BASE_SEPOLIA.network, new BatchSettlementEvmScheme(signer, authorizer as ConstructorParameters<typeof BatchSettlementEvmScheme>[1]));
  const asked: string[] = [];
  const answer = async (request: IncomingMessage): Promise<unknown> => {
    if (request.url === "/supported") return facilitator.getSupported();
    const { paymentPayload, paymentRequirements } = JSON.parse(await textOf(request));
    const verb = request.url === "/verify" ? "verify" : "settle";
    asked.push(`${verb} ${paymentRequirements.scheme}${paymentPayload.payload.type === undefined ? "" : `/${paymentPayload.payload.type}`}`);
    return verb === "verify" ? facilitator.verify(paymentPayload, paymentRequirements) : facilitator.settle(paymentPayload, paymentRequirements);
  };
  const server = createServer((request, response) => {
    const reply = (status: number, body: unknown) => response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(body));
    answer(request).then((body) => reply(200, body), (error) => reply(500, { error: String(error) }));
  });
  return { url: await listen(server), asked, stop: () => close(server) };
}

async function textOf(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString();
}

/** Listens on loopback, on a free port unless told; the origin. */
export async function listen(server: Server, port = 0): Promise<string> {
  await new Promise<void>((done, failed) => {
    server.once("error", failed);
    server.listen(port, "127.0.0.1", done);
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

export async function close(server: Server): Promise<void> {
  server.closeAllConnections();
  await new Promise<void>((done) => server.close(() => done()));
}
