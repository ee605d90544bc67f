// A relayer as a process of its own that can be told to kill itself, kill -9, when it reaches a commit point.
import { openSync, writeSync } from "node:fs";
import { join } from "node:path";
import type { CommitPoint } from "../../relayer/src/commit-points.ts";
import type { Relayer } from "../../relayer/src/relayer.ts";

export type Trap = { id: string; point: CommitPoint; nth: number };
export type ToChild = { arm: Trap } | { disarm: true } | { flush: number };
export type FromChild = { ready: string } | { flushed: boolean; flush: number } | { disarmed: true };

const FOLDER = process.env.CHAOS_FOLDER!;
const SLOT = process.env.CHAOS_SLOT!;

const hits = openSync(join(FOLDER, "hits"), "a");
const traps = new Map<string, Trap>();
for (const trap of JSON.parse(process.env.CHAOS_TRAPS ?? "[]") as Trap[]) traps.set(trap.id, trap);

/** Written before the process dies, so that what was reached is known. */
function reached(point: CommitPoint): void {
  writeSync(hits, `${point}\n`);
  for (const trap of traps.values()) {
    if (trap.point !== point || --trap.nth > 0) continue;
    traps.delete(trap.id);
    if (taken(trap.id)) process.kill(process.pid, "SIGKILL");
  }
}

/** One process dies of a trap, whoever is first. */
function taken(id: string): boolean {
  try {
    writeSync(openSync(join(FOLDER, `trap-${id}`), "wx"), `${SLOT} ${process.pid}`);
    return true;
  } catch {
    return false; // another process died of it
  }
}

const say = (message: FromChild) => void process.send?.(message);

async function start(): Promise<Relayer> {
  const { createRelayer } = await import("../../relayer/src/relayer.ts");
  const { readConfig } = await import("../../relayer/src/config.ts");
  const { createLog } = await import("../../relayer/src/telemetry/log.ts");
  const own = Object.entries(process.env).filter(([name]) => /^(RELAYER_|DATABASE_URL$|RPC_URL$|CHAIN_ID$)/.test(name));
  const config = readConfig(Object.fromEntries(own));
  const relayer = await createRelayer(config, createLog(config.logLevel), { reached });
  await relayer.start();
  return relayer;
}

process.on("disconnect", () => process.exit(0)); // the run is gone
let relayer: Relayer | undefined;
process.on("message", (message: ToChild) => {
  if ("arm" in message) traps.set(message.arm.id, message.arm);
  if ("disarm" in message) {
    traps.clear();
    say({ disarmed: true });
  }
  if ("flush" in message) void relayer?.settlement.flush(5_000).then((flushed) => say({ flushed, flush: message.flush }), () => say({ flushed: false, flush: message.flush }));
});
relayer = await start();
say({ ready: relayer.deps.config.publicUrl });
