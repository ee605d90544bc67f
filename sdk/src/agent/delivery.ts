// Sends one payment until it is decided: the very same header again after a lost connection or while it is being served, never a new one.
import { TallystickError } from "../errors.ts";
import { problemOf, sendOnce, type Sendable } from "./request.ts";

export type Delivery =
  /** The seller answered, whatever it was. */
  | { outcome: "answered"; response: Response }
  /** It is not known whether the payment was taken; the same payment may be sent again later. */
  | { outcome: "undecided"; cause: unknown };

export type RetryPolicy = {
  /** How long the same payment is sent again before it counts as undecided, milliseconds. */
  patienceMs: number;
};

/** Codes of 5xx answers that say: send the very same payment again. Others say that nothing was charged, and are passed on. */
const SAME_AGAIN = new Set(["payment_in_progress", "settlement_pending", "deposit_pending", "deposit_contended", "deposit_dropped", "refund_pending", "chain_unavailable", "database_unavailable", "reservation_expired", "client_gone"]);
const FIRST_WAIT_MS = 200;
const LONGEST_WAIT_MS = 5_000;

export async function deliver(fetcher: typeof fetch, request: Sendable, payment: string, { patienceMs }: RetryPolicy): Promise<Delivery> {
  const deadline = Date.now() + patienceMs;
  let waitMs = FIRST_WAIT_MS;
  for (;;) {
    const attempt = await once(fetcher, request, payment);
    if (attempt.outcome === "answered") return attempt;
    if (request.signal?.aborted || Date.now() + waitMs > deadline) return attempt;
    await pause(attempt.retryAfterMs ?? waitMs, request.signal);
    waitMs = Math.min(waitMs * 2, LONGEST_WAIT_MS);
  }
}

type Attempt = Extract<Delivery, { outcome: "answered" }> | { outcome: "undecided"; cause: unknown; retryAfterMs?: number };

async function once(fetcher: typeof fetch, request: Sendable, payment: string): Promise<Attempt> {
  let response: Response;
  try {
    response = await sendOnce(fetcher, request, payment);
  } catch (cause) {
    return { outcome: "undecided", cause }; // the connection broke, before or after the payment was taken
  }
  const problem = response.status >= 500 ? await problemOf(response) : undefined;
  if (problem === undefined || !SAME_AGAIN.has(problem.code)) return { outcome: "answered", response };
  const retryAfter = Number(response.headers.get("retry-after"));
  const cause = new TallystickError({ code: problem.code, status: response.status, retry: "safe", detail: problem.detail });
  return { outcome: "undecided", cause, ...(retryAfter > 0 ? { retryAfterMs: Math.min(retryAfter * 1_000, LONGEST_WAIT_MS) } : {}) };
}

/** Ends early, without a fault, when the caller gives up: what follows notices that. */
function pause(ms: number, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((done) => {
    const end = () => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", end);
      done();
    };
    const timer = setTimeout(end, ms);
    signal?.addEventListener("abort", end);
  });
}
