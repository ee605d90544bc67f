// Who paid what, as the registry will ask for it: by a channel, whose claims count, or for a job that is over.
import type { Address, ContractFunctionArgs, Hex } from "viem";
import type { bazaarRegistryAbi as abi } from "../../../../sdk/src/abi/bazaar-registry.ts";
import { jobEscrowAbi } from "../../../../sdk/src/abi/job-escrow.ts";
import { jobSourceOf, type ServiceKey } from "../../../../sdk/src/bazaar.ts";
import { TallystickError } from "../../../../sdk/src/errors.ts";
import { agreed } from "../../chain/client.ts";
import { readView } from "../channels/service.ts";
import { findChannel } from "../channels/store.ts";
import type { GatewayDeps } from "../gateway/rail.ts";

export type PaidBy = { channelId: Hex } | { jobId: bigint };
type Opinion = { score: number; details: Hex; forward: boolean; deadline: bigint; signature: Hex };
export type Proof = {
  /** What the rating names: the channel's id, or jobSourceOf. */
  source: Hex;
  /** The only one who may rate. */
  payer: Address;
  /** Atomic units: claimed of the channel in all, or what the job's provider got. */
  claimed: bigint;
  call(key: ServiceKey, offerHash: Hex, opinion: Opinion): RateCall;
};
type Args<Name extends "rateChannel" | "rateJob"> = ContractFunctionArgs<typeof abi, "nonpayable", Name>;
export type RateCall = { functionName: "rateChannel"; args: Args<"rateChannel"> } | { functionName: "rateJob"; args: Args<"rateJob"> };

/** @param claimed What of the channel's claims is rated; the newest when undefined. For a job there is nothing to choose. */
export function proofOf(deps: GatewayDeps, paidBy: PaidBy, claimed: bigint | undefined): Promise<Proof> {
  return "jobId" in paidBy ? jobProof(deps, paidBy.jobId) : channelProof(deps, paidBy.channelId, claimed);
}

async function channelProof(deps: GatewayDeps, channelId: Hex, wished: bigint | undefined): Promise<Proof> {
  const channel = await findChannel(deps.db, channelId);
  if (channel === undefined) throw refusal("channel_unknown", 404, "This relayer knows no such channel; its payer can send the rating itself.", "channelId");
  const claimed = wished ?? (await readView(deps, [channelId])).get(channelId)?.totalClaimed ?? 0n;
  if (claimed === 0n) throw new TallystickError({ code: "payment_unclaimed", status: 409, retry: "safe", field: "channelId", detail: "Nothing that this channel paid is claimed yet; it can be rated once it is." });
  const payment = { channels: deps.config.sessionChannels, config: channel.config, claimed };
  return {
    source: channelId, payer: channel.config.payer, claimed,
    call: (key, offerHash, opinion) => ({ functionName: "rateChannel", args: [key, offerHash, payment, opinion] }),
  };
}

async function jobProof({ chain, config }: GatewayDeps, jobId: bigint): Promise<Proof> {
  const read = { address: config.jobs.escrow, abi: jobEscrowAbi } as const;
  const [count, outcome] = await agreed(chain, (client) =>
    client.multicall({ contracts: [{ ...read, functionName: "jobCount" }, { ...read, functionName: "jobOutcome", args: [jobId] }] as const }),
  );
  if (count.status !== "success") throw new TallystickError({ code: "jobs_unavailable", status: 503, retry: "safe", detail: "No job escrow stands on this chain." });
  if (jobId > count.result || outcome.status !== "success") throw refusal("job_unknown", 404, `The escrow has no job ${jobId}.`, "jobId");
  const [payer, , , paid, terminal] = outcome.result;
  if (!terminal) throw new TallystickError({ code: "job_not_over", status: 409, retry: "safe", field: "jobId", detail: "The job is not over; it can be rated once its provider is paid." });
  if (paid === 0n) throw refusal("job_not_paid", 409, "The job's provider was paid nothing, so there is nothing to rate.", "jobId");
  return {
    source: jobSourceOf(config.chainId, config.jobs.escrow, jobId), payer, claimed: paid,
    call: (key, offerHash, opinion) => ({ functionName: "rateJob", args: [key, offerHash, jobId, opinion] }),
  };
}

export function refusal(code: string, status: number, detail: string, field?: string): TallystickError {
  return new TallystickError({ code, status, retry: "never", detail, ...(field === undefined ? {} : { field }) });
}
