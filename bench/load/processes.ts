// Starts the parts of a benchmark as processes of their own, each on the cores it is given, and asks them questions.
import { execFileSync, spawn, type ChildProcess } from "node:child_process";
import { openSync } from "node:fs";
import { readdir, readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { childEnvironment, hasEnded, stopChild } from "../../scripts/local/process.ts";
import type { Question, Reply, Usage } from "./part.ts";

export type Part = {
  /** What it said when it was ready. */
  ready: unknown;
  pid: number;
  ask<T>(verb: string, argument?: unknown): Promise<T>;
  usage(): Promise<Usage>;
  stop(): Promise<void>;
};

export type PartOptions = {
  /** File beside this one. */
  script: string;
  options: unknown;
  /** A list for taskset, such as `0` or `1-3`; anywhere when left out. */
  cores: string | undefined;
  /** Where its output goes. */
  logFile: string;
  env?: Record<string, string>;
};

export async function startPart({ script, options, cores, logFile, env = {} }: PartOptions): Promise<Part> {
  const output = openSync(logFile, "a");
  const node = [process.execPath, "--disable-warning=ExperimentalWarning", fileURLToPath(new URL(script, import.meta.url))];
  const [command, ...args] = cores === undefined ? node : ["taskset", "-c", cores, ...node];
  const child = spawn(command!, args, {
    env: childEnvironment({ NODE_ENV: "production", ...env, BENCH_PART: JSON.stringify(options) }),
    stdio: ["ignore", output, output, "ipc"],
    serialization: "advanced",
  });
  const waiting = new Map<number, { done(answer: unknown): void; failed(error: Error): void }>();
  let last = 0;
  child.on("message", ({ id, answer, error }: Reply) => {
    const asked = waiting.get(id);
    waiting.delete(id);
    if (error === undefined) asked?.done(answer);
    else asked?.failed(new Error(`${script}: ${error}`));
  });
  child.once("exit", (code, signal) => {
    for (const { failed } of waiting.values()) failed(new Error(`${script} ended with ${code ?? signal}; see ${logFile}`));
    waiting.clear();
  });
  child.once("error", (error) => waiting.get(0)?.failed(error));
  const replyTo = (id: number) => new Promise<unknown>((done, failed) => waiting.set(id, { done, failed }));
  const ask = async <T>(verb: string, argument?: unknown): Promise<T> => {
    if (hasEnded(child)) throw new Error(`${script} has ended; see ${logFile}`);
    const id = ++last;
    const reply = replyTo(id);
    child.send({ id, verb, argument } satisfies Question);
    return (await reply) as T;
  };
  const ready = await replyTo(0);
  return { ready, pid: child.pid!, ask, usage: () => ask<Usage>("usage"), stop: () => stop(child) };
}

async function stop(child: ChildProcess): Promise<void> {
  await stopChild(child, "SIGTERM", 10_000);
}

export type Cores = {
  /** One list for each server process, or undefined where nothing is pinned. */
  servers: (string | undefined)[];
  /** Load client, PostgreSQL and node. */
  others: string | undefined;
  /** For the report. */
  note: string;
};

/** What this process may run on as it was started, before it moves itself; undefined where taskset is missing. */
const ALLOWED = allowedCores();

function allowedCores(): number[] | undefined {
  let told: string;
  try {
    told = execFileSync("taskset", ["-cp", String(process.pid)], { encoding: "utf8" });
  } catch {
    return undefined;
  }
  const ranges = /: ([\d,-]+)\s*$/.exec(told)?.[1]?.split(",") ?? [];
  return ranges.flatMap((range) => {
    const [from, to = from] = range.split("-").map(Number) as [number, number?];
    return Array.from({ length: to - from + 1 }, (_, index) => from + index);
  });
}

/** Each server on a core of its own and everything else on the rest, as far as the machine has them. */
export function divideCores(servers: number): Cores {
  const nowhere = Array.from({ length: servers }, () => undefined);
  if (ALLOWED === undefined) return { servers: nowhere, others: undefined, note: "taskset is missing: nothing is pinned" };
  const count = ALLOWED.length;
  if (count < 2) return { servers: nowhere, others: undefined, note: "one core: everything shares it" };
  const pinned = Array.from({ length: servers }, (_, index) => String(ALLOWED[index % count]));
  const rest = ALLOWED.slice(servers);
  if (rest.length === 0) return { servers: pinned, others: ALLOWED.join(","), note: `${servers} server processes on ${count} cores, which load client, PostgreSQL and node share with them` };
  return { servers: pinned, others: rest.join(","), note: `${servers} server process(es), each on a core of its own; load client, PostgreSQL and node on the other ${rest.length} of ${count} cores` };
}

/** Moves this process, and so everything it starts from now on, to these cores. */
export function moveTo(cores: string | undefined): void {
  if (cores !== undefined) execFileSync("taskset", ["-acp", cores, String(process.pid)], { stdio: "ignore" });
}

const TICK_MS = 10; // USER_HZ is 100 on every Linux that Node runs on

/** Processor time of a process and the children it has now or had before, milliseconds; undefined where there is no /proc. */
export async function cpuOfTree(pid: number): Promise<number | undefined> {
  const stats = new Map<number, { parent: number; ticks: number; reaped: number }>();
  const pids = await readdir("/proc").catch(() => []);
  for (const name of pids.filter((entry) => /^\d+$/.test(entry))) {
    const text = await readFile(`/proc/${name}/stat`, "utf8").catch(() => ""); // ended meanwhile
    const fields = text.slice(text.lastIndexOf(")") + 2).split(" ").map(Number);
    if (fields.length > 14) stats.set(Number(name), { parent: fields[1]!, ticks: fields[11]! + fields[12]!, reaped: fields[13]! + fields[14]! });
  }
  const root = stats.get(pid);
  if (root === undefined) return undefined;
  let ticks = root.ticks + root.reaped;
  for (const { parent, ticks: own, reaped } of stats.values()) if (parent === pid) ticks += own + reaped;
  return ticks * TICK_MS;
}
