// The relayer's own API, as its parties read it: signed in with the account's key, errors as the relayer states them.
import { signIn } from "../access.ts";
import { TallystickError, type Retry } from "../errors.ts";
import type { Context } from "./context.ts";
import { CliError, messageOf } from "./exit.ts";

const TIMEOUT_MS = 30_000;

type Request = { method?: string; body?: unknown; headers?: Record<string, string> };
type Problem = { code?: string; detail?: string; retry?: Retry; field?: string };

/** Calls the API as the account. @throws CliError `relayer_unreachable`, or the relayer's own code. */
export async function callRelayer<T>(context: Context, path: string, request: Request = {}): Promise<T> {
  return parsedJson<T>(await readRelayer(context, path, request));
}

/** The same, as text. */
export async function readRelayer(context: Context, path: string, request: Request = {}): Promise<string> {
  const relayerUrl = context.relayerUrl();
  const account = await context.account();
  const { token } = await signIn({ relayerUrl, account }).catch((error: unknown) => {
    throw error instanceof TallystickError ? error : unreachable(relayerUrl, error);
  });
  return readOpen(context, path, { ...request, headers: { authorization: `Bearer ${token}`, ...request.headers } });
}

/** The same for what everybody may read. */
export async function callOpen<T>(context: Context, path: string, request: Request = {}): Promise<T> {
  return parsedJson<T>(await readOpen(context, path, request));
}

const parsedJson = <T>(text: string): T => (text === "" ? {} : JSON.parse(text)) as T;

async function readOpen(context: Context, path: string, { method = "GET", body, headers = {} }: Request): Promise<string> {
  const relayerUrl = context.relayerUrl();
  const response = await fetch(`${relayerUrl}${path}`, {
    method,
    headers: { ...(body === undefined ? {} : { "content-type": "application/json" }), ...headers },
    body: body === undefined ? undefined : JSON.stringify(body),
    signal: AbortSignal.any([context.signal, AbortSignal.timeout(TIMEOUT_MS)]),
  }).catch((error: unknown) => {
    throw unreachable(relayerUrl, error);
  });
  const text = await response.text();
  if (!response.ok) throw problem(response.status, text);
  return text;
}

function unreachable(url: string, error: unknown): CliError {
  return new CliError({ code: "relayer_unreachable", exit: "unreachable", retry: "safe", detail: `${new URL(url).origin} cannot be reached (${messageOf(error)}).`, hint: "Check --relayer or TALLYSTICK_RELAYER_URL. withdraw and claim work without it." });
}

function problem(status: number, text: string): CliError {
  const { code = "relayer_error", detail = `The relayer answers HTTP ${status}.`, retry = "unknown", field } = parsed(text);
  return new CliError({ code, detail, retry, field, exit: status >= 500 ? "unreachable" : "failed", extra: { status } });
}

function parsed(text: string): Problem {
  try {
    return (JSON.parse(text) as Problem) ?? {};
  } catch {
    return {}; // not from a relayer
  }
}

/** A signed receipt by payment id, for its parties. */
export function fetchReceipt(context: Context, paymentId: string): Promise<unknown> {
  return callRelayer(context, `/api/v1/receipts/${paymentId}`);
}
