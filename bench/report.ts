// What every benchmark hands back, and the facts about the run that go with its numbers.
import { execFileSync } from "node:child_process";
import { cpus, totalmem } from "node:os";

/** One benchmark's answer: `--json` prints it as one object, else `table` is printed. */
export type Report = { bench: string; [key: string]: unknown };

/** A module under bench/ that the dispatcher can run. */
export type Bench = {
  /** Measures; progress goes to stderr. */
  run(args: string[]): Promise<Report>;
  /** The report for people. */
  table(report: Report): string;
};

/** Processor, cores and memory, in one line. */
export function machine(): string {
  const processors = cpus();
  const memoryGiB = Math.round(totalmem() / 2 ** 30);
  return `${processors[0]?.model.trim() ?? "unknown"}, ${processors.length} cores, ${memoryGiB} GiB, node ${process.versions.node}`;
}

/** The commit that was measured, with "+" when the tree had changes; "unknown" outside a repository. */
export function commit(): string {
  const git = (...args: string[]) => execFileSync("git", args, { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] }).trim();
  try {
    return git("rev-parse", "--short", "HEAD") + (git("status", "--porcelain", "--untracked-files=no") === "" ? "" : "+");
  } catch {
    return "unknown";
  }
}

export function progress(line: string): void {
  process.stderr.write(`${line}\n`);
}

/** Columns padded to their widest cell; the first is left-aligned, the others right-aligned. */
export function columns(rows: (string | number)[][]): string {
  const cells = rows.map((row) => row.map((cell) => (typeof cell === "number" ? cell.toLocaleString("en-US") : cell)));
  const widths = (cells[0] ?? []).map((_, column) => Math.max(...cells.map((row) => (row[column] ?? "").length)));
  return cells
    .map((row) => row.map((cell, i) => (i === 0 ? cell.padEnd(widths[i] ?? 0) : cell.padStart(widths[i] ?? 0))).join("  ").trimEnd())
    .join("\n");
}
