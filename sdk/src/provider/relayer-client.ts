// The relayer's API as a provider calls it: signed in, with a time limit, repeated where repeating is safe.
import { setTimeout as sleep } from "node:timers/promises";
import type { LocalAccount } from "viem";
import { signIn } from "../access.ts";
import { TallystickError, type Retry } from "../errors.ts";

export type RelayerAccess = {
  /** Origin of the relayer. */
  relayerUrl: string;
  /** Signs in: whoever signs in first with a service's name owns it. Holds no money and needs no ether. */
  account?: Pick<LocalAccount, "address" | "signMessage">;
  /** Instead of an account: a token of POST /api/v1/access/tokens, or what gets one. */
  token?: string | (() => Promise<string>);
  fetch?: typeof fetch;
  /** Of one call, milliseconds. A first payment waits for its deposit's confirmation. */
  timeoutMs?: number;
};

export type RelayerClient = {
  /** One JSON call, repeated while the relayer cannot be reached. @throws TallystickError `relayer_unreachable` (503, safe) or the relayer's own. */
  call<T>(path: string, init: { method: "POST" | "PUT"; body: unknown; headers?: Record<string, string> }): Promise<T>;
  /** An answer to be read as it comes. @throws as call; not repeated. */
  open(path: string, headers: Record<string, string>, signal: AbortSignal): Promise<Response>;
};

const TIMEOUT_MS = 60_000;
/** Waits between the tries of one call. */
const BACKOFF_MS = [100, 400];
/** A token is renewed so long before it ends. */
const RENEW_MS = 60_000;

export function createRelayerClient(access: RelayerAccess): RelayerClient {
  const { relayerUrl, timeoutMs = TIMEOUT_MS } = access;
  const fetcher = access.fetch ?? globalThis.fetch;
  const origin = new URL(relayerUrl).origin;
  const tokens = tokenSource(access, fetcher);

  const send = async (path: string, init: RequestInit & { headers: Record<string, string> }): Promise<Response> => {
    for (let attempt = 0; ; attempt++) {
      const token = await tokens.get().catch((error: unknown) => {
        throw error instanceof TallystickError ? error : unreachable(origin, error);
      });
      const response = await fetcher(`${origin}${path}`, { ...init, headers: { ...init.headers, authorization: `Bearer ${token}` }, redirect: "error" }).catch((error: unknown) => {
        throw unreachable(origin, error);
      });
      if (response.ok) return response;
      const problem = await problemIn(response);
      // It ran out or the relayer forgot it: once more with a new one.
      if (response.status === 401 && attempt === 0 && tokens.renewable) tokens.forget(token);
      else throw problem;
    }
  };

  return {
    async call<T>(path: string, { method, body, headers = {} }: { method: string; body: unknown; headers?: Record<string, string> }) {
      for (let attempt = 0; ; attempt++) {
        try {
          const response = await send(path, { method, body: JSON.stringify(body), headers: { "content-type": "application/json", ...headers }, signal: AbortSignal.timeout(timeoutMs) });
          return await (response.json() as Promise<T>).catch((error: unknown) => {
            throw unreachable(origin, error);
          });
        } catch (error) {
          const wait = BACKOFF_MS[attempt];
          if (wait === undefined || !(error instanceof TallystickError) || !WORTH_REPEATING.has(error.code)) throw error;
          await sleep(wait);
        }
      }
    },
    open: (path, headers, signal) => send(path, { headers, signal }),
  };
}

/** Nothing is known of the call, or it is known not to have happened. What a payment waits for is the buyer's to repeat. */
const WORTH_REPEATING = new Set(["relayer_unreachable", "database_unavailable"]);

type TokenSource = { renewable: boolean; get(): Promise<string>; forget(token: string): void };

function tokenSource({ account, token, relayerUrl }: RelayerAccess, fetcher: typeof fetch): TokenSource {
  if ((account === undefined) === (token === undefined)) {
    throw new TallystickError({ code: "provider_options_invalid", status: 500, retry: "never", field: "account", detail: "Give either an account that signs in, or a token." });
  }
  if (typeof token === "string") return { renewable: false, get: async () => token, forget() {} };
  type Held = { token: string; until: number };
  let held: Held | undefined;
  let signing: Promise<Held> | undefined;
  const signNow = async (): Promise<Held> => {
    if (account === undefined) return { token: await token!(), until: Infinity };
    const signed = await signIn({ relayerUrl, account, fetch: fetcher });
    return { token: signed.token, until: Date.parse(signed.expiresAt) - RENEW_MS };
  };
  // Many calls at once need one signature.
  const fresh = async (): Promise<Held> => {
    signing ??= signNow().finally(() => (signing = undefined));
    return (held = await signing);
  };
  return {
    renewable: true,
    get: async () => (held !== undefined && Date.now() < held.until ? held : await fresh()).token,
    forget(stale) {
      if (held?.token === stale) held = undefined;
    },
  };
}

function unreachable(origin: string, cause: unknown): TallystickError {
  return new TallystickError({ code: "relayer_unreachable", status: 503, retry: "safe", detail: `The relayer ${origin} cannot be reached.`, cause });
}

/** The relayer's own problem; what is none comes from something in between. */
async function problemIn(response: Response): Promise<TallystickError> {
  const problem = (await response.json().catch(() => ({}))) as { code?: unknown; detail?: unknown; retry?: Retry; field?: string; reason?: unknown; retryAfterS?: unknown };
  if (typeof problem?.code !== "string") return unreachable(new URL(response.url).origin, new Error(`HTTP ${response.status}`));
  const { code, detail = "", retry = "unknown", field, reason, retryAfterS } = problem;
  return new TallystickError({ code, status: response.status, retry, detail: String(detail), ...(field === undefined ? {} : { field }), extra: { ...(reason === undefined ? {} : { reason }), ...(retryAfterS === undefined ? {} : { retryAfterS }) } });
}
