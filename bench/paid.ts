// `bench -- paid`: what one core serves of paid calls, durable, beside the stock server at its best. See docs/PERFORMANCE.md.
//
//   --json           one JSON object on stdout       --save          keep it: bench/results, docs/PERFORMANCE.md
//   --quick          a few hundred calls             --ours          without the peer, for tuning
//   --rounds <n>     instead of three                --in-flight <n> only that level
//   --log-level <l>  instead of the default          --profile       also bench/results/flame-<label>.svg, --label <name>
import { comparisonTable, runComparison } from "./load/comparison.ts";
import type { Report } from "./report.ts";

export const run = (args: string[]): Promise<Report> => runComparison("paid", args, { upstream: false });
export const table = comparisonTable;
