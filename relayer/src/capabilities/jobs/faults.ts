// Why something about a job is refused. Whatever is refused here or by the contracts, nothing moved.
import { decodeErrorResult, type Abi, type Hex } from "viem";
import { disputeEvaluatorAbi } from "../../../../sdk/src/abi/dispute-evaluator.ts";
import { jobEscrowAbi } from "../../../../sdk/src/abi/job-escrow.ts";
import { mandateRegistryAbi } from "../../../../sdk/src/abi/mandate-registry.ts";
import { testUSDCAbi } from "../../../../sdk/src/abi/test-usdc.ts";
import { TallystickError } from "../../../../sdk/src/errors.ts";
import { isRevert, revertData, revertName } from "../../chain/client.ts";

const ABI = [...jobEscrowAbi, ...disputeEvaluatorAbi, ...mandateRegistryAbi, ...testUSDCAbi].filter(({ type }) => type === "error") as Abi;

export function jobFault(status: number, code: string, field: string | undefined, detail: string, extra: Record<string, unknown> = {}): TallystickError {
  return new TallystickError({ code, status, retry: "never", detail, ...(field === undefined ? {} : { field }), extra: { moved: "0", ...extra } });
}

export const unknownJob = (jobId: string): TallystickError => jobFault(404, "job_unknown", "jobId", `No job ${jobId} that you have a part in.`);
export const notAllowed = (detail: string): TallystickError => jobFault(403, "job_forbidden", undefined, detail);
export const wrongState = (detail: string): TallystickError => jobFault(409, "job_state", undefined, detail);

/** A contract's refusal as ours; anything else as it is. */
export function contractFault(error: unknown): unknown {
  if (!isRevert(error)) return error;
  const { name, args } = decoded(revertData(error)) ?? { name: revertName(error) ?? "Reverted", args: [] };
  return jobFault(422, "job_refused", undefined, `The contract refuses: ${name}${args.length === 0 ? "" : `(${args.join(", ")})`}.`, { contractError: name });
}

type Decoded = { name: string; args: readonly string[] };

/** A hook's own refusal is inside of the escrow's. */
function decoded(data: Hex | undefined): Decoded | undefined {
  if (data === undefined || data === "0x") return undefined;
  try {
    const { errorName, args = [] } = decodeErrorResult({ abi: ABI, data });
    if (errorName === "HookFailed") return decoded(args[2] as Hex) ?? { name: errorName, args: [] };
    return { name: errorName === "Error" ? String(args[0]) : errorName, args: errorName === "Error" ? [] : args.map(String) };
  } catch {
    return undefined; // an error of another contract
  }
}
