// Which chart shows which report.
import type { Chart, Panel } from "./chart.ts";
import type { ComparisonReport } from "./load/comparison.ts";
import type { Facts } from "./load/facts.ts";
import type { Row } from "./load/measure.ts";
import type { GrowthReport } from "./growth.ts";
import type { Report } from "./report.ts";
import type { ScaleReport } from "./scale.ts";

const CHARTS: Record<string, (report: never) => Chart> = { paid: comparisonChart, gateway: comparisonChart, scale: scaleChart, growth: growthChart, exact: exactChart };

/** Undefined for a report that is kept as numbers only. */
export function chartOf(report: Report): Chart | undefined {
  return CHARTS[report.bench]?.(report as never);
}

/** Names in charts and tables. */
export const SERVER_NAMES: Record<string, string> = { tallystick: "Tallystick", stock: "stock x402" };
const TITLES: Record<string, string> = { paid: "Paid calls, one core, work in the same process", gateway: "Paid calls, one core, a real upstream behind" };

function subtitleOf({ machine, commit }: Facts): string {
  return `${machine.processor}, ${machine.cores} cores, Node ${machine.node}, commit ${commit}`;
}

function comparisonChart(report: ComparisonReport): Chart {
  const paid = report.rows.filter((row) => row.route === "paid");
  const servers = [...new Set(paid.map((row) => row.server))];
  const levels = [...new Set(paid.map((row) => row.inFlight))];
  const panel = (title: string, figure: "rps" | "p50Ms" | "p99Ms" | "cpuMsPerRequest"): Panel => ({
    title,
    axis: "requests in flight",
    groups: levels.map((inFlight) => ({ label: String(inFlight), values: servers.map((server) => paid.find((row) => row.server === server && row.inFlight === inFlight)?.[figure] ?? Number.NaN) })),
  });
  return {
    title: TITLES[report.bench] ?? report.bench,
    subtitle: subtitleOf(report),
    series: servers.map((server) => SERVER_NAMES[server]!),
    panels: [panel("Requests a second (more is better)", "rps"), panel("p99 latency, ms (less is better)", "p99Ms"), panel("Server CPU a request, ms (less is better)", "cpuMsPerRequest")],
  };
}

function scaleChart(report: ScaleReport): Chart {
  return {
    title: "Relayer processes over one PostgreSQL, 64 in flight",
    subtitle: subtitleOf(report),
    series: [SERVER_NAMES["tallystick"]!],
    panels: [
      panelOver(report.rows, "Paid calls a second (more is better)", "relayer processes", (row) => String(row.processes), (row) => row.rps),
      panelOver(report.rows, "p99 latency, ms (less is better)", "relayer processes", (row) => String(row.processes), (row) => row.p99Ms),
    ],
  };
}

function growthChart(report: GrowthReport): Chart {
  const panel = (title: string, value: (row: GrowthReport["rows"][number]) => number) => panelOver(report.rows, title, "channels in the ledger", (row) => row.channels.toLocaleString("en-US"), value);
  return {
    title: "A ledger that grows: the same load beside more and more channels",
    subtitle: subtitleOf(report),
    series: [SERVER_NAMES["tallystick"]!],
    panels: [
      panel("Paid calls a second", (row) => row.rps),
      panel("p99 latency, ms", (row) => row.p99Ms),
      panel("Memory of the relayer (RSS), MiB", (row) => row.rssMiB),
      panel("Settlement's search for what is due, ms", (row) => row.dueMs),
    ],
  };
}

type ExactRow = Pick<Row, "server" | "inFlight" | "rps"> & { what: string };

function exactChart(report: Facts & { rows: ExactRow[] }): Chart {
  const servers = [...new Set(report.rows.map((row) => row.server))];
  const levels = [...new Set(report.rows.map((row) => row.inFlight))];
  const panel = (what: string, title: string): Panel => ({
    title,
    axis: "requests in flight",
    groups: levels.map((inFlight) => ({ label: String(inFlight), values: servers.map((server) => report.rows.find((row) => row.what === what && row.server === server && row.inFlight === inFlight)?.rps ?? Number.NaN) })),
  });
  return {
    title: "Facilitator, scheme exact, one core",
    subtitle: subtitleOf(report),
    series: servers.map((server) => SERVER_NAMES[server]!),
    panels: [panel("verify", "Verifications a second (more is better)"), panel("settle", "Settlements a second (more is better)")],
  };
}

function panelOver<T>(rows: T[], title: string, axis: string, label: (row: T) => string, value: (row: T) => number): Panel {
  return { title, axis, groups: rows.map((row) => ({ label: label(row), values: [value(row)] })) };
}
