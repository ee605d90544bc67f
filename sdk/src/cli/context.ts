// What a command is given: settings, the terminal, and, made when first asked for, the chain and the key.
import type { LocalAccount } from "viem";
import { deployments } from "../addresses.ts";
import type { RegistryAt } from "../mandates.ts";
import type { Input } from "./command.ts";
import { openChain, type Chain } from "./chain.ts";
import { CliError, usageError } from "./exit.ts";
import { accountFrom, localAccount } from "./keys.ts";
import { findLocalWorld, isLoopback, type LocalWorld } from "./local-world.ts";
import type { Output } from "./output.ts";
import type { Prompt } from "./prompt.ts";
import { readSettings, type Environment, type Settings } from "./settings.ts";

export type Surroundings = {
  env: Environment;
  output: Output;
  prompt: Prompt | undefined;
  /** All of stdin. */
  readStdin(): Promise<Uint8Array>;
  /** Aborted when the user has enough. */
  signal: AbortSignal;
};

export class Context {
  readonly settings: Settings;
  readonly local: LocalWorld | undefined;
  readonly surroundings: Surroundings;
  readonly #accountOption: string | undefined;
  #chain: Promise<Chain> | undefined;
  #account: Promise<LocalAccount> | undefined;

  constructor({ values }: Input, surroundings: Surroundings) {
    this.surroundings = surroundings;
    this.local = values["local"] === true ? findLocalWorld(process.cwd()) : undefined;
    this.settings = readSettings(values, surroundings.env, this.local);
    this.#accountOption = values["account"] as string | undefined;
    if (this.#accountOption !== undefined && this.local === undefined) throw usageError("--account names a development account, so it goes with --local.");
  }

  get output(): Output {
    return this.surroundings.output;
  }

  get signal(): AbortSignal {
    return this.surroundings.signal;
  }

  /** The chain, checked to be one we know. @throws CliError `no_rpc`, `rpc_unreachable`, `chain_unknown`. */
  async chain(): Promise<Chain> {
    this.#chain ??= openChain(this.rpcUrl(), this.settings.contract);
    return this.#chain;
  }

  rpcUrl(): string {
    return this.settings.rpcUrl ?? missing("no_rpc", "There is no chain to ask.", "Give --rpc <url> or set TALLYSTICK_RPC_URL.");
  }

  /** Where mandates count. @throws CliError `no_registry`. */
  async registryAt(): Promise<RegistryAt> {
    const { info } = await this.chain();
    const known = deployments[info.chainId as keyof typeof deployments];
    const registry = this.settings.registry ?? (known?.status === "deployed" ? known.contracts.MandateRegistry : undefined);
    return { chainId: info.chainId, registry: registry ?? missing("no_registry", "There is no mandate registry.", "Give --registry <address> or set TALLYSTICK_REGISTRY.") };
  }

  relayerUrl(): string {
    return this.settings.relayerUrl ?? missing("no_relayer", "There is no relayer to ask.", "Give --relayer <url> or set TALLYSTICK_RELAYER_URL.");
  }

  /** The account to sign with. @throws CliError `no_key` and others of keys.ts. */
  account(): Promise<LocalAccount> {
    this.#account ??= this.#openAccount();
    return this.#account;
  }

  async #openAccount(): Promise<LocalAccount> {
    const { env, prompt } = this.surroundings;
    if (this.local !== undefined) {
      // --rpc or --relayer may have been given beside --local: the published keys sign for this machine alone.
      if (![this.settings.rpcUrl, this.settings.relayerUrl].every((url) => url !== undefined && isLoopback(url))) {
        throw usageError("--local signs with a published development key, for endpoints on this machine only.", undefined, "local_only");
      }
      return localAccount(this.#accountOption);
    }
    return accountFrom({
      privateKey: env["TALLYSTICK_PRIVATE_KEY"],
      keystore: this.settings.keystore,
      password: env["TALLYSTICK_KEYSTORE_PASSWORD"],
      prompt,
    });
  }

  /** A passphrase from the environment or a person; undefined when there is neither. */
  async passphrase(question: string): Promise<string | undefined> {
    return this.surroundings.env["TALLYSTICK_KEYSTORE_PASSWORD"] ?? (await this.surroundings.prompt?.(question));
  }
}

function missing(code: string, detail: string, hint: string): never {
  throw new CliError({ code, exit: "usage", detail, hint: `${hint}\nIn the local world (npm start) add --local.` });
}
