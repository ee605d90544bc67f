// What several job and dispute commands have in common, each said once: what they reach for, and the options that mean the same in all.
import type { Command, Input, OptionSpec } from "./command.ts";
import { usageError } from "./exit.ts";
import { shareIn, textIn } from "./job-view.ts";
import { parseUsdc } from "./money.ts";
import { wholeNumber } from "./parse.ts";

/** Of a command about one job. */
export const ABOUT_A_JOB = { args: "<job>", positionals: [1, 1], needs: ["relayer", "key"] } satisfies Pick<Command, "args" | "positionals" | "needs">;

const DAY_S = 86_400;
/** Longest time that may be asked for, seconds: a year. */
const LONGEST_S = 31_536_000;

export const WITHIN: Record<"within", OptionSpec> = { within: { type: "string", value: "seconds", about: "time for the work; a day when left out" } };
/** What a verifier or an arbitrator says. */
export const VERDICT: Record<"share" | "reason", OptionSpec> = {
  share: { type: "string", value: "percent", about: "what the provider deserves: 100 refunds nothing, 0 all" },
  reason: { type: "string", value: "text", about: "why; its SHA-256 goes to the chain" },
};

export const moneyIn = (values: Input["values"], name: string): bigint | undefined => {
  const text = textIn(values, name);
  return text === undefined ? undefined : parseUsdc(text, `--${name}`);
};

export const secondsIn = (values: Input["values"], name: string): number | undefined => wholeNumber(`--${name}`, values[name], 1, LONGEST_S);
export const withinIn = (values: Input["values"]): number => secondsIn(values, "within") ?? DAY_S;

/** A text that must be there; `what` says what it is for. */
export function neededText(values: Input["values"], name: string, what: string): string {
  const text = textIn(values, name);
  if (text !== undefined) return text;
  throw usageError(`${what}: --${name}.`);
}

export function verdictIn(values: Input["values"]): { providerBps: number; reason: string } {
  return { reason: neededText(values, "reason", "Say why"), providerBps: shareIn(values, "share") };
}
