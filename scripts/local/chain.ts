// The local chain: a Hardhat node of chain type op with Base Sepolia's chain id, as a child process on 127.0.0.1.
// It lives in memory: a new process is a new chain, so whatever was indexed from an older one is void.
// Mine with evm_mine, once a block: hardhat_mine with more than a few blocks aborts the process on chain type op (EDR
// makes placeholder blocks without the base-fee parameters that OP blocks carry, and panics at the next one).
import { fork } from "node:child_process";
import type { Socket } from "node:net";
import { mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { BASE_SEPOLIA } from "../../sdk/src/constants.ts";
import { isAlive, stopChild } from "./process.ts";

/** Hardhat's published test mnemonic: 20 funded accounts. Never a secret, never for a public chain. */
export const LOCAL_MNEMONIC = "test test test test test test test test test test test junk";

export type ChainOptions = {
  /** Where to remember the running chain; a second start with the same folder reuses it. */
  dataDir?: string;
  /** Port on 127.0.0.1; any free one when left out. */
  port?: number;
  /** A block every so many milliseconds, besides one for each transaction. Off when left out. */
  blockTimeMs?: number;
  /** Timestamp of the first block, unix seconds; now when left out. */
  genesisTimeS?: number;
};

export type LocalChain = {
  url: string;
  chainId: number;
  pid: number;
  /** True when an earlier start's chain answered: its blocks are still there. */
  reused: boolean;
  /** Ends the process, if this call started it. */
  stop(): Promise<void>;
  /** This process may end without having stopped it: it ends then, too. */
  letGo(): void;
};

type Running = { url: string; pid: number };

/** Starts the chain, or joins the one that `dataDir` remembers. */
export async function startChain(options: ChainOptions = {}): Promise<LocalChain> {
  const memory = options.dataDir === undefined ? undefined : join(options.dataDir, "chain.json");
  const earlier = memory === undefined ? undefined : await running(memory);
  if (earlier !== undefined) return { ...earlier, chainId: BASE_SEPOLIA.chainId, reused: true, stop: async () => {}, letGo: () => {} };

  // fork() gives an IPC channel: the node ends by itself when this process dies, however it dies.
  const child = fork(fileURLToPath(new URL("./chain-process.ts", import.meta.url)), [JSON.stringify(options)], {
    execArgv: ["--disable-warning=ExperimentalWarning"],
    stdio: ["ignore", "ignore", "pipe", "ipc"],
    // A terminal's Ctrl-C goes to the whole process group; who ends first is the parent's business.
    detached: process.platform !== "win32",
  });
  // A healthy node says nothing. Before it listens, what it says goes into the error; later to whoever watches.
  let complaint = "";
  let listening = false;
  child.stderr!.setEncoding("utf8").on("data", (text: string) => {
    if (listening) process.stderr.write(text);
    else complaint = (complaint + text).slice(-4_000);
  });
  const url = await new Promise<string>((done, failed) => {
    child.once("message", (message) => done((message as { url: string }).url));
    child.once("error", failed);
    child.once("exit", (code) => failed(new Error(`the chain ended with ${code} before it listened: ${complaint}`)));
  });
  listening = true;
  const now: Running = { url, pid: child.pid! };
  if (memory !== undefined) {
    await mkdir(options.dataDir!, { recursive: true });
    await writeFile(memory, JSON.stringify(now));
  }
  return {
    ...now,
    chainId: BASE_SEPOLIA.chainId,
    reused: false,
    async stop() {
      await stopChild(child);
      if (memory !== undefined) await rm(memory, { force: true });
    },
    letGo() {
      child.unref();
      child.channel?.unref();
      (child.stderr as Socket).unref();
    },
  };
}

async function running(memory: string): Promise<Running | undefined> {
  const text = await readFile(memory, "utf8").catch(() => undefined);
  if (text === undefined) return undefined;
  const earlier = JSON.parse(text) as Running;
  if (!isAlive(earlier.pid)) return undefined;
  const chainId = await rpc<string>(earlier.url, "eth_chainId").catch(() => undefined);
  return chainId !== undefined && Number(chainId) === BASE_SEPOLIA.chainId ? earlier : undefined;
}

/** One JSON-RPC call; throws the node's error message. */
export async function rpc<T>(url: string, method: string, params: unknown[] = []): Promise<T> {
  const response = await fetch(url, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ jsonrpc: "2.0", id: 1, method, params }),
  });
  const answer = (await response.json()) as { result?: T; error?: { message: string } };
  if (answer.error !== undefined) throw new Error(`${method}: ${answer.error.message}`);
  return answer.result as T;
}
