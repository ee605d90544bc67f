#!/usr/bin/env node
// `tallystick`: finds the command, gives it what it needs, prints what it came to, and ends with an honest exit code.
// The only file of the SDK that reads the environment.
import { buffer } from "node:stream/consumers";
import type { Command, Outcome } from "./command.ts";
import { Context } from "./context.ts";
import { CliError, EXITS, exitOf, type Exit } from "./exit.ts";
import { helpOf, markdown, overview } from "./help.ts";
import { refuseKeysIn } from "./keys.ts";
import { Output } from "./output.ts";
import { findCommand, parseInput, unknownCommand } from "./parse.ts";
import { hiddenPrompt } from "./prompt.ts";
import { COMMANDS } from "./table.ts";

async function main(args: string[], env: NodeJS.ProcessEnv): Promise<Exit> {
  const stop = new AbortController();
  const output = new Output(process.stdout, process.stderr, { json: args.includes("--json"), colours: env.NO_COLOR === undefined && env.TERM !== "dumb" });
  endOnSignal(stop, output);
  try {
    const { outcome } = await perform(args, env, output, stop.signal);
    if (outcome.printed !== true) await output.finish(outcome);
    return outcome.exit ?? "ok";
  } catch (error) {
    const told = stop.signal.aborted ? new CliError({ code: "interrupted", exit: "interrupted", retry: "unknown", detail: "Interrupted." }) : error;
    await output.fail(told);
    return exitOf(told);
  }
}

async function perform(args: string[], env: NodeJS.ProcessEnv, output: Output, signal: AbortSignal): Promise<{ outcome: Outcome }> {
  const found = findCommand(COMMANDS, args);
  // Before anything else is said about the arguments: a usage error might repeat one.
  refuseKeysIn(args, found?.command.takesIds === true, env["TALLYSTICK_PRIVATE_KEY"]);
  if (found === undefined) return { outcome: general(args) };
  const { command, rest } = found;
  const input = parseInput(command, rest);
  if (input.values["help"] === true || (command.passthrough === true && rest.some((arg) => arg === "--help" || arg === "-h"))) return { outcome: helpFor(command) };
  const context = new Context(input, {
    env,
    output,
    signal,
    prompt: hiddenPrompt(process.stdin, process.stderr),
    readStdin: () => buffer(process.stdin),
  });
  return { outcome: await command.run(context, input) };
}

/** No command: help, the version, or a mistake. */
function general(args: string[]): Outcome {
  const words = args.filter((arg) => !arg.startsWith("-"));
  if (words[0] === "help") {
    if (args.includes("--markdown")) return { json: { markdown: markdown(COMMANDS) }, text: markdown(COMMANDS).trimEnd() };
    if (words.length === 1) return { json: { help: overview(COMMANDS) }, text: overview(COMMANDS) };
    const asked = findCommand(COMMANDS, words.slice(1));
    if (asked !== undefined) return helpFor(asked.command);
    throw unknownCommand(COMMANDS, words.slice(1));
  }
  if (words.length > 0) throw unknownCommand(COMMANDS, words);
  const known = args.length === 0 || args.every((arg) => ["--help", "-h", "--json"].includes(arg));
  if (!known) throw unknownCommand(COMMANDS, []);
  return { json: { help: overview(COMMANDS) }, text: overview(COMMANDS), exit: args.includes("--help") || args.includes("-h") ? "ok" : "usage" };
}

function helpFor(command: Command): Outcome {
  return { json: { help: helpOf(command) }, text: helpOf(command) };
}

/** The first Ctrl-C lets a command end in order, the second ends it. */
function endOnSignal(stop: AbortController, output: Output): void {
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
    process.on(signal, () => {
      if (stop.signal.aborted) process.exit(EXITS.interrupted.code);
      stop.abort(new Error("interrupted"));
      // Most commands have nothing to put in order; those that have are given a moment.
      setTimeout(() => void output.fail(new CliError({ code: "interrupted", exit: "interrupted", retry: "unknown", detail: "Interrupted." })).then(() => process.exit(EXITS.interrupted.code)), GRACE_MS).unref();
    });
  }
  // `tallystick … | head` closes stdout early: that is no failure.
  process.stdout.on("error", (error: NodeJS.ErrnoException) => process.exit(error.code === "EPIPE" ? EXITS.ok.code : EXITS.failed.code));
}
const GRACE_MS = 2_000;

// Started through the checkout's launcher, which works in the repository's root: paths are the user's.
if (process.env["TALLYSTICK_CWD"] !== undefined) process.chdir(process.env["TALLYSTICK_CWD"]);
const exit = await main(process.argv.slice(2), process.env);
process.exit(EXITS[exit].code);

