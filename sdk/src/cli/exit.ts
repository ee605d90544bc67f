// Exit codes, and the errors that carry them. Scripts branch on these: they never change their meaning.
import { TallystickError, type Retry } from "../errors.ts";

export const EXITS = {
  ok: { code: 0, about: "done" },
  failed: { code: 1, about: "failed, or part of it; the error says what" },
  usage: { code: 2, about: "the command line, the environment or a file is wrong; nothing was done" },
  limit: { code: 3, about: "refused by a limit of yours, such as --max; nothing was paid" },
  refused: { code: 4, about: "the seller refuses the payment, or cannot be trusted with it" },
  answer: { code: 5, about: "the seller answered, with an HTTP error" },
  unreachable: { code: 6, about: "chain, relayer or seller cannot be reached; try again" },
  interrupted: { code: 130, about: "interrupted" },
} as const;

export type Exit = keyof typeof EXITS;

type CliErrorInit = { code: string; detail: string; exit?: Exit; hint?: string; retry?: Retry; field?: string; extra?: Record<string, unknown>; cause?: unknown };

/** A failure of the command line itself; `hint` says what to do about it. */
export class CliError extends TallystickError {
  readonly exit: Exit;
  readonly hint: string | undefined;

  constructor({ exit = "failed", hint, retry = "never", ...init }: CliErrorInit) {
    super({ status: 400, retry, ...init });
    this.exit = exit;
    this.hint = hint;
  }
}

export function usageError(detail: string, hint?: string, code = "usage"): CliError {
  return new CliError({ code, exit: "usage", detail, hint });
}

/** What the agent's errors come to; the rest goes by its status. */
const BY_CODE: Record<string, Exit> = {
  limit_exceeded: "limit",
  deposit_too_small: "limit", // smaller than one call, by our own limit
  mandate_exhausted: "limit",
  mandate_payment_limit: "limit",
  mandate_payee_not_allowed: "limit",
  mandate_capability: "limit",
  mandate_expired: "limit",
  mandate_not_yet_valid: "limit",
  mandate_revoked: "limit",
  firewall_rejected: "limit",
  approval_pending: "limit",
  guard_unreachable: "unreachable",
  mandate_unverifiable: "unreachable",
  payment_refused: "refused",
  unsupported_terms: "refused",
  terms_changed: "refused",
  offer_invalid: "refused",
  seller_malformed: "refused",
  server_overcharged: "refused",
  receipt_invalid: "refused",
  payment_undecided: "unreachable",
};

export function exitOf(error: unknown): Exit {
  if (error instanceof CliError) return error.exit;
  if (!(error instanceof TallystickError)) return "failed";
  const known = BY_CODE[error.code];
  if (known !== undefined) return known;
  if (error.status === 402) return "refused";
  return error.code.endsWith("_unreachable") || error.code.endsWith("_unavailable") ? "unreachable" : "failed";
}

/** The `error` member of --json. */
export function errorJson(error: unknown): Record<string, unknown> {
  if (!(error instanceof TallystickError)) return { code: "internal", message: messageOf(error), retry: "unknown" };
  const hint = error instanceof CliError ? error.hint : undefined;
  return {
    code: error.code,
    message: error.message,
    retry: error.retry,
    ...(error.field === undefined ? {} : { field: error.field }),
    ...(hint === undefined ? {} : { hint }),
    ...error.extra,
  };
}

/** What to tell of an error. The innermost cause says what happened (fetch itself only says "fetch failed"), but for our own errors. */
export function messageOf(error: unknown): string {
  if (error instanceof TallystickError) return error.message;
  let inner = error;
  while (inner instanceof Error && inner.cause instanceof Error) inner = inner.cause;
  if (!(inner instanceof Error)) return String(inner);
  // Node's connection errors have an empty message when several addresses were tried.
  return inner.message || String((inner as NodeJS.ErrnoException).code ?? inner.name);
}
