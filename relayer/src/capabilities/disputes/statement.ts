// What a party says in a dispute: a document with its files, each kept by its hash. The document's own hash is the evidence on chain.
import { stringToBytes, type Address, type Hex } from "viem";
import { canonicalJson } from "../../../../sdk/src/audit/canonical.ts";
import { documentHash, type Attachment, type DisputeStatement } from "../../../../sdk/src/jobs/brief.ts";
import type { Queryable } from "../../db/pool.ts";
import { bytesOf, contentHash, keepFile, type NewFile } from "../jobs/files.ts";
import type { JobDeps } from "../jobs/sending.ts";

type Uploaded = { name: string; mediaType: string; contentBase64: string };
export type Said = { description: string; attachments?: Uploaded[]; logs?: Uploaded[] };
export type Statement = { evidence: Hex; files: NewFile[] };

const STATEMENT = "application/json";

/** @throws TallystickError 400 `content_malformed`, 413 `content_too_large`. */
export function readStatement({ config }: Pick<JobDeps, "config">, jobId: string, party: Address, { description, attachments = [], logs = [] }: Said): Statement {
  const files: NewFile[] = [];
  const keep = (kind: "attachment" | "log", uploaded: readonly Uploaded[]): Attachment[] =>
    uploaded.map(({ name, mediaType, contentBase64 }, index) => {
      const bytes = bytesOf(contentBase64, `${kind === "log" ? "logs" : "attachments"}[${index}].contentBase64`, config.jobs.deliverableBytes);
      files.push({ kind, mediaType, bytes, by: party });
      return { name, mediaType, sha256: contentHash(bytes), size: bytes.length };
    });
  const document: DisputeStatement = { jobId, party, description, attachments: keep("attachment", attachments), logs: keep("log", logs) };
  files.push({ kind: "statement", mediaType: STATEMENT, bytes: Buffer.from(stringToBytes(canonicalJson(document))), by: party });
  return { evidence: documentHash(document), files };
}

export async function keepStatement(client: Queryable, deps: JobDeps, jobId: string, { files }: Statement): Promise<void> {
  for (const file of files) await keepFile(client, deps, jobId, file);
}
