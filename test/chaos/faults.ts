// Carries out what a plan says: kills, and everything around the relayer that fails.
import { setTimeout as sleep } from "node:timers/promises";
import { numberToHex } from "viem";
import { passTime } from "./ledger.ts";
import type { Fault, Kill, Plan, Step } from "./plan.ts";
import type { Processes } from "./processes.ts";
import type { World } from "./world.ts";

/** Ages at which a lease is taken for run out while a round goes on: well above what a healthy call takes. */
const RESERVED_FOR_MS = 2_500;
const SILENT_FOR_MS = 3_000;
/** streams/service.ts leaseMsOf for the services of a round. */
export const STREAM_LEASE_MS = 26_000;
const TIME_PASSES_EVERY_MS = 300;

/** How long a trap is waited for; after that it stays armed, and the next step comes. */
const TRAP_WAIT_MS = 2_500;
const HEALTH_WAIT_MS = 20_000;
const FROZEN_MOST_MS = 2_000;

/** Returns when the last of it is over. @throws when the world itself broke. */
export async function carryOut(plan: Plan, world: World, processes: Processes): Promise<void> {
  const over = new AbortController();
  const time = letTimePass(world, over.signal);
  const running: Promise<void>[] = [];
  try {
    for (const step of plan.steps) {
      if (step.whenHealthy) await processes.whenHealthy(HEALTH_WAIT_MS).catch(() => {}); // told at the end, if it lasts
      await sleep(step.afterMs);
      if (step.kind === "kill") await strike(step, processes);
      else running.push(begun(fail(step, world, processes)));
    }
    await Promise.all(running);
  } finally {
    over.abort();
    await Promise.allSettled([time, ...running]);
  }
}

/** Its failure is heard when everything is awaited, not before. */
function begun(work: Promise<void>): Promise<void> {
  work.catch(() => {});
  return work;
}

async function strike({ id, at }: Step & Kill, processes: Processes): Promise<void> {
  const deadline = performance.now() + TRAP_WAIT_MS;
  if ("point" in at) processes.arm({ id, ...at });
  const done = () => ("point" in at ? processes.sprung(id) : processes.kill(at.slot));
  while (!done() && performance.now() < deadline) await sleep(50);
}

async function letTimePass({ db }: World, over: AbortSignal): Promise<void> {
  while (!over.aborted) {
    // The database may be away; then no time passes either.
    await passTime(db, RESERVED_FOR_MS, SILENT_FOR_MS, STREAM_LEASE_MS).catch(() => {});
    await sleep(TIME_PASSES_EVERY_MS, undefined, { signal: over }).catch(() => {});
  }
}

async function fail(fault: Fault, world: World, processes: Processes): Promise<void> {
  switch (fault.kind) {
    case "postgres":
      return world.crashPostgres(fault.how);
    case "stall":
      return world.stall(fault.forMs);
    case "reorg":
      return world.reorg(fault.depthMs, (_raw, ours, index) => !ours || fault.comesBack === "all" || (fault.comesBack === "half of ours" && index % 2 === 0));
    case "freeze":
      return freeze(fault, world, processes);
    case "rpc":
      if (fault.how !== "stale") return world.faulty.fail({ method: fault.method, kind: fault.how, times: fault.times, delayMs: 700 });
      return world.faulty.fail({ method: fault.method, kind: "lie", times: fault.times, lie: fault.method === "eth_blockNumber" ? older : () => null });
  }
}

const older = (head: unknown) => numberToHex(BigInt(String(head)) > 3n ? BigInt(String(head)) - 3n : 0n);

/** Its leases run out while it cannot know; then it goes on as if nothing had been. */
async function freeze({ slot, forMs }: Extract<Fault, { kind: "freeze" }>, { db }: World, processes: Processes): Promise<void> {
  processes.signal(slot, "SIGSTOP");
  await sleep(forMs);
  // It may have stopped inside a transaction that holds the very rows; then they are its until it goes on.
  const passed = passTime(db, 0, 0, STREAM_LEASE_MS).catch(() => {});
  await Promise.race([passed, sleep(FROZEN_MOST_MS)]);
  await sleep(300);
  processes.signal(slot, "SIGCONT");
  await passed;
}
