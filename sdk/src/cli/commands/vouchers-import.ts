// tallystick vouchers import: after a relayer lost its latest books, its receivers put back what their files prove.
import { readdir, readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { isNewer, readVoucherLine, type VoucherLine } from "../../provider/voucher-line.ts";
import type { Command } from "../command.ts";
import { messageOf, usageError } from "../exit.ts";
import { columns } from "../output.ts";
import { callRelayer } from "../relayer-api.ts";
import type { BadLine } from "../vouchers.ts";

/** Lines in one request; the relayer takes no more. */
const AT_ONCE = 200;

type Imported = { raised: number; known: number; refused: { channelId: string; code: string; detail: string }[] };

export const vouchersImport: Command = {
  path: "vouchers import",
  about: "Tell a relayer that lost its latest books what your voucher files prove",
  args: "<file or folder>…",
  positionals: [1, 1_000],
  details: `Reads voucher files (JSON lines, as the provider side of the SDK writes them) and sends the newest line of each channel to the
relayer, which checks the payers' signatures and counts as charged what they prove. It takes them only while it has stopped selling
by channel because its database lost commits (503 ledger_rewound). The key must be the receiver's. Running it again is safe.

Exit code 1 when a line was no good; the JSON lists it under badLines or refused.`,
  needs: ["relayer", "key"],
  options: {},
  examples: [
    { about: "everything you have", line: "tallystick vouchers import vouchers/ --relayer https://relayer.example" },
    { about: "for a script", line: "tallystick vouchers import vouchers/2026-11.jsonl --json" },
  ],
  async run(context, { positionals }) {
    const bad: BadLine[] = [];
    const newest = new Map<string, VoucherLine>();
    for (const file of await filesOf(positionals)) {
      for (const [index, text] of (await readFile(file, "utf8")).split("\n").entries()) {
        if (text.trim() !== "") keepNewest(newest, bad, text, `${file}:${index + 1}`);
      }
    }
    const done: Imported = { raised: 0, known: 0, refused: [] };
    const lines = [...newest.values()];
    for (let at = 0; at < lines.length; at += AT_ONCE) {
      context.signal.throwIfAborted();
      const part = await callRelayer<Imported>(context, "/api/v1/vouchers/import", { method: "POST", body: { vouchers: lines.slice(at, at + AT_ONCE) } });
      done.raised += part.raised;
      done.known += part.known;
      done.refused.push(...part.refused);
    }
    const told = [...bad.map(({ at, reason }) => [at, reason]), ...done.refused.map(({ channelId, detail }) => [channelId, detail])];
    const summary = [["put back", `${done.raised} of ${lines.length} channels`], ["known there", String(done.known)], ...told];
    return { exit: told.length === 0 ? "ok" : "failed", json: { channels: lines.length, ...done, badLines: bad }, text: columns(summary) };
  },
};

function keepNewest(newest: Map<string, VoucherLine>, bad: BadLine[], text: string, at: string): void {
  try {
    const line = readVoucherLine(JSON.parse(text));
    if (isNewer(line, newest.get(line.channelId))) newest.set(line.channelId, line);
  } catch (error) {
    bad.push({ at, reason: error instanceof SyntaxError ? "no JSON (cut off?)" : messageOf(error) });
  }
}

async function filesOf(paths: readonly string[]): Promise<string[]> {
  const files: string[] = [];
  for (const path of paths) {
    const found = await stat(path).catch(() => undefined);
    if (found === undefined) throw usageError(`${path} is neither a file nor a folder.`);
    if (!found.isDirectory()) files.push(path);
    else files.push(...(await readdir(path)).filter((name) => name.endsWith(".jsonl")).sort().map((name) => join(path, name)));
  }
  if (files.length === 0) throw usageError("There is no voucher file (.jsonl) there.");
  return files;
}
