// Help, and docs/CLI.md, out of the command table. `columns` of output.ts lays both out.
import { optionsOf, type Command, type Example, type OptionSpec } from "./command.ts";
import { EXITS } from "./exit.ts";
import { columns } from "./output.ts";

export const ENVIRONMENT: [string, string][] = [
  ["TALLYSTICK_PRIVATE_KEY", "the key to pay, withdraw or claim with; 32 bytes in hex"],
  ["TALLYSTICK_KEYSTORE", "an encrypted keystore file to take the key from instead"],
  ["TALLYSTICK_KEYSTORE_PASSWORD", "its passphrase; asked for on a terminal when left out"],
  ["TALLYSTICK_RPC_URL", "JSON-RPC endpoint of the chain"],
  ["TALLYSTICK_RELAYER_URL", "the relayer"],
  ["TALLYSTICK_OPERATOR_TOKEN", "the relayer's operator's token, to export all of its audit log"],
  ["TALLYSTICK_GUARD_URL", "the guard that signs vouchers under a mandate; http://127.0.0.1:8403 when left out"],
  ["TALLYSTICK_REGISTRY", "the MandateRegistry contract"],
  ["TALLYSTICK_GRAPHQL_URL", "the indexer's GraphQL endpoint"],
  ["TALLYSTICK_STATE", "folder of the agent's storage; ~/.tallystick when left out"],
];

const INTRO = "tallystick: pay HTTP APIs by the call, sell them, and get the money out.";

export function usageOf(command: Command): string {
  const options = Object.keys(optionsOf(command)).length === 0 ? "" : " [options]";
  return `tallystick ${command.path}${command.args === undefined ? "" : ` ${command.args}`}${options}`;
}

function optionLine([name, { short, value, about }]: [string, OptionSpec]): [string, string] {
  return [`${short === undefined ? "    " : `-${short}, `}--${name}${value === undefined ? "" : ` <${value}>`}`, about];
}

const exitRows = () => Object.values(EXITS).map(({ code, about }): [string, string] => [String(code), about]);
const exampleLines = (examples: readonly Example[]) => examples.map(({ about, line }) => `  # ${about}\n  ${line}`);

/** `tallystick --help`. */
export function overview(commands: readonly Command[]): string {
  return [
    INTRO,
    "",
    "Commands:",
    columns(commands.map((command) => [`${command.path}${command.args === undefined ? "" : ` ${command.args}`}`, command.about]), { indent: "  " }),
    "",
    "Environment:",
    columns(ENVIRONMENT, { indent: "  " }),
    "  Keys come from there alone, never from an argument.",
    "",
    "Exit codes:",
    columns(exitRows(), { indent: "  ", right: [0] }),
    "",
    "tallystick <command> --help explains one, with examples. --json works everywhere: one object on stdout.",
  ].join("\n");
}

/** `tallystick <command> --help`. */
export function helpOf(command: Command): string {
  return [
    `Usage: ${usageOf(command)}`,
    "",
    `${command.about}.`,
    ...(command.details === undefined ? [] : ["", command.details]),
    "",
    "Options:",
    columns(Object.entries(optionsOf(command)).map(optionLine), { indent: "  " }),
    "",
    "Examples:",
    ...exampleLines(command.examples),
  ].join("\n");
}

/** docs/CLI.md, whole; a test compares the file with it. */
export function markdown(commands: readonly Command[]): string {
  const section = (command: Command) => `## ${command.path}\n\n\`\`\`\n${helpOf(command)}\n\`\`\`\n`;
  return [
    "# The command line",
    "",
    "From a checkout: `npm run -s tallystick -- <command>`. From the package: `npx tallystick <command>`. In the local world",
    "(`npm start`, or `tallystick up`) add `--local`: endpoints and a funded development account come from there.",
    "",
    "This page is written by `npm run -s tallystick -- help --markdown`; a test compares it with the commands themselves.",
    "",
    "```",
    overview(commands),
    "```",
    "",
    ...commands.map(section),
  ].join("\n");
}
