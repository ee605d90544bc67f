// Command lines: known options only, with the list of them when one is unknown.
import { parseArgs, type ParseArgsOptionDescriptor } from "node:util";

export type Option = { type: "boolean" | "string"; about: string; value?: string };

export class UsageError extends Error {}

/** Parses `args`; throws a UsageError that lists the known options. */
export function readOptions(args: string[], known: Record<string, Option>, positionals = false) {
  const options = Object.fromEntries(Object.entries(known).map(([name, { type }]) => [name, { type } satisfies ParseArgsOptionDescriptor]));
  try {
    return parseArgs({ args, options, allowPositionals: positionals, strict: true });
  } catch (error) {
    throw new UsageError(`${(error as Error).message.split(". ")[0]}\n\n${describeOptions(known)}`);
  }
}

export function describeOptions(known: Record<string, Option>): string {
  const lines = Object.entries(known).map(([name, { about, value }]) => `  ${`--${name}${value === undefined ? "" : ` <${value}>`}`.padEnd(24)} ${about}`);
  return ["Options:", ...lines].join("\n");
}

/** A whole number in a range, or undefined when the option was left out. */
export function wholeNumber(name: string, text: unknown, min: number, max: number): number | undefined {
  if (text === undefined) return undefined;
  const number = /^\d{1,9}$/.test(String(text)) ? Number(text) : Number.NaN;
  if (!(number >= min && number <= max)) throw new UsageError(`--${name} must be a whole number from ${min} to ${max}, not ${String(text)}`);
  return number;
}
