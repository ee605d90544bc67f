// Calls of a negotiated session by whoever was handed it: an id and a token instead of a key. Each call has an identifier, so that one whose
// answer was lost is asked again and charged once; each receipt is held against the request, the answer and the price. Browser-safe.
import type { Address, Hex } from "viem";
import { checkReceipt } from "../agent/receipts.ts";
import { sendable, sendOnce, type Sendable } from "../agent/request.ts";
import { decodeHeader } from "../agent/wire.ts";
import { TallystickError, type Retry } from "../errors.ts";
import { channelIdOf, sessionChannelsDomain, type ChannelConfig } from "../typed-data.ts";
import { outputHash, type SignedReceipt } from "../receipt.ts";
import { formatAmount, parseAmount } from "./decimal.ts";

/** A session that its agent handed out (`a2a.handOut`). JSON: keep it as secret as the money it stands for. */
export type HandedSession = {
  /** Of the service; paths go behind it. */
  url: string;
  sessionId: Hex;
  token: string;
  calls: number;
  /** Most that a call costs, token units. */
  pricePerRequest: string;
  /** Unix seconds. */
  expiresAt: number;
  chainId: number;
  contract: Address;
  /** Who pays whom, and who signs its receipts. */
  channel: ChannelConfig;
};

export type TokenCall = {
  /** JSON that is posted; left out: GET. */
  input?: unknown;
  path?: string;
  method?: string;
  /** 16 to 128 characters; keep it to ask again after a crash of your own. One is made when left out. */
  idempotencyKey?: string;
};

export type TokenAnswer = { status: number; output: unknown; /** Token units. */ cost: string; receipt: SignedReceipt; idempotencyKey: string };

export type TokenOptions = { fetch?: typeof fetch; /** How long a call is asked again while nobody answers, milliseconds (60,000). */ patienceMs?: number };

const PATIENCE_MS = 60_000;
const PAUSE_MS = 250;

/** @throws TallystickError with the relayer's code (`session_exhausted`, `session_expired`, `approval_pending`, ...), `call_undecided` (ask again with the same key), `receipt_invalid`. */
export async function callByToken(handed: HandedSession, call: TokenCall = {}, options: TokenOptions = {}): Promise<TokenAnswer> {
  const { input, path = "/", method = input === undefined ? "GET" : "POST", idempotencyKey = crypto.randomUUID() } = call;
  const headers = { "x-402-session-id": handed.sessionId, "x-402-session-token": handed.token, "idempotency-key": idempotencyKey, ...(input === undefined ? {} : { "content-type": "application/json" }) };
  const request = await sendable(handed.url + path, { method, headers, ...(input === undefined ? {} : { body: JSON.stringify(input) }) });
  const { response, body } = await answered(request, options, idempotencyKey);
  const text = new TextDecoder().decode(body);
  if (!response.ok) throw refusal(response.status, text);
  const receipt = await receiptOf(handed, request, response, body);
  return { status: response.status, output: outputOf(text), cost: formatAmount(BigInt(receipt.payload.amount)), receipt, idempotencyKey };
}

type Answer = { response: Response; body: Uint8Array<ArrayBuffer> };

/** Asked again while nobody answers, or while the answer is that the call is under way. */
async function answered(request: Sendable, { fetch: fetcher = globalThis.fetch, patienceMs = PATIENCE_MS }: TokenOptions, key: string): Promise<Answer> {
  const deadline = Date.now() + patienceMs;
  for (;;) {
    const answer = await once(fetcher, request).catch((cause: unknown) => ({ cause }));
    if ("response" in answer && answer.response.status !== 503) return answer;
    if (Date.now() >= deadline) {
      if ("response" in answer) return answer;
      throw new TallystickError({ code: "call_undecided", status: 503, retry: "safe", detail: `No answer came from ${request.url.origin}; the same call with idempotencyKey ${key} is charged once at most.`, cause: answer.cause });
    }
    await new Promise((next) => setTimeout(next, PAUSE_MS));
  }
}

async function once(fetcher: typeof fetch, request: Sendable): Promise<Answer> {
  const response = await sendOnce(fetcher, request);
  return { response, body: new Uint8Array(await response.arrayBuffer()) };
}

function refusal(status: number, text: string): TallystickError {
  const told = outputOf(text) as { code?: unknown; detail?: unknown; retry?: unknown } | null;
  const code = typeof told?.code === "string" ? told.code : "call_failed";
  const retry: Retry = told?.retry === "safe" ? "safe" : "never";
  return new TallystickError({ code, status, retry, detail: typeof told?.detail === "string" ? told.detail : `The service answered ${status}; nothing was charged.` });
}

/** @throws TallystickError `receipt_invalid` naming the field. */
async function receiptOf({ sessionId, pricePerRequest, chainId, contract, channel }: HandedSession, request: Sendable, { status, headers }: Response, body: Uint8Array): Promise<SignedReceipt> {
  const wrong = (field: string, detail: string) => new TallystickError({ code: "receipt_invalid", status: 502, retry: "never", field, detail });
  const header = headers.get("x-402-receipt");
  if (header === null) throw wrong("X-402-Receipt", "The answer came without a receipt.");
  const receipt = decodeHeader("X-402-Receipt", header) as unknown as SignedReceipt;
  const { amount, cumulative, session } = receipt.payload;
  if (session?.toLowerCase() !== sessionId.toLowerCase()) throw wrong("receipt.session", `The receipt is of session ${session}, not ${sessionId}.`);
  if (BigInt(amount) > parseAmount(pricePerRequest, "pricePerRequest")) throw wrong("receipt.amount", `The receipt says ${amount}; ${pricePerRequest} was agreed.`);
  await checkReceipt(receipt, {
    chainId, contract, scheme: "batch-settlement", payer: channel.payer, receiver: channel.receiver, token: channel.token, channelId: channelIdOf(sessionChannelsDomain(chainId, contract), channel), signer: channel.receiverAuthorizer,
    amount: BigInt(amount), cumulative: BigInt(cumulative), inputHash: request.inputHash, outputHash: outputHash({ status, contentType: headers.get("content-type") ?? "", body }),
  });
  return receipt;
}

/** JSON, or the text as it is. */
export function outputOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text; // not JSON
  }
}
