// tallystick doctor: what is wrong, and how to fix it. Every check stands alone: one that cannot be made does not hide the rest.
import { access, constants, stat } from "node:fs/promises";
import { formatEther, isAddressEqual, type LocalAccount } from "viem";
import { sessionChannelsAbi } from "../../abi/session-channels.ts";
import { ERC3009_COLLECTOR, SESSION_CHANNELS } from "../../constants.ts";
import { minimalTokenAbi, reading, type Chain } from "../chain.ts";
import { channelsOf, readStates } from "../channels.ts";
import type { Command } from "../command.ts";
import type { Context } from "../context.ts";
import { CliError, messageOf } from "../exit.ts";
import { usdc } from "../money.ts";
import { columns, span, utc, type Paint } from "../output.ts";
import { storedConfigs } from "../storage.ts";

type Finding = { name: string; result: "ok" | "warn" | "fail"; detail: string; fix?: string };

const NODE_MAJOR = 20;
const MAX_SKEW_S = 30;
const MAX_HEAD_AGE_S = 300;
const MAX_LAG_BLOCKS = 100;
const TIMEOUT_MS = 5_000;
const COLOUR: Record<Finding["result"], Paint> = { ok: "green", warn: "yellow", fail: "red" };

export const doctor: Command = {
  path: "doctor",
  about: "Find out what is wrong and how to fix it",
  positionals: [0, 0],
  details: "Looks at Node, the key, the chain and the contracts on it, money and gas, the relayer, clocks, the agent's storage, channels\nand the indexer. Changes nothing. Exit code 1 when something fails; warnings do not count.",
  needs: ["chain", "relayer", "key", "state", "index"],
  options: {},
  examples: [
    { about: "everything", line: "tallystick doctor" },
    { about: "is the local world fine?", line: "tallystick doctor --local" },
    { about: "in a health check", line: "tallystick doctor --json" },
  ],
  async run(context) {
    const findings: Finding[] = [nodeVersion()];
    const add = async (name: string, make: () => Promise<Finding | Finding[]>) => {
      context.output.progress(`looking at: ${name}`);
      findings.push(...[await make().catch((error: unknown) => failed(name, error))].flat());
    };
    const account = await context.account().catch((error: unknown) => void findings.push(failed("key", error)));
    if (account !== undefined) findings.push({ name: "key", result: "ok", detail: `${account.address} (${keySource(context)})` });
    await add("keystore", () => keystoreFile(context));
    const chain = await context.chain().catch((error: unknown) => void findings.push(failed("chain", error)));
    if (chain !== undefined) {
      await add("chain", () => chainHead(chain));
      await add("contracts", () => contracts(chain));
      if (account !== undefined) await add("money", () => money(chain, account));
    }
    await add("relayer", () => relayer(context, chain));
    await add("indexer", () => indexer(context, chain));
    await add("storage", () => storage(context));
    if (chain !== undefined) await add("channels", () => channels(context, chain));
    return report(context, findings);
  },
};

function failed(name: string, error: unknown): Finding {
  const fix = error instanceof CliError ? error.hint : undefined;
  return { name, result: "fail", detail: messageOf(error), ...(fix === undefined ? {} : { fix }) };
}

function report({ output }: Context, all: Finding[]) {
  const findings = all.filter(({ detail }) => detail !== "");
  const bad = findings.filter(({ result }) => result === "fail").length;
  const warned = findings.filter(({ result }) => result === "warn").length;
  const rows = findings.flatMap(({ name, result, detail, fix }) => [
    [output.paint(COLOUR[result], result), name, detail],
    ...(fix === undefined ? [] : fix.split("\n").map((line) => ["", "", output.paint("dim", `→ ${line}`)])),
  ]);
  const summary = bad === 0 ? (warned === 0 ? "All is well." : `Nothing fails, ${warned} to look at.`) : `${bad} to fix${warned === 0 ? "" : `, ${warned} to look at`}.`;
  return { exit: bad === 0 ? ("ok" as const) : ("failed" as const), json: { ok: bad === 0, checks: findings }, text: `${columns(rows)}\n\n${summary}` };
}

function nodeVersion(): Finding {
  const good = Number(process.versions.node.split(".")[0]) >= NODE_MAJOR;
  return { name: "node", result: good ? "ok" : "fail", detail: process.versions.node, ...(good ? {} : { fix: `Install Node ${NODE_MAJOR} or later.` }) };
}

function keySource({ local, surroundings, settings }: Context): string {
  if (local !== undefined) return "the local world's";
  return surroundings.env["TALLYSTICK_PRIVATE_KEY"] ? "TALLYSTICK_PRIVATE_KEY" : settings.keystore.path;
}

/** A keystore that others can read can be guessed at offline. */
async function keystoreFile({ settings, local }: Context): Promise<Finding> {
  const { path } = settings.keystore;
  const file = local === undefined ? await stat(path).catch(() => undefined) : undefined;
  if (file === undefined) return { name: "keystore", result: "ok", detail: "" };
  if ((file.mode & 0o077) === 0 || process.platform === "win32") return { name: "keystore", result: "ok", detail: `${path}, for its owner only` };
  return { name: "keystore", result: "warn", detail: `${path} can be read by others (mode ${(file.mode & 0o777).toString(8)})`, fix: `chmod 600 ${path}` };
}

async function chainHead({ client, info }: Chain): Promise<Finding[]> {
  const { number, timestamp } = await reading(() => client.getBlock());
  const age = Math.floor(Date.now() / 1_000) - Number(timestamp);
  const head: Finding = { name: "chain", result: "ok", detail: `${info.name} (${info.chainId}), block ${number}` };
  if (age < -MAX_SKEW_S) return [head, { name: "clock", result: "warn", detail: `${span(-age)} behind the chain's`, fix: "Set the clock of this machine (NTP): authorizations would be expired when they are signed." }];
  if (age > MAX_HEAD_AGE_S) return [{ ...head, result: "warn", detail: `${head.detail} is ${span(age)} old`, fix: "The node is behind, or this machine's clock is ahead: use another --rpc, or set the clock (NTP)." }];
  return [head];
}

async function contracts({ client, contract, info }: Chain): Promise<Finding[]> {
  const parts = [["SessionChannels", contract], ["ERC-3009 collector", ERC3009_COLLECTOR], ["USDC", info.usdc.address]] as const;
  const codes = await Promise.all(parts.map(([, address]) => reading(() => client.getCode({ address }))));
  const missing = parts.filter((_, index) => (codes[index] ?? "0x") === "0x");
  if (missing.length > 0) {
    const fix = isAddressEqual(contract, SESSION_CHANNELS) ? "Is --rpc the right chain?" : "Is --contract the right address, and --rpc the right chain?";
    return missing.map(([name, address]) => ({ name: "contracts", result: "fail", detail: `no code at ${name} ${address}`, fix }));
  }
  const domain = await client.readContract({ address: contract, abi: sessionChannelsAbi, functionName: "eip712Domain" }).catch(() => undefined);
  if (domain === undefined || Number(domain[3]) !== info.chainId || !isAddressEqual(domain[4], contract)) {
    return [{ name: "contracts", result: "fail", detail: `what stands at ${contract} is no SessionChannels of this chain`, fix: "Check --contract: vouchers for another contract cannot be claimed." }];
  }
  const additions = await client.readContract({ address: contract, abi: sessionChannelsAbi, functionName: "PACKED_CLAIM_TYPEHASH" }).then(() => true, () => false);
  return [{ name: "contracts", result: "ok", detail: `SessionChannels ${contract} (${additions ? "Tallystick's" : "canonical"}), collector and USDC are in place` }];
}

async function money({ client, info }: Chain, account: LocalAccount): Promise<Finding[]> {
  const { address } = account;
  const [tokens, ether] = await reading(() =>
    Promise.all([client.readContract({ address: info.usdc.address, abi: minimalTokenAbi, functionName: "balanceOf", args: [address] }), client.getBalance({ address })]),
  );
  return [
    tokens > 0n ? { name: "USDC", result: "ok", detail: `${usdc(tokens)} USDC in the wallet` } : { name: "USDC", result: "warn", detail: "none in the wallet", fix: `Send USDC on ${info.name} to ${address}: a first payment to a seller makes a deposit.` },
    ether > 0n ? { name: "gas", result: "ok", detail: `${formatEther(ether)} ether` } : { name: "gas", result: "warn", detail: "no ether", fix: "Payments need none. withdraw and claim do: send a little to the account before you need them." },
  ];
}

async function get(url: string): Promise<Response> {
  return fetch(url, { signal: AbortSignal.timeout(TIMEOUT_MS) });
}

async function relayer(context: Context, chain: Chain | undefined): Promise<Finding[]> {
  const name = "relayer";
  const url = context.settings.relayerUrl;
  if (url === undefined) return [{ name, result: "warn", detail: "none is set", fix: "Set TALLYSTICK_RELAYER_URL or give --relayer: trace, sell and receipts by id ask it. Paying a URL needs none." }];
  const response = await get(`${url}/readyz`).catch((error: unknown) => messageOf(error));
  if (typeof response === "string") return [{ name, result: "fail", detail: `${url} cannot be reached (${response})`, fix: "Check the address and the network. withdraw and claim work without it." }];
  const body = (await response.json().catch(() => undefined)) as { ready?: boolean; checks?: { name: string; ok: boolean; detail: string }[] } | undefined;
  if (body?.checks === undefined) return [{ name, result: "fail", detail: `${url} is no Tallystick relayer (HTTP ${response.status})`, fix: "Check the address." }];
  const wrong = body.checks.filter(({ ok }) => !ok).map((check) => `${check.name}: ${check.detail}`);
  const ready: Finding = body.ready === true ? { name, result: "ok", detail: `${url} takes payments` } : { name, result: "fail", detail: `${url} is not ready: ${wrong.join("; ")}`, fix: "Its operator has to look. withdraw and claim work without it." };
  return [ready, ...serverClock(response), ...(await sameNetwork(url, chain))];
}

function serverClock(response: Response): Finding[] {
  const theirs = Date.parse(response.headers.get("date") ?? "");
  const skew = Number.isNaN(theirs) ? 0 : Math.round((Date.now() - theirs) / 1_000);
  if (Math.abs(skew) <= MAX_SKEW_S) return [{ name: "clock", result: "ok", detail: "agrees with the relayer's" }];
  return [{ name: "clock", result: "warn", detail: `${span(Math.abs(skew))} ${skew > 0 ? "ahead of" : "behind"} the relayer's`, fix: "Set the clock of this machine (NTP): signatures carry times." }];
}

/** A relayer of another chain answers politely and can never be paid. */
async function sameNetwork(url: string, chain: Chain | undefined): Promise<Finding[]> {
  const answer = (await get(`${url}/api/v1/services`).then((response) => response.json()).catch(() => undefined)) as { services?: { network?: string }[] } | undefined;
  const network = answer?.services?.[0]?.network;
  if (network === undefined || chain === undefined || network === chain.info.network) return [];
  return [{ name: "relayer", result: "fail", detail: `it sells on ${network}, the RPC endpoint is ${chain.info.network}`, fix: "Give --rpc of that chain, or another --relayer." }];
}

async function indexer({ settings }: Context, chain: Chain | undefined): Promise<Finding> {
  const name = "indexer";
  if (settings.graphqlUrl === undefined) return { name, result: "ok", detail: "" };
  const response = await get(new URL("/status", settings.graphqlUrl).href).catch((error: unknown) => messageOf(error));
  const fix = "trace goes on without it. Its operator has to look.";
  if (typeof response === "string" || !response.ok) return { name, result: "warn", detail: `cannot be asked (${typeof response === "string" ? response : `HTTP ${response.status}`})`, fix };
  const status = (await response.json()) as Record<string, { block?: { number?: number } }>;
  const indexed = Object.values(status)[0]?.block?.number;
  if (indexed === undefined || chain === undefined) return { name, result: "warn", detail: "has indexed no block yet", fix };
  const lag = Math.max(0, Number(await reading(() => chain.client.getBlockNumber())) - indexed);
  return lag > MAX_LAG_BLOCKS ? { name, result: "warn", detail: `${lag} blocks behind`, fix } : { name, result: "ok", detail: `${lag} blocks behind` };
}

async function storage({ settings }: Context): Promise<Finding> {
  const name = "storage";
  const folder = await stat(settings.stateDir).catch(() => undefined);
  if (folder === undefined) return { name, result: "ok", detail: `${settings.stateDir} is made with the first payment` };
  if (!folder.isDirectory()) return { name, result: "fail", detail: `${settings.stateDir} is no folder`, fix: "Give another with --state or TALLYSTICK_STATE." };
  const writable = await access(settings.stateDir, constants.W_OK).then(() => true, () => false);
  if (!writable) return { name, result: "fail", detail: `${settings.stateDir} cannot be written`, fix: `chown it to this user, or give another with --state.` };
  if ((folder.mode & 0o022) !== 0 && process.platform !== "win32") return { name, result: "warn", detail: `others may write to ${settings.stateDir} (mode ${(folder.mode & 0o777).toString(8)})`, fix: `chmod 700 ${settings.stateDir}` };
  return { name, result: "ok", detail: settings.stateDir };
}

async function channels({ settings }: Context, chain: Chain): Promise<Finding[]> {
  const states = await readStates(chain, channelsOf(chain, await storedConfigs(settings.stateDir, chain.domain)));
  const now = (await reading(() => chain.client.getBlock())).timestamp;
  const pending = states.filter(({ withdrawal }) => withdrawal !== undefined).map(({ id, withdrawal }): Finding => {
    const { amount, finalizeAfter } = withdrawal!;
    const due = finalizeAfter <= now;
    return {
      name: "withdrawal",
      result: "warn",
      detail: `${usdc(amount)} USDC of ${id.slice(0, 10)}… ${due ? "can be finished" : `can be finished after ${utc(finalizeAfter)}`}; sellers refuse this channel`,
      fix: `tallystick withdraw ${id}${due ? "" : " --wait"}`,
    };
  });
  const total = states.reduce((sum, { available }) => sum + available, 0n);
  return [{ name: "channels", result: "ok", detail: states.length === 0 ? "none in the agent's storage" : `${states.length} with ${usdc(total)} USDC left` }, ...pending];
}
