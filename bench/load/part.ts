// A part of a benchmark in a process of its own, asked over its IPC channel. This is the side of the part; processes.ts has the other.
import { Session } from "node:inspector/promises";
import { writeFile } from "node:fs/promises";

export type Question = { id: number; verb: string; argument: unknown };
export type Reply = { id: number; answer?: unknown; error?: string };

/** What the part was started with. */
export function optionsOf<T>(): T {
  return JSON.parse(process.env.BENCH_PART ?? "{}") as T;
}

/** Answers questions until the parent is gone. Says `ready` first: that is the answer to the question 0. */
export function answer(ready: unknown, verbs: Record<string, (argument: never) => unknown>): void {
  const known: typeof verbs = { ...COMMON, ...verbs };
  process.on("message", ({ id, verb, argument }: Question) => {
    const run = async () => {
      const act = known[verb];
      if (act === undefined) throw new Error(`no such verb: ${verb}`);
      return act(argument as never);
    };
    run().then(
      (said) => process.send!({ id, answer: said } satisfies Reply),
      (error: unknown) => process.send!({ id, error: error instanceof Error ? (error.stack ?? error.message) : String(error) } satisfies Reply),
    );
  });
  process.on("disconnect", () => process.exit(0));
  process.send!({ id: 0, answer: ready } satisfies Reply);
}

export type Usage = { cpuMs: number; rssBytes: number };

let profiler: Session | undefined;

const COMMON = {
  /** Processor time of this process so far, user and system, all threads. */
  usage(): Usage {
    const { user, system } = process.cpuUsage();
    return { cpuMs: (user + system) / 1000, rssBytes: process.memoryUsage.rss() };
  },
  async startProfile(): Promise<void> {
    profiler = new Session();
    profiler.connect();
    await profiler.post("Profiler.enable");
    await profiler.post("Profiler.setSamplingInterval", { interval: 200 });
    await profiler.post("Profiler.start");
  },
  async stopProfile(file: string): Promise<void> {
    const { profile } = await profiler!.post("Profiler.stop");
    profiler!.disconnect();
    await writeFile(file, JSON.stringify(profile));
  },
};
