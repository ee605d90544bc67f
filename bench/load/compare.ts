// Ours and the peer under the same load in the same run: alternating order, median of the rounds, sums compared at the end.
import { join } from "node:path";
import { progress } from "../report.ts";
import { measure, medianRow, settleAndCompare, type Load, type Row, type Sums } from "./measure.ts";
import { startPart, type Part } from "./processes.ts";
import type { LoadServer } from "./servers.ts";
import type { World } from "./world.ts";

export type Plan = {
  rounds: number;
  /** Requests of a measured run, by server and in flight. */
  paid: { inFlight: number; requests: Record<LoadServer["name"], number> }[];
  /** The free route at the highest level, to see what the client and the bare server can do; 0 leaves it out. */
  freeRequests: number;
  /** Before the first measured run of a server, so that its code is compiled. */
  warmUp: Record<LoadServer["name"], number>;
  receipts: number;
};

export const CHANNELS = 64;

export const PLAN: Plan = {
  rounds: 3,
  paid: [
    { inFlight: 1, requests: { tallystick: 2_000, stock: 300 } },
    { inFlight: 8, requests: { tallystick: 10_000, stock: 1_000 } },
    { inFlight: 64, requests: { tallystick: 20_000, stock: 2_000 } },
  ],
  freeRequests: 20_000,
  warmUp: { tallystick: 8_000, stock: 500 },
  receipts: 200,
};

export const QUICK: Plan = {
  rounds: 1,
  paid: [
    { inFlight: 1, requests: { tallystick: 64, stock: 32 } },
    { inFlight: 8, requests: { tallystick: 256, stock: 64 } },
    { inFlight: 64, requests: { tallystick: 640, stock: 128 } },
  ],
  freeRequests: 640,
  warmUp: { tallystick: 128, stock: 64 },
  receipts: 20,
};

export type Compared = { rows: Row[]; rounds: Row[]; sums: Sums[] };

export async function startClient(world: World, cores: string | undefined): Promise<Part> {
  return startPart({ script: "./client.ts", options: {}, cores, logFile: join(world.folder, "client.log") });
}

export async function compare(world: World, client: Part, servers: LoadServer[], plan: Plan): Promise<Compared> {
  for (const server of servers) {
    progress(`${server.name}: warming up`);
    await measure(world, client, server, { route: "paid", inFlight: CHANNELS, requests: CHANNELS, warmUp: plan.warmUp[server.name], receipts: 0 });
  }
  const rounds: Row[] = [];
  for (let round = 0; round < plan.rounds; round++) {
    for (const server of round % 2 === 0 ? servers : servers.toReversed()) {
      for (const load of loadsOf(plan, server.name)) {
        const row = await measure(world, client, server, load);
        rounds.push(row);
        progress(`round ${round + 1} of ${plan.rounds}, ${told(row)}`);
      }
    }
  }
  const kinds = Map.groupBy(rounds, (row) => `${row.server} ${row.route} ${row.inFlight}`);
  const sums: Sums[] = [];
  for (const server of servers) {
    progress(`${server.name}: claiming on chain`);
    sums.push(await settleAndCompare(server));
  }
  return { rows: [...kinds.values()].map(medianRow), rounds, sums };
}

function loadsOf(plan: Plan, name: LoadServer["name"]): Load[] {
  const paid = plan.paid.map(({ inFlight, requests }): Load => ({ route: "paid", inFlight, requests: requests[name], warmUp: CHANNELS, receipts: plan.receipts }));
  const bare: Load[] = name === "tallystick" ? paid.slice(-1).map((load) => ({ ...load, route: "paid, no receipt" })) : [];
  const free: Load = { route: "free", inFlight: CHANNELS, requests: plan.freeRequests, warmUp: CHANNELS, receipts: 0 };
  return [...paid, ...bare, ...(plan.freeRequests === 0 ? [] : [free])];
}

export function told(row: Row): string {
  return `${row.server} ${row.route} with ${row.inFlight} in flight: ${Math.round(row.rps)}/s, p50 ${row.p50Ms} ms, p99 ${row.p99Ms} ms, CPU ${row.cpuMsPerRequest} ms`;
}

/** @throws when the money does not add up: no figure of such a run may be shown. */
export function requireAgreement(sums: Sums[]): void {
  const wrong = sums.filter(({ agree }) => !agree);
  if (wrong.length > 0) throw new Error(`signed, charged and claimed differ: ${JSON.stringify(wrong)}`);
}
