// Options that the load benchmarks share.
import type { Plan } from "./compare.ts";

/** The value after `--name`, or undefined. */
export function valueOf(args: string[], name: string): string | undefined {
  const at = args.indexOf(name);
  if (at === -1) return undefined;
  const value = args[at + 1];
  if (value === undefined || value.startsWith("--")) throw new Error(`${name} needs a value`);
  return value;
}

export function numberOf(args: string[], name: string): number | undefined {
  const value = valueOf(args, name);
  if (value !== undefined && !/^[1-9]\d{0,6}$/.test(value)) throw new Error(`${name} must be a whole number above 0`);
  return value === undefined ? undefined : Number(value);
}

const FLAGS = new Set(["--quick", "--save", "--ours", "--profile"]);
const VALUES = new Set(["--rounds", "--in-flight", "--label", "--log-level"]);

/** @throws when something is asked for that nobody knows: a misspelt option must not measure something else. */
export function checkOptions(args: string[]): void {
  for (let at = 0; at < args.length; at++) {
    if (VALUES.has(args[at]!)) at++;
    else if (!FLAGS.has(args[at]!)) throw new Error(`unknown option ${args[at]}; known: ${[...FLAGS, ...[...VALUES].map((name) => `${name} <value>`)].join(", ")}`);
  }
}

/** `--rounds` and `--in-flight` narrow a plan. */
export function narrowed(plan: Plan, args: string[]): Plan {
  const inFlight = numberOf(args, "--in-flight");
  const paid = inFlight === undefined ? plan.paid : plan.paid.filter((level) => level.inFlight === inFlight);
  if (paid.length === 0) throw new Error(`--in-flight must be one of ${plan.paid.map((level) => level.inFlight).join(", ")}`);
  return { ...plan, rounds: numberOf(args, "--rounds") ?? plan.rounds, paid };
}
