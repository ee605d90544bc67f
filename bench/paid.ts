// `bench -- paid`: what one core serves of paid calls, durable, against the stock server at its best. See docs/PERFORMANCE.md.
//
//   --json     one JSON object on stdout        --save     write bench/results/paid.json and its chart
//   --quick    a few hundred calls              --ours     without the peer, for tuning
//   --profile  also write a flame graph of our server at 64 in flight (bench/results/flame-<label>.svg; --label <name>)
import { CHANNELS, compare, PLAN, QUICK, requireAgreement, startClient } from "./load/compare.ts";
import { factsOf } from "./load/facts.ts";
import { measure, type Row, type Sums } from "./load/measure.ts";
import { divideCores } from "./load/processes.ts";
import { profileTo, startStock, startTallystick, type LoadServer } from "./load/servers.ts";
import { startBenchWorld, type World } from "./load/world.ts";
import { writeFlame } from "./flame.ts";
import { columns, progress, type Report } from "./report.ts";
import { save } from "./results.ts";

export type PaidReport = Report & { bench: "paid"; rows: Row[]; rounds: Row[]; sums: Sums[]; ratio: number | null };

export async function run(args: string[]): Promise<PaidReport> {
  const plan = args.includes("--quick") ? QUICK : PLAN;
  const cores = divideCores(1);
  const world = await startBenchWorld(cores.others);
  const running: LoadServer[] = [];
  try {
    progress("starting the servers and opening their channels");
    const options = { world, cores, channels: CHANNELS };
    const ours = await startTallystick(options);
    running.push(ours);
    if (!args.includes("--ours")) running.push(await startStock(options));
    const client = await startClient(world, cores.others);
    const compared = await compare(world, client, running, plan);
    requireAgreement(compared.sums);
    if (args.includes("--profile")) await profile(world, client, ours, args);
    await client.stop();
    const report: PaidReport = { bench: "paid", ...(await factsOf(world, cores, ["paid", ...args])), ...compared, ratio: ratioAt(compared.rows, CHANNELS) };
    if (args.includes("--save")) await save(report);
    return report;
  } finally {
    await Promise.all(running.map((server) => server.stop()));
    await world.stop();
  }
}

/** Ours to the peer's, paid calls a second; null when the peer was left out. */
export function ratioAt(rows: Row[], inFlight: number): number | null {
  const rps = (server: Row["server"]) => rows.find((row) => row.server === server && row.route === "paid" && row.inFlight === inFlight)?.rps;
  const [ours, stock] = [rps("tallystick"), rps("stock")];
  return ours === undefined || stock === undefined ? null : Math.round((ours / stock) * 100) / 100;
}

async function profile(world: World, client: Parameters<typeof measure>[1], server: LoadServer, args: string[]): Promise<void> {
  const label = args[args.indexOf("--label") + 1];
  const name = args.includes("--label") && label !== undefined ? label : "paid";
  const file = `${world.folder}/${name}.cpuprofile`;
  await server.parts[0]!.ask("startProfile");
  const row = await measure(world, client, server, { route: "paid", inFlight: CHANNELS, requests: 10_000, warmUp: CHANNELS, receipts: 0 });
  await server.parts[0]!.ask("stopProfile", file);
  await writeFlame(file, profileTo(`flame-${name}.svg`), `relayer, ${row.n} paid calls, ${CHANNELS} in flight`);
  progress(`flame graph: bench/results/flame-${name}.svg`);
}

export function table(report: Report): string {
  const { rows, sums, ratio, ...facts } = report as PaidReport;
  const head = ["server", "route", "in flight", "n", "req/s", "p50 ms", "p99 ms", "CPU ms/req", "PostgreSQL CPU ms/req", "client CPU ms/req"];
  const lines = rows.map((row) => [row.server, row.route, row.inFlight, row.n, Math.round(row.rps), row.p50Ms, row.p99Ms, row.cpuMsPerRequest, row.postgresCpuMsPerRequest ?? "", row.clientCpuMsPerRequest]);
  const told = sums.map((one) => `${one.server}: ${one.signedAtomic} signed = ${one.chargedAtomic} charged = ${one.claimedAtomic} claimed = ${one.paidOutAtomic} paid out`);
  return [columns([head, ...lines]), "", ...told, ...(ratio === null ? [] : [`ratio at ${CHANNELS} in flight: ${ratio}`]), String(facts["pinning"]), `${JSON.stringify(facts["machine"])} ${String(facts["commit"])}`].join("\n");
}
