// The relayer's processes: started, killed, started again. Every death is accounted for; one that nobody ordered is a violation.
import { spawn, type ChildProcess } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { open } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { childEnvironment, hasEnded, until } from "../../scripts/local/process.ts";
import { NOT_PLANTED } from "./planted-faults.ts";
import type { FromChild, ToChild, Trap } from "./relayer-process.ts";

export type SlotOptions = { name: string; url: string; env: Record<string, string> };

type Slot = SlotOptions & { child: ChildProcess | undefined; ready: boolean; ordered: boolean; failedStarts: number; starts: number };

const ENTRY = fileURLToPath(new URL("./relayer-process.ts", import.meta.url));
const HOOK = new URL("./planted-hook.ts", import.meta.url).href;
const RESTART_MS = 60;
const FAILED_STARTS_MOST = 60;

export class Processes {
  readonly slots: Slot[];
  /** Deaths that nobody ordered, in words. */
  readonly crashes: string[] = [];
  readonly folder: string;
  readonly #planted: string | undefined;
  /** What everybody who starts is armed with. */
  readonly #traps: Trap[] = [];
  #ending = false;
  #randomKills = 0;
  #notPlanted: string | undefined;

  constructor(folder: string, slots: SlotOptions[], planted?: string) {
    this.folder = folder;
    this.#planted = planted;
    this.slots = slots.map((options) => ({ ...options, child: undefined, ready: false, ordered: false, failedStarts: 0, starts: 0 }));
  }

  async start(): Promise<void> {
    await Promise.all(this.slots.map((slot) => this.#spawn(slot)));
    await this.whenHealthy();
    if (this.#notPlanted !== undefined) throw new Error(this.#notPlanted);
  }

  async #spawn(slot: Slot): Promise<void> {
    const log = await open(join(this.folder, `${slot.name}.log`), "a");
    const hook = this.#planted === undefined ? [] : ["--import", HOOK];
    const child = spawn(process.execPath, ["--disable-warning=ExperimentalWarning", ...hook, ENTRY], {
      env: childEnvironment({
        CHAOS_FOLDER: this.folder, CHAOS_SLOT: slot.name, CHAOS_TRAPS: JSON.stringify(this.#traps.filter(({ id }) => !this.sprung(id))),
        ...(this.#planted === undefined ? {} : { CHAOS_PLANTED: this.#planted }), ...slot.env,
      }),
      stdio: ["ignore", log.fd, log.fd, "ipc"],
      detached: process.platform !== "win32", // Ctrl-C is the parent's business
    });
    await log.close();
    Object.assign(slot, { child, ready: false, ordered: false, starts: slot.starts + 1 });
    child.on("message", (message: FromChild) => {
      if ("ready" in message) Object.assign(slot, { ready: true, failedStarts: 0 });
    });
    child.once("exit", (code, signal) => void this.#ended(slot, child, code ?? signal));
  }

  async #ended(slot: Slot, child: ChildProcess, how: number | string | null): Promise<void> {
    if (slot.child !== child) return;
    if (how === NOT_PLANTED) this.#notPlanted ??= this.lastWords(slot.name);
    const wasReady = slot.ready;
    slot.ready = false;
    if (this.#ending) return;
    const ordered = slot.ordered || this.#sprungBy(child.pid!);
    // A process may refuse to start while the database or the chain are away; one that serves may not end by itself.
    if (!ordered && wasReady) this.crashes.push(`${slot.name} ended by itself with ${how}: ${this.lastWords(slot.name)}`);
    if (!ordered && !wasReady && ++slot.failedStarts === FAILED_STARTS_MOST) this.crashes.push(`${slot.name} does not start: ${this.lastWords(slot.name)}`);
    await sleep(ordered ? RESTART_MS : 150);
    if (!this.#ending && slot.failedStarts < FAILED_STARTS_MOST) await this.#spawn(slot);
  }

  lastWords(name: string): string {
    return readFileSync(join(this.folder, `${name}.log`), "utf8").slice(-1_500);
  }

  async whenHealthy(timeoutMs = 60_000): Promise<void> {
    await until("restarting the processes", async () => (this.crashes.length > 0 || this.#notPlanted !== undefined || this.slots.every(({ ready }) => ready) ? true : undefined), timeoutMs);
  }

  /** Kills at once, kill -9. False when there is nothing to kill. */
  kill(index: number): boolean {
    const slot = this.slots[index];
    if (slot?.child === undefined || hasEnded(slot.child) || !slot.ready || slot.ordered) return false;
    slot.ordered = true;
    slot.child.kill("SIGCONT"); // a frozen one dies too, but would be found frozen by whoever debugs
    slot.child.kill("SIGKILL");
    this.#randomKills++;
    return true;
  }

  signal(index: number, signal: NodeJS.Signals): void {
    this.slots[index]?.child?.kill(signal);
  }

  arm(trap: Trap): void {
    this.#traps.push(trap);
    for (const slot of this.slots) this.#tell(slot, { arm: trap });
  }

  /** Nobody dies of a trap any more, once this has returned. */
  async disarm(): Promise<void> {
    this.#traps.length = 0;
    await Promise.all(this.slots.map((slot) => this.#ask(slot, { disarm: true }, (message) => ("disarmed" in message ? true : undefined))));
  }

  #tell({ child }: Slot, message: ToChild): void {
    if (child?.connected === true) child.send(message, () => {});
  }

  sprung(id: string): boolean {
    return existsSync(join(this.folder, `trap-${id}`));
  }

  #sprungBy(pid: number): boolean {
    return this.trapsSprung().some(({ by }) => by.split(" ")[1] === String(pid));
  }

  trapsSprung(): { id: string; by: string }[] {
    const files = readdirSync(this.folder).filter((name) => name.startsWith("trap-"));
    return files.map((name) => ({ id: name.slice(5), by: readFileSync(join(this.folder, name), "utf8") }));
  }

  get randomKills(): number {
    return this.#randomKills;
  }

  /** How often each point was reached. */
  hits(): Map<string, number> {
    const path = join(this.folder, "hits");
    const hits = new Map<string, number>();
    const lines = existsSync(path) ? readFileSync(path, "utf8").split("\n") : [];
    for (const point of lines) if (point !== "") hits.set(point, (hits.get(point) ?? 0) + 1);
    return hits;
  }

  /** Claims everything through the first worker. False when not all was done in time. */
  async flush(): Promise<boolean> {
    const worker = this.slots.find(({ name }) => name.startsWith("worker"))!;
    const number = Math.floor(performance.now());
    return (await this.#ask(worker, { flush: number }, (message) => ("flush" in message && message.flush === number ? message.flushed : undefined))) ?? false;
  }

  /** Undefined when it died instead of answering. */
  async #ask<T>(slot: Slot, message: ToChild, read: (answer: FromChild) => T | undefined): Promise<T | undefined> {
    const { child } = slot;
    if (child === undefined || !child.connected || hasEnded(child)) return undefined;
    return new Promise((done) => {
      const heard = (answer: FromChild) => {
        const value = read(answer);
        if (value === undefined) return;
        child.off("message", heard);
        done(value);
      };
      child.on("message", heard);
      child.once("exit", () => done(undefined));
      this.#tell(slot, message);
    });
  }

  async stop(): Promise<void> {
    this.#ending = true;
    await Promise.all(
      this.slots.map(async ({ child }) => {
        if (child === undefined || hasEnded(child)) return;
        const gone = new Promise((done) => child.once("exit", done));
        child.kill("SIGCONT");
        child.kill("SIGKILL");
        await gone;
      }),
    );
  }
}
