// The life of the local world's children: watched while it is up, ended in reverse order, each by its own process id.
import { setInterval as every } from "node:timers/promises";
import { isAlive } from "./process.ts";
import { say } from "./progress.ts";
import type { Child } from "./world.ts";

export class Household {
  /** Filled as things start. */
  readonly children: Child[] = [];
  readonly stoppers: (() => Promise<void>)[] = [];
  #stopped: Promise<void> | undefined;

  /** Ends everything that was started; what fails to end does not keep the rest from it. */
  stop(): Promise<void> {
    this.#stopped ??= this.#stopAll();
    return this.#stopped;
  }

  async #stopAll(): Promise<void> {
    for (const stop of this.stoppers.toReversed()) {
      await stop().catch((error: unknown) => say(`  while stopping: ${error instanceof Error ? error.message : String(error)}`));
    }
  }

  /** For the impatient: no goodbyes. */
  kill(): void {
    for (const { pid } of this.children) {
      try {
        process.kill(pid, "SIGKILL");
      } catch {
        continue; // already gone
      }
    }
  }

  /** Returns when `signal` aborts; throws when a child is gone before that. */
  async watch(signal: AbortSignal): Promise<void> {
    try {
      for await (const _ of every(500, undefined, { signal })) {
        const gone = this.children.find(({ pid }) => !isAlive(pid));
        if (gone !== undefined) throw new Error(`the ${gone.name} (process ${gone.pid}) ended by itself`);
      }
    } catch (error) {
      if (!signal.aborted) throw error;
    }
  }
}
