// One base for every error that crosses a boundary: a stable code to branch on, an HTTP status, and whether a retry helps.

/** `never`: the same call will fail again. `safe`: nothing happened, try again. `unknown`: find out before trying again. */
export type Retry = "never" | "safe" | "unknown";

export type ErrorInit = {
  /** Stable, snake_case. Callers branch on it; messages may change. */
  code: string;
  status: number;
  retry: Retry;
  /** What happened, in one sentence, with both values where two disagree. */
  detail: string;
  /** Path of the offending input, such as `payload.voucher.maxClaimableAmount`. */
  field?: string;
  /** More members for the problem document; never secrets. */
  extra?: Record<string, unknown>;
  cause?: unknown;
};

export class TallystickError extends Error {
  override name = "TallystickError";
  readonly code: string;
  readonly status: number;
  readonly retry: Retry;
  readonly field: string | undefined;
  readonly extra: Record<string, unknown>;

  constructor(init: ErrorInit) {
    super(init.detail, init.cause === undefined ? undefined : { cause: init.cause });
    this.code = init.code;
    this.status = init.status;
    this.retry = init.retry;
    this.field = init.field;
    this.extra = init.extra ?? {};
  }
}

/** RFC 9457 problem document of an error. */
export function toProblem(error: TallystickError, instance?: string): Record<string, unknown> {
  return {
    type: `https://tallystick.dev/problems/${error.code}`,
    title: error.code.replaceAll("_", " "),
    status: error.status,
    code: error.code,
    detail: error.message,
    retry: error.retry,
    ...(error.field === undefined ? {} : { field: error.field }),
    ...(instance === undefined ? {} : { instance }),
    ...error.extra,
  };
}
