// The terminal: results on stdout, everything else on stderr; colours and progress only where a person looks.
import { styleText } from "node:util";
import type { Outcome } from "./command.ts";
import { CliError, errorJson, messageOf } from "./exit.ts";

export type Stream = { write(data: string | Uint8Array, done?: () => void): unknown; isTTY?: boolean; columns?: number };

export type Paint = "green" | "yellow" | "red" | "dim" | "bold";

export class Output {
  readonly #stdout: Stream;
  readonly #stderr: Stream;
  readonly json: boolean;
  readonly #colours: { stdout: boolean; stderr: boolean };
  #progressShown = false;

  constructor(stdout: Stream, stderr: Stream, { json, colours }: { json: boolean; colours: boolean }) {
    this.#stdout = stdout;
    this.#stderr = stderr;
    this.json = json;
    this.#colours = { stdout: colours && stdout.isTTY === true, stderr: colours && stderr.isTTY === true };
  }

  /** Coloured for stdout, when a person looks at it. */
  paint(colour: Paint, text: string): string {
    return this.#colours.stdout ? styleText(colour, text, { validateStream: false }) : text;
  }

  /** A fact beside the result, on stderr. */
  note(text: string): void {
    this.#clearProgress();
    this.#stderr.write(`${text}\n`);
  }

  /** What long work is at; seen on a terminal only, gone when the next thing is printed. */
  progress(text: string): void {
    if (this.#stderr.isTTY !== true || this.json) return;
    const line = text.slice(0, Math.max(10, (this.#stderr.columns ?? 80) - 1));
    this.#stderr.write(`\r\u001b[K${this.#colours.stderr ? styleText("dim", line, { validateStream: false }) : line}`);
    this.#progressShown = true;
  }

  #clearProgress(): void {
    if (this.#progressShown) this.#stderr.write("\r\u001b[K");
    this.#progressShown = false;
  }

  /** Prints what a command came to; returns when it is written. */
  async finish({ json, text }: Outcome): Promise<void> {
    this.#clearProgress();
    if (this.json) return this.#put(`${JSON.stringify(json)}\n`);
    if (text === undefined || text.length === 0) return;
    await this.#put(typeof text === "string" ? `${text}\n` : text);
  }

  async fail(error: unknown): Promise<void> {
    this.#clearProgress();
    if (this.json) return this.#put(`${JSON.stringify({ error: errorJson(error) })}\n`);
    const hint = error instanceof CliError && error.hint !== undefined ? `\n  ${error.hint.replaceAll("\n", "\n  ")}` : "";
    const title = this.#colours.stderr ? styleText("red", "tallystick:", { validateStream: false }) : "tallystick:";
    await new Promise<void>((done) => this.#stderr.write(`${title} ${messageOf(error)}${hint}\n`, done));
  }

  #put(data: string | Uint8Array): Promise<void> {
    return new Promise((done) => this.#stdout.write(data, done));
  }
}

/** Rows in columns, the last column ragged; a cell's colour codes do not count. */
export function columns(rows: string[][], options: { right?: number[]; indent?: string } = {}): string {
  const width = (text: string) => text.replace(/\u001b\[\d+m/g, "").length;
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => width(row[column] ?? ""))));
  const cell = (text: string, column: number, last: boolean) => {
    const gap = " ".repeat(Math.max(0, widths[column]! - width(text)));
    if (options.right?.includes(column) === true) return gap + text;
    return last ? text : text + gap;
  };
  return rows.map((row) => `${options.indent ?? ""}${row.map((text, column) => cell(text, column, column === row.length - 1)).join("  ")}`.trimEnd()).join("\n");
}

/** Unix seconds as UTC, to the second. */
export function utc(seconds: bigint | number): string {
  return `${new Date(Number(seconds) * 1_000).toISOString().slice(0, 19).replace("T", " ")} UTC`;
}

/** Seconds as `2 d 3 h`, `14 min 5 s`. */
export function span(seconds: number): string {
  const parts: [number, string][] = [[Math.floor(seconds / 86_400), "d"], [Math.floor(seconds / 3_600) % 24, "h"], [Math.floor(seconds / 60) % 60, "min"], [Math.floor(seconds) % 60, "s"]];
  const first = parts.findIndex(([count]) => count > 0);
  return first < 0 ? "0 s" : parts.slice(first, first + 2).filter(([count]) => count > 0).map(([count, unit]) => `${count} ${unit}`).join(" ");
}
