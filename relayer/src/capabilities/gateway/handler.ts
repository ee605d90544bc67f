// A service that is a function of this very process: a provider that runs its own relayer needs no server beside it. It is sold by the
// same rules as an upstream; what it throws is the service's failure, and nothing is charged.
import { TallystickError } from "../../../../sdk/src/errors.ts";
import type { Answer } from "../ledger/types.ts";
import type { Call } from "./upstream.ts";

/**
 * Answers one call whole. `settlement-overrides` among its headers sets the actual charge, as an upstream's does. `signal` aborts when
 * the buyer left or the time is over.
 */
export type Handler = (call: Pick<Call, "method" | "path" | "headers" | "body"> & { paymentId: string; signal: AbortSignal }) => Promise<Answer>;

/** By the name of the service. */
export type Handlers = ReadonlyMap<string, Handler>;

/** @throws TallystickError 502 `upstream_failed` or 504 `upstream_timeout`; `stop` is called for the latter. */
export async function runHandler(handler: Handler, call: Parameters<Handler>[0], timeoutMs: number, stop: () => void): Promise<Answer> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_done, fail) => {
    timer = setTimeout(() => {
      fail(new TallystickError({ code: "upstream_timeout", status: 504, retry: "safe", detail: `The service did not answer within ${timeoutMs} ms; nothing was charged.` }));
      stop();
    }, timeoutMs);
  });
  try {
    return await Promise.race([handler(call), late]);
  } catch (cause) {
    if (cause instanceof TallystickError) throw cause;
    throw new TallystickError({ code: "upstream_failed", status: 502, retry: "safe", detail: "The service failed; nothing was charged.", cause });
  } finally {
    clearTimeout(timer);
  }
}
