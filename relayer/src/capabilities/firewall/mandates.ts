// What the firewall knows of the mandate that a payment is made under.
import type { Address } from "viem";
import type { CompiledPolicy, MandateFacts } from "../../../../sdk/src/firewall/evaluate.ts";
import type { GatewayDeps } from "../gateway/rail.ts";

type Signer = { payer: Address; payerAuthorizer?: Address | undefined };

/** Asked only when one of the policies is about mandates. */
export async function mandateFactsOf(_deps: GatewayDeps, _signer: Signer, _policies: readonly CompiledPolicy[]): Promise<MandateFacts | undefined> {
  return undefined;
}
