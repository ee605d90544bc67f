// Carries out what a plan says: kills, and everything around the relayer that fails.
import { setTimeout as sleep } from "node:timers/promises";
import { numberToHex } from "viem";
import { passTime } from "./ledger.ts";
import type { Fault, Kill, Plan } from "./plan.ts";
import type { Processes } from "./processes.ts";
import type { World } from "./world.ts";

/** Ages at which a lease is taken for run out while a round goes on: well above what a healthy call takes. */
const RESERVED_FOR_MS = 2_500;
const SILENT_FOR_MS = 3_000;
/** streams/service.ts leaseMsOf for the services of a round. */
export const STREAM_LEASE_MS = 26_000;
const TIME_PASSES_EVERY_MS = 300;

/** Returns when the last of it is over. @throws when the world itself broke. */
export async function carryOut(plan: Plan, world: World, processes: Processes, over: AbortSignal): Promise<void> {
  const began = performance.now();
  const at = async (atMs: number, work: () => Promise<void> | void) => {
    await sleep(Math.max(0, atMs - (performance.now() - began)), undefined, { signal: over }).catch(() => {});
    if (!over.aborted) await work();
  };
  const time = letTimePass(world, over);
  await Promise.all([...plan.kills.map((kill) => at(kill.atMs, () => strike(kill, processes, over))), ...plan.faults.map((fault) => at(fault.atMs, () => fail(fault, world, processes)))]);
  await time;
}

async function strike({ id, at }: Kill, processes: Processes, over: AbortSignal): Promise<void> {
  if ("point" in at) return processes.arm({ id, ...at });
  while (!over.aborted && !processes.kill(at.slot)) await sleep(100);
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
  await passTime(db, 0, 0, STREAM_LEASE_MS).catch(() => {});
  await sleep(300);
  processes.signal(slot, "SIGCONT");
}
