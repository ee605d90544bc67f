// `bench -- growth`: does it matter how many channels the ledger holds? The same 64 channels are paid from while a thousand, a
// hundred thousand and a million others lie in the same tables, each with a payment.
import { dueChannels, richPayees } from "../relayer/src/capabilities/settlement/due-store.ts";
import { openPool, type Db } from "../relayer/src/db/pool.ts";
import { CHANNELS, PLAN, QUICK, startClient, told } from "./load/compare.ts";
import { toldMachine } from "./load/comparison.ts";
import { factsOf, type Facts } from "./load/facts.ts";
import { databaseBytes, readLedger, seedChannels } from "./load/ledger-store.ts";
import { measure, medianRow, type Row } from "./load/measure.ts";
import { checkOptions, numberOf } from "./load/options.ts";
import { divideCores, type Cores, type Part } from "./load/processes.ts";
import { PRICE, startTallystick, sum, type LoadServer, type Opened } from "./load/servers.ts";
import { startBenchWorld, type World } from "./load/world.ts";
import { columns, progress, type Report } from "./report.ts";
import { save } from "./results.ts";

const SIZES = [1_000, 100_000, 1_000_000];
const QUICK_SIZES = [100, 1_000, 5_000];
/** Channels with something to claim, the same at every size: what is measured is the search for them. */
const UNCLAIMED = 100;
/** Unclaimed by which a receiver counts as owed much, atomic units: the default of the relayer. */
const RICH = 5_000_000n;

export type GrowthRow = Row & {
  /** In the ledger, with their payments. */
  channels: number;
  /** From the start of the process to its first answer. */
  startMs: number;
  /** What settlement asks in every pass: who is owed much, and which channels are due. Median of five. */
  dueMs: number;
  dueRows: number;
  databaseMiB: number;
  seedSeconds: number;
};
export type GrowthReport = Report & Facts & { rows: GrowthRow[] };

type Bench = { world: World; cores: Cores; client: Part; databaseUrl: string; db: Db; opened: Opened; quick: boolean; rounds: number };

export async function run(args: string[]): Promise<Report> {
  checkOptions(args);
  const quick = args.includes("--quick");
  const cores = divideCores(1);
  const world = await startBenchWorld(cores.others, quick);
  const databaseUrl = await world.postgres.database("bench_growth", { fresh: true });
  const db = openPool(databaseUrl, 2);
  const running: { stop(): Promise<void> }[] = [];
  try {
    // A first start migrates and begins to follow the chain; what it would then read again is what it knew before.
    const first = await startTallystick({ world, cores, channels: CHANNELS, databaseUrl });
    await first.stop();
    const client = await startClient(world, cores.others);
    running.push(client);
    const bench: Bench = { world, cores, client, databaseUrl, db, opened: { terms: first.terms, channels: first.channels }, quick, rounds: numberOf(args, "--rounds") ?? (quick ? 1 : 3) };
    const rows: GrowthRow[] = [];
    for (const size of quick ? QUICK_SIZES : SIZES) rows.push(await measureAt(bench, size, rows.at(-1)?.channels ?? 0));
    const report: GrowthReport = { bench: "growth", ...(await factsOf(world, cores, ["growth", ...args])), rows };
    if (args.includes("--save")) await save(report);
    return report;
  } finally {
    await Promise.all(running.map((part) => part.stop()));
    await db.end();
    await world.stop();
  }
}

async function measureAt(bench: Bench, size: number, before: number): Promise<GrowthRow> {
  const { world, cores, client, databaseUrl, db, opened, quick, rounds } = bench;
  const plan = quick ? QUICK : PLAN;
  progress(`${size} channels: seeding`);
  const seeding = performance.now();
  const { receiver, receiverAuthorizer, token } = opened.channels[0]!.config;
  await seedChannels(db, { from: before + 1, to: size, unclaimed: UNCLAIMED, receiver, receiverAuthorizer, token, price: PRICE });
  const seedSeconds = Math.round((performance.now() - seeding) / 100) / 10;
  const starting = performance.now();
  const server = await startTallystick({ world, cores, channels: CHANNELS, databaseUrl, opened });
  try {
    await fetch(server.origins[0]! + server.freePath);
    const startMs = Math.round(performance.now() - starting);
    const load = { route: "paid", inFlight: CHANNELS, requests: plan.paid.at(-1)!.requests.tallystick, warmUp: CHANNELS, receipts: plan.receipts } as const;
    await measure(world, client, server, { ...load, requests: CHANNELS, warmUp: plan.warmUp.tallystick });
    const measured: Row[] = [];
    for (let round = 0; round < rounds; round++) {
      measured.push(await measure(world, client, server, load));
      progress(`${size} channels, round ${round + 1}, ${told(measured.at(-1)!)}, ${measured.at(-1)!.rssMiB} MiB`);
    }
    const due = await timeDue(db);
    await requireCharged(db, server);
    const databaseMiB = Math.round(Number(await databaseBytes(db)) / 2 ** 20);
    return { ...medianRow(measured), channels: size, startMs, ...due, databaseMiB, seedSeconds };
  } finally {
    await server.stop();
  }
}

async function timeDue(db: Db): Promise<{ dueMs: number; dueRows: number }> {
  const times: number[] = [];
  let dueRows = 0;
  for (let attempt = 0; attempt < 5; attempt++) {
    const [started, now] = [performance.now(), new Date()];
    dueRows = (await dueChannels(db, now, now, await richPayees(db, RICH, RICH))).length;
    times.push(performance.now() - started);
  }
  return { dueMs: Math.round(times.toSorted((a, b) => a - b)[2]! * 100) / 100, dueRows };
}

/** @throws when the ledger did not charge what was signed: no figure of such a run may be shown. */
async function requireCharged(db: Db, { channels }: LoadServer): Promise<void> {
  const { charged, reserved } = await readLedger(db, channels.map(({ channelId }) => channelId));
  const signed = sum(channels.map((channel) => channel.signed));
  const total = sum(charged.values());
  if (total !== signed || reserved !== 0n) throw new Error(`signed ${signed}, charged ${total}, still reserved ${reserved}`);
}

export function table(report: Report): string {
  const { rows, machine, commit } = report as GrowthReport;
  const head = ["channels", "n", "req/s", "p50 ms", "p99 ms", "CPU ms/req", "PostgreSQL CPU ms/req", "RSS MiB", "start ms", "due ms", "rows", "database MiB", "seed s"];
  const lines = rows.map((row) => [row.channels.toLocaleString("en-US"), row.n, Math.round(row.rps), row.p50Ms, row.p99Ms, row.cpuMsPerRequest, row.postgresCpuMsPerRequest ?? "", row.rssMiB, row.startMs, row.dueMs, row.dueRows, row.databaseMiB, row.seedSeconds]);
  return [columns([head, ...lines]), "", toldMachine(machine, commit)].join("\n");
}
