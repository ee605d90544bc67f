// Where things are: options first, then the local world when --local is given, then the environment.
import { homedir } from "node:os";
import { join, resolve } from "node:path";
import { isAddress, type Address } from "viem";
import { LOCAL_MANDATE_REGISTRY, SESSION_CHANNELS } from "../constants.ts";
import { usageError } from "./exit.ts";
import type { LocalWorld } from "./local-world.ts";

export type Environment = Record<string, string | undefined>;

export type Settings = {
  rpcUrl: string | undefined;
  relayerUrl: string | undefined;
  graphqlUrl: string | undefined;
  contract: Address;
  /** MandateRegistry, when one was named. */
  registry: Address | undefined;
  guardUrl: string;
  /** The agent's storage. */
  stateDir: string;
  keystore: { path: string; given: boolean };
};

const DEFAULT_GUARD_URL = "http://127.0.0.1:8403";

type Values = Record<string, string | boolean | string[] | undefined>;

/** @throws CliError `usage` that names what is wrong. */
export function readSettings(values: Values, env: Environment, local: LocalWorld | undefined): Settings {
  const home = join(homedir(), ".tallystick");
  const given = (option: string) => (typeof values[option] === "string" ? (values[option] as string) : undefined);
  const url = (option: string, name: string, ofWorld: string | undefined) => {
    const [text, from] = given(option) !== undefined ? [given(option), `--${option}`] : [ofWorld ?? (env[name] || undefined), name];
    return text === undefined ? undefined : httpUrl(text, from!);
  };
  const contract = given("contract") ?? (env["TALLYSTICK_CONTRACT"] || SESSION_CHANNELS);
  if (!isAddress(contract)) throw usageError("--contract must be an address with a right checksum.");
  const registry = given("registry") ?? (env["TALLYSTICK_REGISTRY"] || (local === undefined ? undefined : LOCAL_MANDATE_REGISTRY));
  if (registry !== undefined && !isAddress(registry)) throw usageError("--registry must be an address with a right checksum.");
  return {
    rpcUrl: url("rpc", "TALLYSTICK_RPC_URL", local?.rpcUrl),
    relayerUrl: url("relayer", "TALLYSTICK_RELAYER_URL", local?.relayerUrl)?.replace(/\/+$/, ""),
    graphqlUrl: url("graphql", "TALLYSTICK_GRAPHQL_URL", local?.graphqlUrl),
    contract,
    registry,
    guardUrl: (url("guard", "TALLYSTICK_GUARD_URL", undefined) ?? DEFAULT_GUARD_URL).replace(/\/+$/, ""),
    stateDir: resolve(given("state") ?? local?.stateDir ?? (env["TALLYSTICK_STATE"] || home)),
    keystore: { path: resolve(env["TALLYSTICK_KEYSTORE"] || join(home, "keystore.json")), given: Boolean(env["TALLYSTICK_KEYSTORE"]) },
  };
}

/** A URL that may be fetched. A password in it is ours to keep quiet about, so errors never repeat what was given. */
export function httpUrl(text: string, name: string): string {
  if (URL.canParse(text) && /^https?:$/.test(new URL(text).protocol)) return text;
  throw usageError(`${name} must be an http or https URL.`);
}
