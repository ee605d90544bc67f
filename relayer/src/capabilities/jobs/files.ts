// Deliverables and what parties say in disputes: by the hash of their bytes, sealed, and for those who have a part in the job.
import { sha256, type Address, type Hex } from "viem";
import type { Queryable } from "../../db/pool.ts";
import type { Deps } from "../../deps.ts";
import { jobFault } from "./faults.ts";
import * as store from "./store.ts";
import type { JobFile } from "./types.ts";

export type NewFile = { kind: JobFile["kind"]; mediaType: string; bytes: Buffer; by: Address };

/** All files of a job together may be so many times the largest one. */
const MOST_FILES_OF_LARGEST = 8;

/** Strict base64: other spellings of the same bytes, and what is no base64 at all, are refused. @throws TallystickError 400, 413. */
export function bytesOf(base64: string, field: string, mostBytes: number): Buffer {
  const bytes = Buffer.from(base64, "base64");
  if (bytes.toString("base64") !== base64) throw jobFault(400, "content_malformed", field, `${field} is not base64.`);
  if (bytes.length > mostBytes) throw jobFault(413, "content_too_large", field, `${field} has ${bytes.length} bytes, at most ${mostBytes} are taken.`, { limit: String(mostBytes) });
  return bytes;
}

export const contentHash = (bytes: Uint8Array): Hex => sha256(bytes);

/** @throws TallystickError 413 `job_files_full`. */
export async function keepFile(client: Queryable, { vault, config }: Pick<Deps, "vault" | "config">, jobId: string, { kind, mediaType, bytes, by }: NewFile): Promise<void> {
  const hash = contentHash(bytes);
  const most = config.jobs.deliverableBytes * MOST_FILES_OF_LARGEST;
  const file = { sha256: hash, kind, mediaType, size: bytes.length, by };
  if (!(await store.saveFile(client, jobId, file, vault.seal(sealName(jobId, hash), bytes), most))) throw jobFault(413, "job_files_full", undefined, `The files of job ${jobId} would come to more than ${most} bytes.`);
}

/** @throws TallystickError 404 `file_unknown`. */
export async function openFile({ db, vault }: Pick<Deps, "db" | "vault">, jobId: string, hash: Hex): Promise<{ mediaType: string; bytes: Buffer }> {
  const file = await store.findFile(db, jobId, hash);
  if (file === undefined) throw jobFault(404, "file_unknown", "sha256", `Job ${jobId} has no file ${hash} here.`);
  return { mediaType: file.mediaType, bytes: vault.open(sealName(jobId, hash), file.sealed) };
}

const sealName = (jobId: string, hash: Hex): string => `${jobId}/${hash}`;
