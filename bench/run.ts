// `npm run -s bench -- <name> [--json] [options of the bench]`: runs one benchmark and prints its table, or with --json
// one JSON object as the only line on stdout.
import type { Bench } from "./report.ts";

const benches: Record<string, () => Promise<Bench>> = {
  crypto: () => import("./crypto.ts"),
  gas: () => import("./gas.ts"),
  "mandate-gas": () => import("./mandate-gas.ts"),
  "job-gas": () => import("./job-gas.ts"),
  "verdict-cost": () => import("./verdict-cost.ts"),
  "bazaar-gas": () => import("./bazaar-gas.ts"),
  exact: () => import("./exact.ts"),
  paid: () => import("./paid.ts"),
  scale: () => import("./scale.ts"),
  gateway: () => import("./gateway.ts"),
  growth: () => import("./growth.ts"),
  firewall: () => import("./firewall.ts"),
  sybil: () => import("./sybil.ts"),
  discover: () => import("./discover.ts"),
  docs: () => import("./docs.ts"),
};

const [name, ...args] = process.argv.slice(2);
const load = name === undefined ? undefined : benches[name];
if (load === undefined) {
  process.stderr.write(`usage: npm run -s bench -- <${Object.keys(benches).join(" | ")}> [--json]\n`);
  process.exit(2);
}

// What was started ends with this process, but only one that ends by itself tells it to.
for (const signal of ["SIGINT", "SIGTERM"]) process.once(signal, () => process.exit(1));

const bench = await load();
const report = await bench.run(args.filter((arg) => arg !== "--json"));
process.stdout.write(`${args.includes("--json") ? JSON.stringify(report) : bench.table(report)}\n`);
