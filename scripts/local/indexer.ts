// The indexer of the local world: Ponder as a child process on 127.0.0.1, quiet, with a way to wait for a block.
import { spawn } from "node:child_process";
import { fileURLToPath } from "node:url";
import type { Address } from "viem";
import { SESSION_CHANNELS } from "../../sdk/src/constants.ts";
import { freePort, hasEnded, stopChild, until } from "./process.ts";

export type IndexerOptions = {
  rpcUrl: string;
  /** A database of its own; drop it when the chain is a new one (`LocalPostgres.database(name, { fresh })`). */
  databaseUrl: string;
  /** Tables go into this schema; one running indexer a schema. */
  schema?: string;
  chainId?: number;
  address?: Address;
  startBlock?: number;
  /** Port on 127.0.0.1; any free one when left out. */
  port?: number;
  /** How often the chain is asked for a new block; 100 ms is Ponder's least. */
  pollingIntervalMs?: number;
  /** Relayers that are asked for receipts under roots. */
  receiptSources?: string[];
  logLevel?: "error" | "warn" | "info" | "debug";
};

export type LocalIndexer = {
  url: string;
  graphqlUrl: string;
  sqlUrl: string;
  pid: number;
  /** Returns when what was there at the start is indexed and queries answer. */
  waitUntilReady(timeoutMs?: number): Promise<void>;
  /** Returns when the block is indexed. After a reorg, give a block above the old head. */
  waitForBlock(number: number | bigint, timeoutMs?: number): Promise<void>;
  stop(): Promise<void>;
};

const path = (relative: string) => fileURLToPath(new URL(`../../${relative}`, import.meta.url));

/** Starts the indexer; it is not ready yet when this returns. */
export async function startIndexer(options: IndexerOptions): Promise<LocalIndexer> {
  const port = options.port ?? (await freePort());
  const schema = options.schema ?? "indexer";
  const flags = ["--root", path("indexer"), "--log-level", options.logLevel ?? "warn", "--schema", schema, "-p", String(port), "-H", "127.0.0.1"];
  // pg warns of how Ponder uses it; nothing we could change.
  const flagsOfNode = ["--disable-warning=DeprecationWarning", "--import", new URL("./end-with-parent.ts", import.meta.url).href];
  const child = spawn(process.execPath, [...flagsOfNode, path("node_modules/ponder/dist/esm/bin/ponder.js"), "start", ...flags], {
    cwd: path("indexer"),
    env: {
      PATH: process.env.PATH,
      HOME: process.env.HOME,
      PONDER_TELEMETRY_DISABLED: "true",
      NODE_COMPILE_CACHE: path("indexer/.ponder/compile-cache"),
      // Ponder asks each provider 20 times a second at first, half of which go to polling: a burst of blocks would be
      // indexed seconds late. A local chain takes as much as many providers.
      RPC_URL: Array(16).fill(options.rpcUrl).join(","),
      RPC_CACHE: "off",
      DATABASE_URL: options.databaseUrl,
      POLLING_INTERVAL_MS: String(options.pollingIntervalMs ?? 100),
      SESSION_CHANNELS_ADDRESS: options.address ?? SESSION_CHANNELS,
      REPUTATION_INTERVAL_BLOCKS: "5",
      RECEIPT_SOURCES: (options.receiptSources ?? []).join(","),
      START_BLOCK: String(options.startBlock ?? 0),
      ...(options.chainId === undefined ? {} : { CHAIN_ID: String(options.chainId) }),
    },
    stdio: ["ignore", "pipe", "pipe", "ipc"],
    detached: process.platform !== "win32", // Ctrl-C is the parent's business
  });
  const last = () => void child.kill("SIGINT");
  process.once("exit", last);
  // What it says above the asked level is passed on, but for its goodbye, which is no warning.
  let stopping = false;
  let said = "";
  for (const stream of [child.stdout!, child.stderr!]) {
    stream.setEncoding("utf8").on("data", (text: string) => {
      said = (said + text).slice(-4_000);
      if (!stopping) process.stderr.write(text);
    });
  }

  const url = `http://127.0.0.1:${port}`;
  const ask = async <T>(route: string, read: (response: Response) => Promise<T | undefined>) => {
    if (hasEnded(child)) throw new Error(`the indexer ended with ${child.exitCode ?? child.signalCode}: ${said}`);
    const response = await fetch(url + route).catch(() => undefined); // not listening yet
    return response === undefined ? undefined : read(response);
  };
  return {
    url,
    graphqlUrl: `${url}/graphql`,
    sqlUrl: `${url}/sql`,
    pid: child.pid!,
    async waitUntilReady(timeoutMs = 60_000) {
      await until("starting the indexer", () => ask("/ready", async (response) => (response.ok ? true : undefined)), timeoutMs);
    },
    async waitForBlock(number, timeoutMs = 60_000) {
      const indexed = () => ask("/status", async (response) => (response.ok && reached(await response.json(), number) ? true : undefined));
      await until(`indexing block ${number}`, indexed, timeoutMs);
    },
    async stop() {
      stopping = true;
      process.off("exit", last);
      // Not SIGTERM: Vite, inside Ponder, answers that by ending the process before Ponder has unlocked its schema, and the
      // next start on the same database then waits 25 seconds.
      await stopChild(child, "SIGINT");
    },
  };
}

/** /status: { <chain name>: { id, block: { number, timestamp } } } */
function reached(status: unknown, number: number | bigint): boolean {
  const [chain] = Object.values(status as Record<string, { block: { number: number } | null }>);
  return chain?.block != null && BigInt(chain.block.number) >= BigInt(number);
}
