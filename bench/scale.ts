// `bench -- scale`: the load of `paid` on 1, 2 and 4 relayer processes over one database. Every process serves every channel:
// requests go round the processes, so what one charged the next continues.
import { CHANNELS, PLAN, QUICK, requireAgreement, startClient, told } from "./load/compare.ts";
import { toldMachine } from "./load/comparison.ts";
import { factsOf, type Facts } from "./load/facts.ts";
import { measure, medianRow, settleAndCompare, type Row, type Sums } from "./load/measure.ts";
import { checkOptions, numberOf } from "./load/options.ts";
import { divideCores } from "./load/processes.ts";
import { startTallystick } from "./load/servers.ts";
import { startBenchWorld } from "./load/world.ts";
import { columns, progress, type Report } from "./report.ts";
import { save } from "./results.ts";

const PROCESSES = [1, 2, 4];

export type ScaleReport = Report & Facts & { rows: Row[]; sums: Sums[]; notes: string[] };

export async function run(args: string[]): Promise<Report> {
  checkOptions(args);
  const quick = args.includes("--quick");
  const rounds = numberOf(args, "--rounds") ?? (quick ? 1 : 3);
  const measured = [];
  for (const processes of PROCESSES) measured.push(await runWith(processes, rounds, quick));
  const facts = measured[0]!.facts;
  const notes = measured.map(({ note }) => note);
  const report: ScaleReport = { bench: "scale", ...facts, command: `npm run -s bench -- ${["scale", ...args].join(" ")}`, rows: measured.map(({ row }) => row), sums: measured.map(({ sums }) => sums), notes };
  if (args.includes("--save")) await save(report);
  return report;
}

async function runWith(processes: number, rounds: number, quick: boolean) {
  const plan = quick ? QUICK : PLAN;
  const cores = divideCores(processes);
  const world = await startBenchWorld(cores.others, quick);
  const running: { stop(): Promise<void> }[] = [];
  try {
    const server = await startTallystick({ world, cores, channels: CHANNELS });
    running.push(server);
    const client = await startClient(world, cores.others);
    running.push(client);
    const requests = plan.paid.at(-1)!.requests.tallystick;
    const load = { route: "paid", inFlight: CHANNELS, requests, warmUp: CHANNELS, receipts: plan.receipts } as const;
    await measure(world, client, server, { ...load, requests: CHANNELS, warmUp: plan.warmUp.tallystick });
    const rows: Row[] = [];
    for (let round = 0; round < rounds; round++) {
      rows.push(await measure(world, client, server, load));
      progress(`${processes} process(es), round ${round + 1}, ${told(rows.at(-1)!)}`);
    }
    const sums = await settleAndCompare(server);
    requireAgreement([sums]);
    return { row: medianRow(rows), sums, note: cores.note, facts: await factsOf(world, cores, []) };
  } finally {
    await Promise.all(running.map((part) => part.stop()));
    await world.stop();
  }
}

export function table(report: Report): string {
  const { rows, notes, machine, commit } = report as ScaleReport;
  const head = ["processes", "in flight", "n", "req/s", "p50 ms", "p99 ms", "CPU ms/req", "PostgreSQL CPU ms/req"];
  const lines = rows.map((row) => [String(row.processes), row.inFlight, row.n, Math.round(row.rps), row.p50Ms, row.p99Ms, row.cpuMsPerRequest, row.postgresCpuMsPerRequest ?? ""]);
  return [columns([head, ...lines]), "", ...notes, toldMachine(machine, commit)].join("\n");
}
