// Tells a relayer of a mandate: from then on its ledger counts what is charged under it, and refuses what it does not allow, whatever a
// guard does. By the principal or a delegate; the same again changes nothing.
import type { LocalAccount } from "viem";
import { signIn } from "./access.ts";
import { TallystickError, type Retry } from "./errors.ts";
import type { SignedBinding } from "./guard/request.ts";
import { toWireLineage, type Lineage } from "./lineage.ts";

export type Registering = {
  relayerUrl: string;
  account: Pick<LocalAccount, "address" | "signMessage">;
  lineage: Lineage;
  /** Voucher keys that spend under it, each by its own word: `GuardClient.binding`. */
  bindings?: readonly SignedBinding[];
  fetch?: typeof fetch;
};

/** @throws TallystickError with the relayer's own code, such as `mandate_too_wide`, `mandate_signature_invalid`. */
export async function registerWithRelayer({ relayerUrl, account, lineage, bindings = [], fetch: fetcher = globalThis.fetch }: Registering): Promise<void> {
  const { token } = await signIn({ relayerUrl, account, fetch: fetcher });
  const body = { lineage: toWireLineage(lineage), guards: bindings.map(({ authorizer, signature }) => ({ authorizer, signature })) };
  const response = await fetcher(`${new URL(relayerUrl).origin}/api/v1/mandates`, { method: "POST", headers: { "content-type": "application/json", authorization: `Bearer ${token}` }, body: JSON.stringify(body) });
  if (response.ok) return void (await response.body?.cancel());
  const problem = (await response.json().catch(() => ({}))) as { code?: string; detail?: string; retry?: Retry; field?: string };
  const { code = "mandate_refused", detail = `The relayer answers ${response.status}.`, retry = "unknown", field } = problem;
  throw new TallystickError({ code, status: response.status, retry, detail, ...(field === undefined ? {} : { field }) });
}
