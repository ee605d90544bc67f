// `bench -- gateway`: as `paid`, with a real upstream behind both: our gateway, and the stock middleware before a handler that fetches.
import { comparisonTable, runComparison } from "./load/comparison.ts";
import type { Report } from "./report.ts";

export const run = (args: string[]): Promise<Report> => runComparison("gateway", args, { upstream: true });
export const table = comparisonTable;
