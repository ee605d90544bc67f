// tallystick keystore create|import|show: an encrypted file for the key.
import { mkdir, open, readFile } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import { getAddress, type Hex } from "viem";
import { generatePrivateKey, privateKeyToAddress } from "viem/accounts";
import type { Command, Outcome } from "../command.ts";
import type { Context } from "../context.ts";
import { CliError, usageError } from "../exit.ts";
import { readKey } from "../keys.ts";
import { decryptKey, encryptKey, statedAddress } from "../keystore.ts";

const MIN_PASSPHRASE = 8;
const OUT = { out: { type: "string", value: "file", about: "where to write it; TALLYSTICK_KEYSTORE or ~/.tallystick/keystore.json when left out" } } as const;
const FORMAT = "The file is Web3 Secret Storage version 3 (scrypt, aes-128-ctr), as every Ethereum wallet reads it, for its owner's eyes\nonly (mode 600). The passphrase comes from TALLYSTICK_KEYSTORE_PASSWORD or is asked for. An existing file is never overwritten.";

export const keystoreCreate: Command = {
  path: "keystore create",
  about: "Make a new key in an encrypted file",
  positionals: [0, 0],
  details: FORMAT,
  needs: [],
  options: OUT,
  examples: [
    { about: "in the usual place, asking for a passphrase", line: "tallystick keystore create" },
    { about: "from a script", line: "TALLYSTICK_KEYSTORE_PASSWORD=… tallystick keystore create --out agent.json --json" },
  ],
  run: (context, { values }) => store(context, generatePrivateKey(), values["out"]),
};

export const keystoreImport: Command = {
  path: "keystore import",
  about: "Encrypt an existing key: from TALLYSTICK_PRIVATE_KEY, else from stdin or asked for",
  positionals: [0, 0],
  details: FORMAT,
  needs: [],
  options: OUT,
  examples: [
    { about: "asks for the key, then for a passphrase", line: "tallystick keystore import" },
    { about: "from a secret store", line: "secret get agent-key | TALLYSTICK_KEYSTORE_PASSWORD=… tallystick keystore import --out agent.json" },
  ],
  run: async (context, { values }) => store(context, await keyToImport(context), values["out"]),
};

export const keystoreShow: Command = {
  path: "keystore show",
  about: "Show the address of a keystore file",
  args: "[file]",
  positionals: [0, 1],
  details: "Without a passphrase it is what the file states. With TALLYSTICK_KEYSTORE_PASSWORD, or --check, which asks for it, the\nfile is opened and the address is that of the key inside. The key itself is never shown.",
  needs: [],
  options: { check: { type: "boolean", about: "open the file with its passphrase" } },
  examples: [
    { about: "the usual file", line: "tallystick keystore show" },
    { about: "does the passphrase still open it?", line: "tallystick keystore show agent.json --check" },
  ],
  async run(context, { values, positionals }) {
    const path = positionals[0] === undefined ? context.settings.keystore.path : resolve(positionals[0]);
    const text = await readFile(path, "utf8").catch(() => {
      throw usageError(`${path} cannot be read.`, "tallystick keystore create makes one.", "keystore_unreadable");
    });
    const check = values["check"] === true || context.surroundings.env["TALLYSTICK_KEYSTORE_PASSWORD"] !== undefined;
    if (!check) return shown(path, stated(text), false);
    return shown(path, privateKeyToAddress(await decryptKey(text, await passphrase(context, `Passphrase of ${path}: `))), true);
  },
};

function stated(text: string): string {
  const address = statedAddress(text);
  if (address === undefined) throw new CliError({ code: "keystore_no_address", detail: "The file states no address.", hint: "Open it: tallystick keystore show --check" });
  return getAddress(address);
}

function shown(path: string, address: string, checked: boolean): Outcome {
  return { json: { path, address, checked }, text: `${address}${checked ? "" : "  (as the file states; --check opens it)"}\n${path}` };
}

async function keyToImport(context: Context): Promise<Hex> {
  const { env, prompt, readStdin } = context.surroundings;
  if (env["TALLYSTICK_PRIVATE_KEY"]) return readKey(env["TALLYSTICK_PRIVATE_KEY"], "TALLYSTICK_PRIVATE_KEY");
  if (prompt !== undefined) return readKey(await prompt("Private key (not shown): "), "What you typed");
  return readKey(new TextDecoder().decode(await readStdin()), "What came on stdin");
}

async function store(context: Context, key: Hex, out: unknown): Promise<Outcome> {
  const path = typeof out === "string" ? resolve(out) : context.settings.keystore.path;
  const keystore = await encryptKey(key, await newPassphrase(context));
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  const file = await open(path, "wx", 0o600).catch((cause: NodeJS.ErrnoException) => {
    if (cause.code === "EEXIST") throw usageError(`${path} exists already; it is not overwritten.`, "Choose another with --out.", "keystore_exists");
    throw new CliError({ code: "keystore_unwritable", detail: `${path} cannot be written (${cause.code}).`, cause });
  });
  await file.writeFile(`${JSON.stringify(keystore, null, 2)}\n`);
  await file.sync();
  await file.close();
  const address = getAddress(`0x${keystore.address}`);
  return { json: { path, address }, text: `${address}\n${path}` };
}

async function newPassphrase(context: Context): Promise<string> {
  const chosen = await passphrase(context, "New passphrase: ");
  if (chosen.length < MIN_PASSPHRASE) throw usageError(`The passphrase must have at least ${MIN_PASSPHRASE} characters.`, undefined, "passphrase_short");
  const asked = context.surroundings.env["TALLYSTICK_KEYSTORE_PASSWORD"] === undefined;
  if (asked && (await context.surroundings.prompt!("Once more: ")) !== chosen) throw usageError("The two differ; nothing was written.", undefined, "passphrase_differs");
  return chosen;
}

async function passphrase(context: Context, question: string): Promise<string> {
  const given = await context.passphrase(question);
  if (given === undefined) throw usageError("There is no terminal to ask for a passphrase on.", "Set TALLYSTICK_KEYSTORE_PASSWORD.", "keystore_locked");
  return given;
}
