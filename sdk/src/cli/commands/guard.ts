// tallystick guard: the process that holds the voucher keys. It listens on this machine alone and runs until it is told to stop.
import { randomBytes } from "node:crypto";
import { mkdir, open, readFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { bytesToHex, type Hex } from "viem";
import { privateKeyToAddress } from "viem/accounts";
import { guardChain } from "../../guard/chain.ts";
import { createGuard } from "../../guard/guard.ts";
import { openJournal } from "../../guard/journal-node.ts";
import { serveGuard } from "../../guard/server-node.ts";
import type { Command } from "../command.ts";
import type { Context } from "../context.ts";
import { usageError } from "../exit.ts";
import { wholeNumber } from "../parse.ts";
import { decryptKey, encryptKey } from "../keystore.ts";
import { columns } from "../output.ts";
import { PolicyFolder } from "../policy-files.ts";

const DEFAULT_PORT = 8403;

export const guard: Command = {
  path: "guard",
  about: "Run the guard: it holds the voucher keys and signs what mandate and firewall allow",
  positionals: [0, 0],
  details: `Run it where the agent cannot read its files: another user, another machine with a tunnel. It keeps, in the storage folder, an
encrypted master secret (guard/master.json, made at the first start; the passphrase comes from TALLYSTICK_KEYSTORE_PASSWORD or is
asked for), its accounts (guard/journal.jsonl: every voucher and every refusal, chained by hashes) and takes in policies from
policies/ (tallystick policy apply puts them there). Losing the journal costs nothing but the open channels' budget: a guard with a
new journal has new keys. Ends with Ctrl-C.`,
  needs: ["chain", "registry", "state"],
  options: {
    port: { type: "string", value: "port", about: `port on 127.0.0.1; ${DEFAULT_PORT} when left out, 0 for a free one` },
  },
  examples: [
    { about: "beside npm start", line: "tallystick guard --local" },
    { about: "on Base", line: "tallystick guard --rpc https://mainnet.base.org" },
  ],
  async run(context, { values }) {
    const [chain, at] = [await context.chain(), await context.registryAt()];
    const folder = join(context.settings.stateDir, "guard");
    const master = await openMaster(context, join(folder, "master.json"));
    const journal = join(folder, "journal.jsonl");
    const store = await openJournal(journal);
    try {
      const policies = new PolicyFolder(join(context.settings.stateDir, "policies"), chain.info.chainId, store);
      await policies.load();
      const parts = { store, master, chainId: at.chainId, registry: at.registry, channels: chain.contract, chain: guardChain(chain.client, at.chainId, at.registry), policies: () => policies.current() };
      const server = await serveGuard(createGuard(parts), wholeNumber("port", values["port"], 0, 65_535) ?? DEFAULT_PORT);
      const json = { url: server.url, chainId: at.chainId, registry: at.registry, sessionChannels: chain.contract, journal, instance: store.instance };
      await context.output.finish({ json, text: columns([["guard", server.url], ["registry", at.registry], ["journal", journal]]) });
      await stopped(context.signal);
      await server.close();
      return { json: {}, printed: true };
    } finally {
      await store.close();
    }
  },
};

function stopped(signal: AbortSignal): Promise<void> {
  return new Promise((done) => (signal.aborted ? done() : signal.addEventListener("abort", () => done(), { once: true })));
}

/** The local world lives as long as its chain does; its secret guards nothing. */
const LOCAL_PASSPHRASE = "local world";

/** Opens the master secret, or makes one. */
async function openMaster(context: Context, path: string): Promise<Hex> {
  const passphrase = context.surroundings.env["TALLYSTICK_KEYSTORE_PASSWORD"] ?? (context.local === undefined ? await context.passphrase(`Passphrase of ${path}: `) : LOCAL_PASSPHRASE);
  if (passphrase === undefined) throw usageError("There is no terminal to ask for a passphrase on.", "Set TALLYSTICK_KEYSTORE_PASSWORD.", "keystore_locked");
  const text = await readFile(path, "utf8").catch(() => undefined);
  if (text !== undefined) return decryptKey(text, passphrase);
  const secret = newSecret();
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  const file = await open(path, "wx", 0o600);
  await file.writeFile(`${JSON.stringify(await encryptKey(secret, passphrase), null, 2)}\n`);
  await file.sync();
  await file.close();
  return secret;
}

/** The keystore holds keys of the curve only, so the secret is one. */
function newSecret(): Hex {
  for (;;) {
    const secret = bytesToHex(randomBytes(32));
    try {
      if (privateKeyToAddress(secret) !== undefined) return secret;
    } catch {
      // past the curve's order, once in 2^128: another one then
    }
  }
}
