// Keeps a report: its JSON and chart in bench/results, and the tables of docs/PERFORMANCE.md that are made of them.
import { writeFile } from "node:fs/promises";
import { chartSvg } from "./chart.ts";
import { chartOf } from "./charts.ts";
import { writeTables } from "./docs.ts";
import { progress, type Report } from "./report.ts";

export const RESULTS = new URL("./results/", import.meta.url);

export async function save(report: Report): Promise<void> {
  await writeFile(new URL(`${report.bench}.json`, RESULTS), `${JSON.stringify(report, null, 2)}\n`);
  const chart = chartOf(report);
  if (chart !== undefined) await writeFile(new URL(`${report.bench}.svg`, RESULTS), chartSvg(chart));
  await writeTables();
  progress(`kept: bench/results/${report.bench}.json, its chart and the tables of docs/PERFORMANCE.md`);
}
