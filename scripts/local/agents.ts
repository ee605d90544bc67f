// The buyers: the official x402 client as it comes from npm, in both schemes, and our own SDK; a key, and nothing else.
import { toClientEvmSigner } from "@x402/evm";
import { BatchSettlementEvmScheme } from "@x402/evm/batch-settlement/client";
import { ExactEvmScheme } from "@x402/evm/exact/client";
import { decodePaymentResponseHeader, wrapFetchWithPayment, x402Client } from "@x402/fetch";
import { createPublicClient, http, type Address, type LocalAccount } from "viem";
import { baseSepolia } from "viem/chains";
import type { Analysis } from "./analysis.ts";
import type { Document } from "./documents.ts";

/** How a class of agents pays. */
export type AgentName = "stock-batch" | "stock-exact" | "sdk";

export type Agent = {
  name: AgentName;
  address: Address;
  fetch: typeof fetch;
  /** Calls at a time: a stock client has one request in flight a channel. */
  inFlight: number;
};

/** A stock client that pays by channel: register scheme and signer, and every 402 is paid. */
export function stockBatchAgent(account: LocalAccount, rpcUrl: string): Agent {
  const client = new x402Client().register("eip155:84532", new BatchSettlementEvmScheme(signerOf(account, rpcUrl)));
  return { name: "stock-batch", address: account.address, fetch: wrapFetchWithPayment(fetch, client) as typeof fetch, inFlight: 1 };
}

/** A stock client that pays each call by its own transfer. */
export function stockExactAgent(account: LocalAccount, rpcUrl: string): Agent {
  const client = new x402Client().register("eip155:84532", new ExactEvmScheme(signerOf(account, rpcUrl)));
  return { name: "stock-exact", address: account.address, fetch: wrapFetchWithPayment(fetch, client) as typeof fetch, inFlight: 1 };
}

function signerOf(account: LocalAccount, rpcUrl: string) {
  return toClientEvmSigner(account, createPublicClient({ chain: baseSepolia, transport: http(rpcUrl) }));
}

/** What became of one document. */
export type Purchase = {
  agent: AgentName;
  payer: Address;
  path: string;
  /** The relayer's id of the payment, when it was paid. */
  paymentId: string | undefined;
  /** What the buyer was told it was charged, atomic units; 0 when it was not. */
  chargedAtomic: bigint;
  /** The whole call as the buyer sees it: the 402, the signature and the paid answer. */
  ms: number;
  /** Why this is no good purchase, or undefined. */
  fault: string | undefined;
};

export type Shopping = {
  agents: Agent[];
  documents: Document[];
  url: string;
  onPurchase: (purchase: Purchase) => void;
  signal: AbortSignal;
};

/** Every agent buys its share. */
export async function buyAll({ agents, documents, url, onPurchase, signal }: Shopping): Promise<Purchase[]> {
  const shares = agents.map((_, index) => documents.filter((__, position) => position % agents.length === index));
  const bought = await Promise.all(agents.map((agent, index) => buyShare(agent, shares[index]!, url, onPurchase, signal)));
  return bought.flat();
}

/** A payer whose calls keep failing is not sent on for hundreds more. */
const FAILURES_IN_A_ROW = 3;
const CALL_TIMEOUT_MS = 60_000;

async function buyShare(agent: Agent, share: Document[], url: string, onPurchase: Shopping["onPurchase"], signal: AbortSignal): Promise<Purchase[]> {
  const purchases: Purchase[] = [];
  const waiting = share[Symbol.iterator]();
  let failures = 0;
  const work = async () => {
    for (const document of waiting) {
      signal.throwIfAborted();
      const purchase = failures < FAILURES_IN_A_ROW ? await buy(agent, document, url, signal) : notTried(agent, document);
      failures = purchase.fault === undefined ? 0 : failures + 1;
      purchases.push(purchase);
      onPurchase(purchase);
    }
  };
  await Promise.all(Array.from({ length: agent.inFlight }, work));
  return purchases;
}

function notTried({ name, address }: Agent, { path }: Document): Purchase {
  return { agent: name, payer: address, path, paymentId: undefined, chargedAtomic: 0n, ms: 0, fault: "not tried after earlier failures" };
}

async function buy(agent: Agent, document: Document, url: string, signal: AbortSignal): Promise<Purchase> {
  const started = performance.now();
  const outcome = await call(agent, document, url, signal).catch((error: unknown) => {
    signal.throwIfAborted();
    return { chargedAtomic: 0n, paymentId: undefined, fault: messageOf(error) };
  });
  return { agent: agent.name, payer: agent.address, path: document.path, ms: performance.now() - started, ...outcome };
}

async function call(agent: Agent, document: Document, url: string, signal: AbortSignal): Promise<Pick<Purchase, "chargedAtomic" | "paymentId" | "fault">> {
  const response = await agent.fetch(url, {
    method: "POST",
    headers: { "content-type": "text/plain; charset=utf-8" },
    body: document.text,
    signal: AbortSignal.any([signal, AbortSignal.timeout(CALL_TIMEOUT_MS)]),
  });
  const body = await response.text();
  const paid = { chargedAtomic: chargedBy(response), paymentId: response.headers.get("tallystick-payment-id") ?? undefined };
  if (!response.ok) return { ...paid, fault: `answered ${response.status}: ${refusalOf(response, body)}` };
  if (paid.chargedAtomic === 0n) return { ...paid, fault: "answered without a PAYMENT-RESPONSE that names the charge" };
  return { ...paid, fault: faultOf(body, document) };
}

/** The charge that the seller states, read from the header the way any x402 buyer reads it. */
function chargedBy(response: Response): bigint {
  const header = response.headers.get("payment-response");
  if (header === null) return 0n;
  const { amount, extra } = decodePaymentResponseHeader(header) as { amount?: string; extra?: { chargedAmount?: string } };
  // In `exact` the amount that moved is the charge.
  return BigInt(extra?.chargedAmount ?? amount ?? 0);
}

function refusalOf(response: Response, body: string): string {
  const header = response.headers.get("payment-required");
  if (header === null) return body.slice(0, 300);
  return String((JSON.parse(Buffer.from(header, "base64").toString()) as { error?: unknown }).error ?? body.slice(0, 300));
}

/** Undefined when the answer is an analysis of this very document. */
export function faultOf(body: string, document: Document): string | undefined {
  const analysis = parse(body);
  if (analysis === undefined || !Array.isArray(analysis.keywords) || !Array.isArray(analysis.summary)) return "the answer is no analysis";
  if (!(analysis.words > 0) || !(analysis.sentences > 0)) return "the analysis counts no words or sentences";
  if (analysis.keywords.length === 0 || analysis.summary.length === 0) return "the analysis is empty";
  const text = document.text.toLowerCase();
  const found = analysis.keywords.filter(({ word }) => text.includes(word));
  // Not all of them: the library normalises spelling (behaviour, behavior).
  return found.length * 2 > analysis.keywords.length ? undefined : "the keywords are not from the document";
}

function parse(body: string): Analysis | undefined {
  try {
    return JSON.parse(body) as Analysis;
  } catch {
    return undefined;
  }
}

/** The innermost cause says what happened; fetch itself only says "fetch failed". */
function messageOf(error: unknown): string {
  let inner = error;
  while (inner instanceof Error && inner.cause instanceof Error) inner = inner.cause;
  return inner instanceof Error ? inner.message : String(inner);
}
