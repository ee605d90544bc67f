// A deposit under a mandate: the registry is the collector, and what it reads is the agent's to compose. The registry alone decides, when
// the call is simulated; here is only said whose fault a refusal is.
import { decodeErrorResult, encodeFunctionData, isAddressEqual, keccak256, type Abi, type Hex } from "viem";
import { mandateRegistryAbi } from "../../../../sdk/src/abi/mandate-registry.ts";
import { sessionChannelsAbi } from "../../../../sdk/src/abi/session-channels.ts";
import type { TallystickError } from "../../../../sdk/src/errors.ts";
import { isRevert, readChain, revertData, revertName } from "../../chain/client.ts";
import type { Deps } from "../../deps.ts";
import type { DepositRequest, MandateDeposit } from "./deposit-check.ts";
import { paymentFault } from "./faults.ts";

export type MandateDepositRequest = Omit<DepositRequest, "authorization"> & { authorization: MandateDeposit };

const DATA = "payload.deposit.authorization.mandateDeposit.data";

export const isMandateDeposit = (request: DepositRequest): request is MandateDepositRequest => "data" in request.authorization;

/** The same signed deposit again is the same row. */
export const mandateDepositKey = ({ authorization }: MandateDepositRequest): Hex => keccak256(authorization.data);

/** @throws a payment fault when the collector is not the registry that this relayer knows. */
export function checkMandateCollector({ config }: Pick<Deps, "config">, { collector }: DepositRequest): void {
  const { mandateRegistry } = config;
  if (mandateRegistry !== undefined && collector !== undefined && isAddressEqual(collector, mandateRegistry)) return;
  const known = mandateRegistry === undefined ? "this relayer takes no deposits under mandates" : `the mandate registry is ${mandateRegistry}`;
  throw paymentFault("deposit_refused", "payload.deposit.collector", `The collector is ${collector ?? "not named"}; ${known}.`);
}

export function mandateDepositCalldata({ config: channelConfig, amount, authorization, collector }: MandateDepositRequest): Hex {
  return encodeFunctionData({ abi: sessionChannelsAbi, functionName: "deposit", args: [channelConfig, amount, collector!, authorization.data] });
}

/** Would the chain take it now? Sends nothing. @throws a payment fault that says why not; `chain_unavailable`. */
export async function checkMandateDeposit(deps: Pick<Deps, "chain" | "config" | "submitter">, request: MandateDepositRequest): Promise<void> {
  const call = { account: deps.submitter.addresses[0]!, to: deps.config.sessionChannels, data: mandateDepositCalldata(request) };
  try {
    await readChain(() => deps.chain.client.call(call));
  } catch (error) {
    if (isRevert(error)) throw mandateDepositRefusal(error);
    throw error;
  }
}

/** The registry's error, or the token's, with its values. */
export function mandateDepositRefusal(error: unknown): TallystickError {
  const told = registryError(error);
  const reason = told?.name ?? revertName(error) ?? "nothing more";
  const values = told === undefined ? "" : ` (${told.args.map(String).join(", ")})`;
  return paymentFault("deposit_refused", DATA, `The mandate registry or the token refuses the deposit: ${reason}${values}.`, { extra: { reason }, cause: error });
}

function registryError(error: unknown): { name: string; args: readonly unknown[] } | undefined {
  const data = revertData(error);
  if (data === undefined || data === "0x") return undefined;
  try {
    const { errorName, args } = decodeErrorResult({ abi: mandateRegistryAbi as Abi, data });
    return { name: errorName, args: args ?? [] };
  } catch {
    return undefined; // the channels' or the token's own
  }
}
