// Votes that are committed and not revealed yet, in the storage folder: whoever loses one loses the seat's bond.
import { mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { SecretVote } from "../jobs/signing.ts";
import { CliError } from "./exit.ts";

type Stored = { jobId: string; round: number; seat: number; providerBps: number; reason: `0x${string}`; salt: `0x${string}`; commitment: `0x${string}` };

const folderOf = (stateDir: string): string => join(stateDir, "votes");

/** Never overwrites: a second vote for the seat would make the first impossible to reveal. */
export async function keepVote(stateDir: string, jobId: string, { round, seat, providerBps, reason, salt, commitment }: SecretVote): Promise<string> {
  await mkdir(folderOf(stateDir), { recursive: true, mode: 0o700 });
  const path = join(folderOf(stateDir), `${jobId}-${round}-${seat}-${commitment.slice(2, 10)}.json`);
  const stored: Stored = { jobId, round: Number(round), seat, providerBps, reason, salt, commitment };
  await writeFile(path, `${JSON.stringify(stored)}\n`, { mode: 0o600, flag: "wx" });
  return path;
}

/** The votes kept for a job's latest round, the newest commitment last. @throws CliError `vote_unknown`. */
export async function findVotes(stateDir: string, jobId: string): Promise<Stored[]> {
  const names = (await readdir(folderOf(stateDir)).catch(() => [])).filter((name) => name.startsWith(`${jobId}-`)).sort();
  const votes = await Promise.all(names.map(async (name) => JSON.parse(await readFile(join(folderOf(stateDir), name), "utf8")) as Stored));
  const latest = Math.max(...votes.map(({ round }) => round));
  if (votes.length === 0) throw new CliError({ code: "vote_unknown", exit: "usage", detail: `There is no vote for ${jobId} in ${folderOf(stateDir)}.`, hint: "A vote is revealed where it was committed: --state." });
  return votes.filter(({ round }) => round === latest);
}
