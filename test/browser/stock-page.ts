// What runs in the page: the official client, unmodified, with a key and a chain to read.
import { toClientEvmSigner } from "@x402/evm";
import { BatchSettlementEvmScheme } from "@x402/evm/batch-settlement/client";
import { ExactEvmScheme } from "@x402/evm/exact/client";
import { decodePaymentResponseHeader, wrapFetchWithPayment, x402Client } from "@x402/fetch";
import { createPublicClient, http, type Hex } from "viem";
import { privateKeyToAccount } from "viem/accounts";
import { baseSepolia } from "viem/chains";

/** Buys the url once for each body; what came back, and what it cost. */
async function buy(key: Hex, rpcUrl: string, scheme: "batch-settlement" | "exact", url: string, bodies: string[]) {
  const signer = toClientEvmSigner(privateKeyToAccount(key), createPublicClient({ chain: baseSepolia, transport: http(rpcUrl) }));
  const client = new x402Client().register("eip155:84532", scheme === "exact" ? new ExactEvmScheme(signer) : new BatchSettlementEvmScheme(signer));
  const pay = wrapFetchWithPayment(fetch, client);
  const bought = [];
  for (const body of bodies) {
    const response = await pay(url, { method: "POST", body, headers: { "content-type": "application/json" } });
    const header = response.headers.get("payment-response");
    bought.push({ status: response.status, answer: (await response.json()) as { body: string }, settled: header === null ? undefined : decodePaymentResponseHeader(header) });
  }
  return bought;
}

export const stock = { buy };
export type StockPage = typeof stock;
Object.assign(globalThis, { stock });
