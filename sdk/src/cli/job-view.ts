// Jobs as the CLI shows them, and what its job and dispute commands share.
import { readFile } from "node:fs/promises";
import { basename, extname } from "node:path";
import { getAddress, isAddress, type Address } from "viem";
import { jobsClient, type JobsClient, type JobView, type Upload } from "../jobs/client.ts";
import { TallystickError } from "../errors.ts";
import type { Input, Outcome } from "./command.ts";
import type { Context } from "./context.ts";
import { CliError, messageOf, usageError } from "./exit.ts";
import { usdc } from "./money.ts";
import { columns, utc } from "./output.ts";

const JOB_ID = /^job_[0-9a-f]{32}$/;
const MEDIA_TYPES: Record<string, string> = { ".txt": "text/plain", ".log": "text/plain", ".md": "text/markdown", ".json": "application/json", ".pdf": "application/pdf", ".png": "image/png" };

/** The account's side of jobs. @throws CliError when the relayer cannot be reached. */
export async function openJobs(context: Context): Promise<JobsClient> {
  const relayerUrl = context.relayerUrl();
  const reaching: typeof fetch = (url, init) =>
    fetch(url, { ...init, signal: context.signal }).catch((error: unknown) => {
      throw error instanceof TallystickError ? error : new CliError({ code: "relayer_unreachable", exit: "unreachable", retry: "safe", detail: `${new URL(relayerUrl).origin} cannot be reached (${messageOf(error)}).`, hint: "Check --relayer or TALLYSTICK_RELAYER_URL." });
    });
  return jobsClient({ relayerUrl, account: await context.account(), fetch: reaching });
}

export function jobIdIn({ positionals: [jobId = ""] }: Input): string {
  if (JOB_ID.test(jobId)) return jobId;
  throw usageError(`${jobId === "" ? "The job" : jobId} must be a job's id: job_ and 32 hex digits.`, "tallystick job list");
}

export function addressIn(values: Input["values"], name: string): Address | undefined {
  const text = values[name];
  if (text === undefined) return undefined;
  if (typeof text === "string" && isAddress(text)) return getAddress(text);
  throw usageError(`--${name} must be an address with a right checksum.`);
}

export const textIn = (values: Input["values"], name: string): string | undefined => (typeof values[name] === "string" ? (values[name] as string) : undefined);

export async function fileAt(path: string): Promise<Upload> {
  const content = await readFile(path).catch((error: unknown) => {
    throw usageError(`${path} cannot be read (${messageOf(error)}).`);
  });
  return { name: basename(path), mediaType: MEDIA_TYPES[extname(path).toLowerCase()] ?? "application/octet-stream", content };
}

export const filesIn = (values: Input["values"], name: string): Promise<Upload[]> => Promise.all(((values[name] ?? []) as string[]).map(fileAt));

/** Basis points of a percentage with up to two decimals. */
export function shareIn(values: Input["values"], name: string): number {
  const [, whole, hundredths = ""] = /^(\d{1,3})(?:\.(\d{1,2}))?%?$/.exec(textIn(values, name) ?? "") ?? [];
  const bps = Number(whole) * 100 + Number(hundredths.padEnd(2, "0"));
  if (whole === undefined || bps > 10_000) throw usageError(`--${name} must be the provider's share in percent, 0 to 100.`);
  return bps;
}

export function jobOutcome(job: JobView, transaction?: { hash: string; status: string }): Outcome {
  return { json: { ...job, ...(transaction === undefined ? {} : { transaction }) }, text: jobText(job, transaction) };
}

export function jobText(job: JobView, transaction?: { hash: string; status: string }): string {
  const escrow = job["escrow"] as { status: string; amountAtomic: string; providerAmountAtomic: string; clientAmountAtomic: string; expiredAt: number } | null;
  const dispute = job["dispute"] as { status: string; outcome: { refund: string; refundAtomic: string } | null } | null;
  const rows = [
    ["job", job.jobId], ["state", job.state], ["title", String(job["title"])], ["client", job.client], ["provider", job.provider ?? "whoever quotes"],
    ...(escrow === null ? [] : [["escrow", `${escrow.status}, ${usdc(BigInt(escrow.amountAtomic))} USDC`], ["paid", `${usdc(BigInt(escrow.providerAmountAtomic))} USDC to the provider, ${usdc(BigInt(escrow.clientAmountAtomic))} USDC back`], ["expires", utc(escrow.expiredAt)]]),
    ...(dispute === null ? [] : [["dispute", dispute.outcome === null ? dispute.status : `${dispute.status}, refund ${dispute.outcome.refund}`]]),
    ...(job["deliverable"] === null ? [] : [["delivered", String(job["deliverable"])]]),
    ...(job["quotes"] as { provider: string; budgetAtomic: string }[]).map(({ provider, budgetAtomic }) => ["quote", `${usdc(BigInt(budgetAtomic))} USDC by ${provider}`]),
    ...(transaction === undefined ? [] : [["transaction", `${transaction.hash} (${transaction.status})`]]),
  ];
  return columns(rows);
}
