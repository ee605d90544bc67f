// What a command is. The table of them (table.ts) drives parsing, help and docs/CLI.md, so that help cannot lie.
import type { Context } from "./context.ts";
import type { Exit } from "./exit.ts";

export type OptionSpec = {
  type: "string" | "boolean";
  about: string;
  /** Name of the value in help, such as `usdc`. */
  value?: string;
  /** One letter, for `-x`. */
  short?: string;
  /** May be given several times. */
  multiple?: boolean;
};

/** What a command reaches for; each brings the options that say where it is. */
export type Need = "chain" | "relayer" | "key" | "state" | "index" | "registry" | "guard";

export type Example = { about: string; line: string };

export type Input = { values: Record<string, string | boolean | string[] | undefined>; positionals: string[] };

export type Outcome = {
  /** `ok` when left out. */
  exit?: Exit;
  /** The one object that --json prints. Amounts are atomic units, decimal strings. */
  json: Record<string, unknown>;
  /** What a person sees on stdout; bytes go out as they are, text gets a line end. */
  text?: string | Uint8Array;
  /** It was printed already, by a command that went on running. */
  printed?: true;
};

export type Command = {
  /** Words that choose it, such as `channels list`. */
  path: string;
  /** One line. */
  about: string;
  /** Positional arguments, as usage shows them. */
  args?: string;
  /** Fewest and most positional arguments. */
  positionals: [number, number];
  /** What one line cannot say. */
  details?: string;
  needs: Need[];
  options: Record<string, OptionSpec>;
  examples: [Example, ...Example[]];
  /** True when a positional argument is a 32-byte id: elsewhere such a thing may be a private key and is refused. */
  takesIds?: true;
  /** Everything behind the path goes to another program, unread. */
  passthrough?: true;
  run(context: Context, input: Input): Promise<Outcome>;
};

/** Options of every command. */
export const COMMON_OPTIONS: Record<string, OptionSpec> = {
  json: { type: "boolean", about: "one JSON object on stdout, errors too" },
  help: { type: "boolean", short: "h", about: "this text" },
};

const NEED_OPTIONS: Record<Need, Record<string, OptionSpec>> = {
  chain: {
    rpc: { type: "string", value: "url", about: "JSON-RPC endpoint; TALLYSTICK_RPC_URL when left out" },
    contract: { type: "string", value: "address", about: "SessionChannels contract; the canonical one when left out" },
  },
  relayer: { relayer: { type: "string", value: "url", about: "relayer; TALLYSTICK_RELAYER_URL when left out" } },
  index: { graphql: { type: "string", value: "url", about: "the indexer's GraphQL endpoint; TALLYSTICK_GRAPHQL_URL when left out" } },
  state: { state: { type: "string", value: "folder", about: "the agent's storage; TALLYSTICK_STATE or ~/.tallystick when left out" } },
  registry: { registry: { type: "string", value: "address", about: "MandateRegistry contract; TALLYSTICK_REGISTRY, else the chain's own, when left out" } },
  guard: { guard: { type: "string", value: "url", about: "the guard; TALLYSTICK_GUARD_URL or http://127.0.0.1:8403 when left out" } },
  key: { account: { type: "string", value: "n", about: "with --local: development account n, 0 to 19; 9 when left out" } },
};

const LOCAL_OPTION: OptionSpec = { type: "boolean", about: "use the running local world (npm start) and its development account" };

/** All options of a command: its own, those of what it needs, and the common ones. */
export function optionsOf(command: Command): Record<string, OptionSpec> {
  if (command.passthrough === true) return { ...command.options, help: COMMON_OPTIONS["help"]! };
  const needed = Object.assign({}, ...command.needs.map((need) => NEED_OPTIONS[need])) as Record<string, OptionSpec>;
  const local: Record<string, OptionSpec> = command.needs.length === 0 ? {} : { local: LOCAL_OPTION };
  return { ...command.options, ...needed, ...local, ...COMMON_OPTIONS };
}
