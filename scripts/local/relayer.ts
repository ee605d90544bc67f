// The relayer and the provider of the local world, as child processes on 127.0.0.1.
import { fork, type ChildProcess } from "node:child_process";
import { createWriteStream } from "node:fs";
import { fileURLToPath } from "node:url";
import { childEnvironment, freePort, hasEnded, stopChild, until } from "./process.ts";

export type Service = { url: string; pid: number; stop(): Promise<void> };

const path = (relative: string) => fileURLToPath(new URL(relative, import.meta.url));

export type RelayerOptions = {
  port?: number;
  /** Its environment, without port and public URL. */
  env: Record<string, string>;
  /** Its log lines go there, as they are. */
  logFile: string;
};

/** Starts the relayer and returns when it takes payments. */
export async function startRelayer({ port = 0, env, logFile }: RelayerOptions): Promise<Service> {
  const chosen = port === 0 ? await freePort() : port;
  const url = `http://127.0.0.1:${chosen}`;
  const child = start(path("../../relayer/src/main.ts"), [], { ...env, RELAYER_PORT: String(chosen), RELAYER_PUBLIC_URL: url });
  const said = keepLog(child, logFile);
  let unready = "";
  const ready = async () => {
    if (hasEnded(child)) throw new Error(`the relayer ended with ${child.exitCode ?? child.signalCode}: ${said()}`);
    const response = await fetch(`${url}/readyz`).catch(() => undefined); // not listening yet
    if (response?.ok) return true;
    unready = (await response?.text()) ?? "";
    return undefined;
  };
  await until("starting the relayer", ready, 60_000, 50).catch(async (error: Error) => {
    await stopChild(child);
    throw new Error(`${error.message}; last /readyz: ${unready || "none"}; its log is ${logFile}`);
  });
  return { url, pid: child.pid!, stop: () => stopChild(child, "SIGTERM", 20_000) };
}

/** Starts the example provider; it answers when this returns. */
export async function startProvider(): Promise<Service> {
  const child = start(path("./provider.ts"), [], {});
  child.stdout!.resume();
  child.stderr!.pipe(process.stderr);
  const url = await new Promise<string>((done, failed) => {
    child.once("message", (message) => done((message as { url: string }).url));
    child.once("error", failed);
    child.once("exit", (code) => failed(new Error(`the provider ended with ${code} before it listened`)));
  });
  return { url, pid: child.pid!, stop: () => stopChild(child) };
}

/** A child of ours: it ends with us. */
export function start(script: string, args: string[], env: Record<string, string>): ChildProcess {
  return fork(script, args, {
    env: childEnvironment(env),
    execArgv: ["--disable-warning=ExperimentalWarning", "--import", new URL("./end-with-parent.ts", import.meta.url).href],
    stdio: ["ignore", "pipe", "pipe", "ipc"],
    detached: process.platform !== "win32", // Ctrl-C is the parent's business
  });
}

/** Copies what a child says into a file; returns its last words, for the error when it dies. */
function keepLog(child: ChildProcess, file: string): () => string {
  const log = createWriteStream(file, { flags: "w" });
  let tail = "";
  for (const stream of [child.stdout!, child.stderr!]) {
    stream.setEncoding("utf8").on("data", (text: string) => {
      tail = (tail + text).slice(-4_000);
      log.write(text);
    });
  }
  return () => tail;
}
