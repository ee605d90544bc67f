// From arguments to a command and its input. Every mistake is a CliError `usage` that says where help is.
import { parseArgs, type ParseArgsOptionsConfig } from "node:util";
import { optionsOf, type Command, type Input } from "./command.ts";
import { usageError } from "./exit.ts";

/** The command whose path the arguments start with, the longest one, and what is left. Options before the path stay. */
export function findCommand(commands: readonly Command[], args: readonly string[]): { command: Command; rest: string[] } | undefined {
  const flags = args.findIndex((arg) => !arg.startsWith("-"));
  const start = flags < 0 ? args.length : flags;
  const fits = (command: Command) => command.path.split(" ").every((word, index) => args[start + index] === word);
  const [command] = commands.filter(fits).sort((a, b) => b.path.length - a.path.length);
  if (command === undefined) return undefined;
  return { command, rest: [...args.slice(0, start), ...args.slice(start + command.path.split(" ").length)] };
}

/** What to say when no command fits: those that begin alike. */
export function unknownCommand(commands: readonly Command[], args: readonly string[]): Error {
  const word = args.find((arg) => !arg.startsWith("-")) ?? "";
  const near = commands.filter(({ path }) => path.startsWith(`${word} `) || path.startsWith(word.slice(0, 2))).map(({ path }) => path);
  const known = near.length > 0 ? near : commands.map(({ path }) => path);
  return usageError(commands.some(({ path }) => path.startsWith(`${word} `)) ? `"${word}" is more than one command.` : "There is no such command.", `Perhaps: ${known.join(", ")}. tallystick --help lists all.`);
}

/** @throws CliError `usage` */
export function parseInput(command: Command, rest: string[]): Input {
  if (command.passthrough === true) return { values: {}, positionals: rest };
  const options = Object.fromEntries(
    Object.entries(optionsOf(command)).map(([name, { type, short, multiple }]) => [name, { type, ...(short === undefined ? {} : { short }), ...(multiple === true ? { multiple } : {}) }]),
  ) as ParseArgsOptionsConfig;
  const hint = `tallystick ${command.path} --help`;
  let input: Input;
  try {
    input = parseArgs({ args: rest, options, allowPositionals: true, strict: true }) as Input;
  } catch (error) {
    throw usageError((error as Error).message.split(/\. (?:To|Did) /)[0]!, hint);
  }
  if (input.values["help"] === true) return input;
  const [least, most] = command.positionals;
  if (input.positionals.length < least) throw usageError(`${command.args ?? "An argument"} is missing.`, hint);
  if (input.positionals.length > most) throw usageError(most === 0 ? "This command takes options only." : "There are too many arguments.", hint);
  return input;
}

/** A whole number in a range, or undefined when the option was left out. */
export function wholeNumber(name: string, value: unknown, min: number, max: number): number | undefined {
  if (value === undefined) return undefined;
  const number = /^\d{1,15}$/.test(String(value)) ? Number(value) : Number.NaN;
  if (!(number >= min && number <= max)) throw usageError(`--${name} must be a whole number from ${min} to ${max}.`);
  return number;
}
