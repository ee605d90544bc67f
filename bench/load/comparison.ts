// A whole benchmark of ours beside the peer: world, servers, load, sums, report. `paid` and `gateway` differ in the work that is sold.
import { writeFlame } from "../flame.ts";
import { columns, progress, type Report } from "../report.ts";
import { save } from "../results.ts";
import { CHANNELS, compare, PLAN, QUICK, requireAgreement, startClient } from "./compare.ts";
import { factsOf, type Facts } from "./facts.ts";
import { measure, type Row, type Sums } from "./measure.ts";
import { checkOptions, narrowed, valueOf } from "./options.ts";
import { divideCores, type Part } from "./processes.ts";
import { profileTo, startStock, startTallystick, startUpstream, type LoadServer } from "./servers.ts";
import { startBenchWorld, type World } from "./world.ts";

export type ComparisonReport = Report & Facts & { rows: Row[]; rounds: Row[]; sums: Sums[]; ratio: number | null };

/** @param upstream true when calls are passed on to a server of their own, false when a function of the server answers. */
export async function runComparison(bench: string, args: string[], { upstream }: { upstream: boolean }): Promise<ComparisonReport> {
  checkOptions(args);
  const quick = args.includes("--quick");
  const plan = narrowed(quick ? QUICK : PLAN, args);
  const cores = divideCores(1);
  const world = await startBenchWorld(cores.others, quick);
  const running: { stop(): Promise<void> }[] = [];
  try {
    progress("starting the servers and opening their channels");
    const behind = upstream ? await startUpstream(world, cores.others) : undefined;
    if (behind !== undefined) running.push(behind);
    const logLevel = valueOf(args, "--log-level");
    const env: Record<string, string> = logLevel === undefined ? {} : { RELAYER_LOG_LEVEL: logLevel };
    const options = { world, cores, channels: CHANNELS, ...(behind === undefined ? {} : { upstream: behind.ready as string }), env };
    const servers = [await startTallystick(options)];
    running.push(servers[0]!);
    if (!args.includes("--ours")) servers.push(await startStock(options));
    running.push(...servers.slice(1));
    const client = await startClient(world, cores.others);
    running.push(client);
    const compared = await compare(world, client, servers, plan);
    requireAgreement(compared.sums);
    if (args.includes("--profile")) await profile(world, client, servers[0]!, valueOf(args, "--label") ?? bench);
    const report: ComparisonReport = { bench, ...(await factsOf(world, cores, [bench, ...args])), ...compared, ratio: ratioAt(compared.rows, CHANNELS) };
    if (args.includes("--save")) await save(report);
    return report;
  } finally {
    await Promise.all(running.map((part) => part.stop()));
    await world.stop();
  }
}

/** Ours to the peer's, paid calls a second; null when one of them was left out. */
export function ratioAt(rows: Row[], inFlight: number): number | null {
  const rps = (server: Row["server"]) => rows.find((row) => row.server === server && row.route === "paid" && row.inFlight === inFlight)?.rps;
  const [ours, stock] = [rps("tallystick"), rps("stock")];
  return ours === undefined || stock === undefined ? null : Math.round((ours / stock) * 100) / 100;
}

const PROFILED_CALLS = 10_000;

async function profile(world: World, client: Part, server: LoadServer, label: string): Promise<void> {
  const file = `${world.folder}/${label}.cpuprofile`;
  await server.parts[0]!.ask("startProfile");
  const row = await measure(world, client, server, { route: "paid", inFlight: CHANNELS, requests: PROFILED_CALLS, warmUp: CHANNELS, receipts: 0 });
  await server.parts[0]!.ask("stopProfile", file);
  await writeFlame(file, profileTo(`flame-${label}.svg`), `relayer, ${row.n} paid calls, ${CHANNELS} in flight`);
  progress(`flame graph: bench/results/flame-${label}.svg`);
}

export function comparisonTable(report: Report): string {
  const { rows, sums, ratio, machine, commit, pinning } = report as ComparisonReport;
  const head = ["server", "route", "in flight", "n", "req/s", "p50 ms", "p99 ms", "CPU ms/req", "PostgreSQL CPU ms/req", "client CPU ms/req"];
  const lines = rows.map((row) => [row.server, row.route, row.inFlight, row.n, Math.round(row.rps), row.p50Ms, row.p99Ms, row.cpuMsPerRequest, row.postgresCpuMsPerRequest ?? "", row.clientCpuMsPerRequest]);
  const added = sums.map((one) => `${one.server}: ${one.signedAtomic} signed = ${one.chargedAtomic} charged = ${one.claimedAtomic} claimed = ${one.paidOutAtomic} paid out`);
  return [columns([head, ...lines]), "", ...added, ...(ratio === null ? [] : [`ratio at ${CHANNELS} in flight: ${ratio}`]), pinning, toldMachine(machine, commit)].join("\n");
}

export function toldMachine(machine: Facts["machine"], commit: string): string {
  const { processor, cores, memoryGiB, node, fsyncMs, loadAverage1Minute } = machine;
  return `${processor}, ${cores} cores, ${memoryGiB} GiB, node ${node}, fsync ${fsyncMs} ms, load average before ${loadAverage1Minute}, commit ${commit}`;
}
