// Rates a service that was paid by channel or for a job: the payer signs, the relayer sends and pays the gas. What is signed is what was asked for,
// whatever the relayer answers.
import type { Address, Hex, LocalAccount } from "viem";
import { zeroHash } from "viem";
import { bazaarRegistryDomain, jobSourceOf } from "../bazaar.ts";
import { rateServiceTypes, type Rating } from "../bazaar-messages.ts";
import { TallystickError } from "../errors.ts";

/** A channel of ours, or a job of the deployment's escrow. */
export type PaidBy = { channelId: Hex } | { jobId: bigint; escrow: Address };

export type RateOptions = {
  relayerUrl: string;
  /** The channel's payer, or the job's client. */
  account: Pick<LocalAccount, "signTypedData">;
  chainId: number;
  registry: Address;
  /** The registry's id of the service, or the gateway's name. */
  service: string;
  /** What paid. */
  paidBy: PaidBy;
  /** 0 to 100. */
  score: number;
  /** Hash of whatever explains it. */
  details?: Hex;
  fetch?: typeof fetch;
};

export type RatedService = { rating: Rating; transaction: { hash: Hex; status: "confirmed" | "pending" } };

type Answer = { rating: Omit<Rating, "claimed" | "deadline"> & { claimed: string; deadline: string }; transaction: RatedService["transaction"] | null };

/** @throws TallystickError `rating_mismatch` when the relayer would have something else signed, or the relayer's own code. */
export async function rateService({ relayerUrl, account, chainId, registry, service, paidBy, score, details = zeroHash, fetch: ask = fetch }: RateOptions): Promise<RatedService> {
  if (!Number.isInteger(score) || score < 0 || score > 100) throw new TallystickError({ code: "score_invalid", status: 400, retry: "never", field: "score", detail: "A score is a whole number from 0 to 100." });
  const url = `${relayerUrl.replace(/\/+$/, "")}/api/v1/agents/${encodeURIComponent(service)}/ratings`;
  const [named, source] = "jobId" in paidBy ? [{ jobId: String(paidBy.jobId) }, jobSourceOf(chainId, paidBy.escrow, paidBy.jobId)] : [paidBy, paidBy.channelId];
  const proposed = await post(ask, url, { ...named, score, details });
  const rating: Rating = { ...proposed.rating, claimed: BigInt(proposed.rating.claimed), deadline: BigInt(proposed.rating.deadline) };
  const asked = rating.source.toLowerCase() === source.toLowerCase() && rating.score === score && rating.details === details && !rating.forward;
  const ofService = !/^0x[0-9a-f]{64}$/i.test(service) || rating.serviceId.toLowerCase() === service.toLowerCase();
  if (!asked || !ofService) throw new TallystickError({ code: "rating_mismatch", status: 502, retry: "never", detail: "The relayer would have something else signed than what was asked for." });
  const signature = await account.signTypedData({ domain: bazaarRegistryDomain(chainId, registry), types: rateServiceTypes, primaryType: "RateService", message: rating });
  const { transaction } = await post(ask, url, { ...named, score, details, claimed: String(rating.claimed), deadline: String(rating.deadline), signature });
  if (transaction === null) throw new TallystickError({ code: "rating_mismatch", status: 502, retry: "safe", detail: "The relayer took the signature and sent nothing." });
  return { rating, transaction };
}

async function post(ask: typeof fetch, url: string, body: Record<string, unknown>): Promise<Answer> {
  const response = await ask(url, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) });
  const answer = (await response.json().catch(() => ({}))) as Record<string, unknown>;
  if (response.ok) return answer as unknown as Answer;
  const { code = "relayer_failed", detail = `The relayer answered ${response.status}.`, retry = "unknown", reason } = answer as { code?: string; detail?: string; retry?: "never" | "safe" | "unknown"; reason?: string };
  throw new TallystickError({ code, status: response.status, retry, detail, ...(reason === undefined ? {} : { extra: { reason } }) });
}
