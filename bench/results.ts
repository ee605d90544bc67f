// Keeps a report: JSON and chart in bench/results, and the tables of docs/PERFORMANCE.md that are made of them.
import { writeFile } from "node:fs/promises";
import type { Report } from "./report.ts";

export const RESULTS = new URL("./results/", import.meta.url);

export async function save(report: Report): Promise<void> {
  await writeFile(new URL(`${report.bench}.json`, RESULTS), `${JSON.stringify(report, null, 2)}\n`);
}
