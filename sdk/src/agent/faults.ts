import { TallystickError } from "../errors.ts";

/** The seller said no, and why. */
export function refused(status: number, error: string, problem: { code: string; detail: string; field?: string } | undefined): TallystickError {
  return new TallystickError({
    code: "payment_refused",
    status,
    retry: "never",
    detail: `The seller refused the payment: ${problem?.detail ?? error}`,
    ...(problem?.field === undefined ? {} : { field: problem.field }),
    extra: { reason: problem?.code ?? error, x402Error: error },
  });
}
