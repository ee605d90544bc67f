// What every process but a server does now and then: give back what died, forget what is over, add up. Each by itself: one that fails
// or is slow holds no other up, and none runs twice at once in a process. Over several processes each is safe by its own statements.
import { setTimeout as sleep } from "node:timers/promises";
import { EVENT, type Log } from "./telemetry/log.ts";

export type Sweeper = { start(): void; stop(): Promise<void> };

/** @param sweeps by name, for the log. */
export function createSweeper(sweeps: Readonly<Record<string, () => Promise<unknown>>>, everyMs: number, log: Log): Sweeper {
  const stopping = new AbortController();
  let running: Promise<unknown> = Promise.resolve();

  async function repeat(name: string, once: () => Promise<unknown>): Promise<void> {
    while (!stopping.signal.aborted) {
      await sleep(everyMs, undefined, { signal: stopping.signal }).catch(() => {});
      if (stopping.signal.aborted) return;
      await once().catch((err: unknown) => log.warn({ event: EVENT.failure, sweep: name, err }, "sweep failed; tried again soon"));
    }
  }

  return {
    start() {
      running = Promise.all(Object.entries(sweeps).map(([name, once]) => repeat(name, once)));
    },
    async stop() {
      stopping.abort();
      await running;
    },
  };
}
