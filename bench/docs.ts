// The tables of docs/PERFORMANCE.md, made from bench/results: never by hand, so never stale. `--save` of any benchmark writes them,
// `npm run -s bench -- docs` too; a test compares.
import { readFile, writeFile } from "node:fs/promises";
import { SERVER_NAMES } from "./charts.ts";
import { payoutTable } from "./gas-payouts.ts";
import { discoverTable, type DiscoverReport } from "./discover.ts";
import { firewallTable, type FirewallReport } from "./firewall.ts";
import type { GrowthReport } from "./growth.ts";
import type { ComparisonReport } from "./load/comparison.ts";
import type { Facts } from "./load/facts.ts";
import type { Report } from "./report.ts";
import type { ScaleReport } from "./scale.ts";

const PAGE = new URL("../docs/PERFORMANCE.md", import.meta.url);
const RESULTS = new URL("./results/", import.meta.url);
const BLOCK = /<!-- bench:([a-z]+) -->\n[\s\S]*?<!-- \/bench:\1 -->/g;

const TABLES: Record<string, (report: never) => string[]> = { paid: comparison, gateway: comparison, scale, growth, exact, gas, firewall, discover };

/** The page with its tables as the results say. */
export async function withTables(page: string): Promise<string> {
  const names = [...page.matchAll(BLOCK)].map(([, name]) => name!);
  const made = new Map<string, string>();
  for (const name of names) made.set(name, await tableOf(name));
  return page.replace(BLOCK, (_block, name: string) => `<!-- bench:${name} -->\n${made.get(name)}\n<!-- /bench:${name} -->`);
}

export async function writeTables(): Promise<void> {
  await writeFile(PAGE, await withTables(await readFile(PAGE, "utf8")));
}

async function tableOf(name: string): Promise<string> {
  const text = await readFile(new URL(`${name}.json`, RESULTS), "utf8").catch(() => undefined);
  const make = TABLES[name];
  if (text === undefined || make === undefined) return `No result is kept; \`npm run -s bench -- ${name} --save\` makes one.`;
  return make(JSON.parse(text) as never).join("\n");
}

function markdown(head: string[], rows: (string | number)[][]): string[] {
  const line = (cells: (string | number)[]) => `| ${cells.map((cell) => (typeof cell === "number" ? shown(cell) : cell)).join(" | ")} |`;
  return [line(head), `|${head.map((_, column) => (column === 0 ? "---" : "---:")).join("|")}|`, ...rows.map(line)];
}

function shown(value: number): string {
  if (value === 0 || Math.abs(value) >= 100) return Math.round(value).toLocaleString("en-US");
  return String(Number(value.toPrecision(3)));
}

function told({ machine, commit, command, pinning, at, versions }: Facts): string[] {
  const { processor, cores, memoryGiB, node, fsyncMs, loadAverage1Minute } = machine;
  return [
    "",
    `\`${command}\` on ${at.slice(0, 10)}, commit ${commit}: ${processor}, ${cores} cores, ${memoryGiB} GiB, Node ${node}, PostgreSQL ${versions["postgres"]}, 8 kB to disk in ${fsyncMs} ms, load average before ${loadAverage1Minute}.`,
    ...(pinning === undefined ? [] : [`Cores: ${pinning}.`]),
  ];
}

function chart(name: string, alt: string): string[] {
  return [`![${alt}](../bench/results/${name}.svg)`, ""];
}

function comparison(report: ComparisonReport): string[] {
  const rows = report.rows.map((row) => [SERVER_NAMES[row.server]!, row.route, String(row.inFlight), row.rps, row.p50Ms, row.p99Ms, row.cpuMsPerRequest, row.postgresCpuMsPerRequest ?? "", row.n]);
  const sums = report.sums.map((one) => `${SERVER_NAMES[one.server]}: ${BigInt(one.signedAtomic).toLocaleString("en-US")} signed = charged = claimed on chain = paid out, over ${one.channels} channels.`);
  return [
    ...chart(report.bench, `requests a second, p99 and CPU of ${report.bench}`),
    ...markdown(["server", "route", "in flight", "requests/s", "p50 ms", "p99 ms", "CPU ms/request", "PostgreSQL CPU ms/request", "requests a run"], rows),
    "",
    ...(report.ratio === null ? [] : [`**${report.ratio} times** the stock server's paid calls a second at 64 in flight. Medians of ${roundsOf(report)}, order alternating.`]),
    `Atomic units after the run: ${sums.join(" ")}`,
    ...told(report),
  ];
}

function roundsOf({ rounds, rows }: ComparisonReport): string {
  const count = rounds.length / rows.length;
  return count === 1 ? "one round" : `${count} rounds`;
}

function scale(report: ScaleReport): string[] {
  const rows = report.rows.map((row, index) => [String(row.processes), row.rps, row.p50Ms, row.p99Ms, row.cpuMsPerRequest, row.postgresCpuMsPerRequest ?? "", report.notes[index] ?? ""]);
  return [...chart("scale", "requests a second over relayer processes"), ...markdown(["relayer processes", "requests/s", "p50 ms", "p99 ms", "CPU ms/request", "PostgreSQL CPU ms/request", "cores"], rows), ...told({ ...report, pinning: undefined as never })];
}

function growth(report: GrowthReport): string[] {
  const rows = report.rows.map((row) => [row.channels.toLocaleString("en-US"), row.rps, row.p50Ms, row.p99Ms, row.cpuMsPerRequest, row.rssMiB, row.startMs, row.dueMs, row.databaseMiB]);
  return [...chart("growth", "the same load beside more channels"), ...markdown(["channels in the ledger", "requests/s", "p50 ms", "p99 ms", "CPU ms/request", "RSS MiB", "start ms", "due ms", "database MiB"], rows), ...told(report)];
}

type ExactReport = Facts & { rows: { server: string; what: string; inFlight: number; rps: number; p50Ms: number; p99Ms: number; cpuMsPerRequest: number; n: number }[]; ratio: Record<string, number | null> };

function exact(report: ExactReport): string[] {
  const rows = report.rows.map((row) => [SERVER_NAMES[row.server]!, row.what, String(row.inFlight), row.rps, row.p50Ms, row.p99Ms, row.cpuMsPerRequest, row.n]);
  const ratios = Object.entries(report.ratio).filter(([, ratio]) => ratio !== null).map(([what, ratio]) => `${what} **${ratio} times** the stock facilitator's`);
  return [...chart("exact", "verifications and settlements a second"), ...markdown(["server", "what", "in flight", "requests/s", "p50 ms", "p99 ms", "CPU ms/request", "requests a run"], rows), "", ...(ratios.length === 0 ? [] : [`At 64 in flight: ${ratios.join(", ")}.`]), ...told(report)];
}

function firewall(report: FirewallReport): string[] {
  const [head, ...rows] = firewallTable(report);
  return [
    ...markdown(head as string[], rows), "",
    `In the background the audit log takes ${report.auditWriterUsAnEntry} us of processor time an entry.`, "",
    `\`${report.command}\` on ${report.at.slice(0, 10)}, commit ${report.commit}: ${report.machine}.`,
  ];
}

function discover(report: DiscoverReport): string[] {
  const [head, ...rows] = discoverTable(report);
  return [
    `All questions, one at a time: p50 ${report.p50Ms} ms, p99 ${report.p99Ms} ms.`, "",
    ...markdown(head as string[], rows), "",
    `\`${report.command}\` on ${report.at.slice(0, 10)}, commit ${report.commit}: ${report.machine}.`,
  ];
}

function gas(snapshot: Record<string, number>): string[] {
  return [...chart("gas", "gas and L1 bytes a row by the shape of a batch"), ...payoutTable(snapshot)];
}

// ------------------------------------------------------------------ as a bench of its own

export async function run(): Promise<Report> {
  await writeTables();
  return { bench: "docs", written: "docs/PERFORMANCE.md" };
}

export const table = (report: Report): string => `written: ${String(report["written"])}`;
