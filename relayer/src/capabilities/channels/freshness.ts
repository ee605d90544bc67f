// A balance is only as good as our last look at the chain: a withdrawal may have started since.
import { chainUnavailable } from "../../chain/client.ts";
import type { Deps } from "../../deps.ts";

/** @throws TallystickError `chain_unavailable` (503, safe) when the chain was not read for longer than the configured time. */
export function assertChainFresh(deps: Pick<Deps, "config" | "now" | "chainReadAt">): void {
  const readAt = deps.chainReadAt();
  const ageMs = readAt === undefined ? Number.POSITIVE_INFINITY : deps.now().getTime() - readAt.getTime();
  if (ageMs > deps.config.chainMaxLagMs) throw chainUnavailable(new Error(`the chain was last read ${ageMs} ms ago`));
}
