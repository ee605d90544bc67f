// The buyers: the official x402 client as it comes from npm, a key, and nothing else.
import { toClientEvmSigner } from "@x402/evm";
import { BatchSettlementEvmScheme } from "@x402/evm/batch-settlement/client";
import { decodePaymentResponseHeader, wrapFetchWithPayment, x402Client } from "@x402/fetch";
import { createPublicClient, http, type Address, type LocalAccount } from "viem";
import { baseSepolia } from "viem/chains";
import type { Analysis } from "./analysis.ts";
import type { Document } from "./documents.ts";

export type Agent = { address: Address; fetch: typeof fetch };

/** A stock client: register scheme and signer, and every 402 is paid. */
export function stockAgent(account: LocalAccount, rpcUrl: string): Agent {
  const signer = toClientEvmSigner(account, createPublicClient({ chain: baseSepolia, transport: http(rpcUrl) }));
  const client = new x402Client().register("eip155:84532", new BatchSettlementEvmScheme(signer));
  return { address: account.address, fetch: wrapFetchWithPayment(fetch, client) as typeof fetch };
}

/** What became of one document. */
export type Purchase = {
  payer: Address;
  path: string;
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

/** Every agent buys its share, one document after the other: a stock client has one request in flight a channel. */
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
  let failures = 0;
  for (const document of share) {
    signal.throwIfAborted();
    const purchase = failures < FAILURES_IN_A_ROW ? await buy(agent, document, url, signal) : notTried(agent, document);
    failures = purchase.fault === undefined ? 0 : failures + 1;
    purchases.push(purchase);
    onPurchase(purchase);
  }
  return purchases;
}

function notTried(agent: Agent, document: Document): Purchase {
  return { payer: agent.address, path: document.path, chargedAtomic: 0n, ms: 0, fault: "not tried after earlier failures" };
}

async function buy(agent: Agent, document: Document, url: string, signal: AbortSignal): Promise<Purchase> {
  const started = performance.now();
  const outcome = await call(agent, document, url, signal).catch((error: unknown) => {
    signal.throwIfAborted();
    return { chargedAtomic: 0n, fault: messageOf(error) };
  });
  return { payer: agent.address, path: document.path, ms: performance.now() - started, ...outcome };
}

async function call(agent: Agent, document: Document, url: string, signal: AbortSignal): Promise<Pick<Purchase, "chargedAtomic" | "fault">> {
  const response = await agent.fetch(url, {
    method: "POST",
    headers: { "content-type": "text/plain; charset=utf-8" },
    body: document.text,
    signal: AbortSignal.any([signal, AbortSignal.timeout(CALL_TIMEOUT_MS)]),
  });
  const body = await response.text();
  const chargedAtomic = chargedBy(response);
  if (!response.ok) return { chargedAtomic, fault: `answered ${response.status}: ${refusalOf(response, body)}` };
  if (chargedAtomic === 0n) return { chargedAtomic, fault: "answered without a PAYMENT-RESPONSE that names the charge" };
  return { chargedAtomic, fault: faultOf(body, document) };
}

/** The charge that the seller states, read from the header the way any x402 buyer reads it. */
function chargedBy(response: Response): bigint {
  const header = response.headers.get("payment-response");
  if (header === null) return 0n;
  const { extra } = decodePaymentResponseHeader(header) as { extra?: { chargedAmount?: string } };
  return BigInt(extra?.chargedAmount ?? 0);
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
