// tallystick audit verify, tallystick audit export: the relayer's log of what was allowed and refused, checked without the relayer.
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { open } from "node:fs/promises";
import { createInterface } from "node:readline";
import { Readable } from "node:stream";
import { getAddress, isAddress, type Address } from "viem";
import { signIn } from "../../access.ts";
import { verifyAudit, type AuditHashing, type AuditVerdict } from "../../audit/verify.ts";
import { TallystickError } from "../../errors.ts";
import type { Command, Input, Outcome } from "../command.ts";
import type { Context } from "../context.ts";
import { CliError, messageOf, usageError } from "../exit.ts";
import { columns } from "../output.ts";

export const auditVerify: Command = {
  path: "audit verify",
  about: "Check an exported audit log offline: chain, seals, signatures, anchors, and its end",
  args: "<file | ->",
  positionals: [1, 1],
  details: `Stops at the first line that is wrong and names it. Without --signer the log is checked against itself, and who signed it is
told for you to compare. A file that begins after another (audit export --after) is checked from where it begins.

Exit code 0 when all is well, 1 when a line is wrong or missing, 2 when the file cannot be read.`,
  needs: [],
  options: { signer: { type: "string", value: "address", multiple: true, about: "who may have signed: the relayer's receiverAuthorizer; may be given several times" } },
  examples: [
    { about: "a relayer's whole log", line: "tallystick audit verify audit.jsonl --signer 0x5FbDB2315678afecb367f032d93F642f64180aa3" },
    { about: "your own entries, straight from the relayer", line: "tallystick audit export --local | tallystick audit verify -" },
  ],
  async run(context, input) {
    const verdict = await verifyAudit(await linesOf(context, input.positionals[0]!), hashing, signersIn(input));
    return { exit: verdict.fault === undefined ? "ok" : "failed", json: { ok: verdict.fault === undefined, ...verdict, fault: verdict.fault ?? null }, text: render(verdict) };
  },
};

export const auditExport: Command = {
  path: "audit export",
  about: "The relayer's audit log as JSON lines: your own entries with proofs, or all of it for the operator",
  positionals: [0, 0],
  details: `Signed in with your key you get what names you as payer or payee. With TALLYSTICK_OPERATOR_TOKEN set, everything. The last line
has the cursor from which --after goes on.`,
  needs: ["relayer", "key"],
  options: {
    output: { type: "string", short: "o", value: "file", about: "write it there instead of stdout" },
    after: { type: "string", value: "cursor", about: "what came after an earlier export" },
  },
  examples: [
    { about: "your own entries", line: "tallystick audit export -o audit.jsonl" },
    { about: "what is new since", line: "tallystick audit export --after e1767225600000-3-120 -o more.jsonl" },
  ],
  run: exportLog,
};

const hashing: AuditHashing = {
  sha256: (bytes) => createHash("sha256").update(bytes).digest(),
  running() {
    const hash = createHash("sha256");
    return { update: (bytes) => void hash.update(bytes), digest: () => hash.digest() };
  },
};

async function linesOf(context: Context, from: string): Promise<AsyncIterable<string>> {
  if (from === "-") return createInterface({ input: Readable.from([Buffer.from(await context.surroundings.readStdin())]), crlfDelay: Infinity });
  const file = await open(from).catch((error: NodeJS.ErrnoException) => {
    throw usageError(`${from} cannot be read (${error.code}).`, undefined, "file_unreadable");
  });
  await file.close();
  return createInterface({ input: createReadStream(from), crlfDelay: Infinity });
}

function signersIn({ values }: Input): Address[] {
  return ((values["signer"] as string[] | undefined) ?? []).map((signer) => {
    if (!isAddress(signer)) throw usageError("--signer must be an address with a right checksum.");
    return getAddress(signer);
  });
}

function render({ fault, scope, lines, entries, seals, epochs, anchors, signers, kinds }: AuditVerdict): string {
  const told = [
    ["scope", scope], ["lines", String(lines)], ["entries", String(entries)], ["seals", String(seals)], ["epochs", String(epochs)],
    ...Object.entries(kinds).toSorted().map(([kind, count]) => [`  ${kind}`, String(count)]),
    ...signers.map((signer) => ["signed by", signer]),
    ...anchors.map(({ day, transaction, checked }) => ["anchor", `${day}  ${transaction}${checked ? "" : "  (its seals begin before this file)"}`]),
  ];
  return `${fault === undefined ? "whole and unchanged" : `line ${fault.line}: ${fault.code}: ${fault.detail}`}\n\n${columns(told)}`;
}

async function exportLog(context: Context, { values }: Input): Promise<Outcome> {
  const relayerUrl = context.relayerUrl();
  const after = values["after"] as string | undefined;
  const token = context.surroundings.env["TALLYSTICK_OPERATOR_TOKEN"] ?? (await signIn({ relayerUrl, account: await context.account() }).catch(mapped(relayerUrl))).token;
  const path = `/api/v1/audit/export${after === undefined ? "" : `?after=${encodeURIComponent(after)}`}`;
  const response = await fetch(`${relayerUrl}${path}`, { headers: { authorization: `Bearer ${token}` }, signal: context.signal }).catch(mapped(relayerUrl));
  if (!response.ok || response.body === null) throw await refused(response);
  const bytes = response.body as unknown as AsyncIterable<Uint8Array>;
  const file = values["output"] as string | undefined;
  if (file === undefined) {
    const parts: Uint8Array[] = [];
    for await (const part of bytes) parts.push(part);
    const whole = Buffer.concat(parts);
    return { json: { lines: whole.toString("utf8").trimEnd().split("\n").map((line) => JSON.parse(line) as unknown) }, text: whole };
  }
  const out = await open(file, "w", 0o600).catch((error: NodeJS.ErrnoException) => {
    throw new CliError({ code: "file_unwritable", exit: "usage", detail: `${file} cannot be written (${error.code}).` });
  });
  let written = 0;
  for await (const part of bytes) written += (await out.write(part)).bytesWritten;
  await out.close();
  return { json: { file, bytes: written }, text: `written to ${file}` };
}

const mapped = (url: string) => (error: unknown): never => {
  if (error instanceof TallystickError) throw error;
  throw new CliError({ code: "relayer_unreachable", exit: "unreachable", retry: "safe", detail: `${new URL(url).origin} cannot be reached (${messageOf(error)}).` });
};

async function refused(response: Response): Promise<CliError> {
  const problem = (await response.json().catch(() => ({}))) as { code?: string; detail?: string };
  return new CliError({ code: problem.code ?? "relayer_error", detail: problem.detail ?? `The relayer answers HTTP ${response.status}.`, exit: response.status >= 500 ? "unreachable" : "failed", extra: { status: response.status } });
}
