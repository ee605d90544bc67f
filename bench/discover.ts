// Searches over HTTP beside 10,000 services and 1,000,000 receipts: every form in which a question is asked, one at a time and eight at once.
// As deployed: a relayer that serves and one that works, each a process of its own; who asks is a third.
import { join } from "node:path";
import { readConfig } from "../relayer/src/config.ts";
import { openPool } from "../relayer/src/db/pool.ts";
import { freePort } from "../scripts/local/process.ts";
import { ROLE, addressOf, testEnvironment } from "../test/support/config.ts";
import { CAPABILITIES, seedServices, WORDS } from "./load/discovery-store.ts";
import { seedChannels } from "./load/ledger-store.ts";
import { startPart, type Part } from "./load/processes.ts";
import { startBenchWorld, type World } from "./load/world.ts";
import { columns, commit, machine, progress, type Report } from "./report.ts";

export type DiscoverRow = { question: string; inFlight: number; n: number; p50Ms: number; p99Ms: number; maxMs: number };
/** The figures on top are over all questions, one at a time. */
export type DiscoverReport = Report & { p50Ms: number; p99Ms: number; goalP99Ms: number; services: number; receipts: number; machine: string; commit: string; command: string; at: string; rows: DiscoverRow[] };

const SERVICES = 10_000;
const RECEIPTS = 1_000_000;
const CALLS = 500;
const WARM_UP = 50;
const GOAL_P99_MS = 50;

type Question = { question: string; path: (nth: number) => string; body?: (nth: number) => unknown };
const word = (nth: number): string => WORDS[nth % WORDS.length]!;

const QUESTIONS: readonly Question[] = [
  { question: "a word", path: () => "/api/v1/a2a/discover", body: (nth) => ({ text: word(nth) }) },
  { question: "two words", path: () => "/api/v1/a2a/discover", body: (nth) => ({ text: `${word(nth)} ${word(nth * 7 + 3)}` }) },
  { question: "a word that all have", path: () => "/api/v1/a2a/discover", body: () => ({ text: "api" }) },
  { question: "capability, price and rating", path: () => "/api/v1/a2a/discover", body: (nth) => ({ capability: CAPABILITIES[nth % CAPABILITIES.length], maxPrice: "0.005", minRating: 50 }) },
  { question: "filters without words", path: () => "/api/v1/a2a/discover", body: (nth) => ({ maxResponseTime: 200 + nth, uptime: 95, scheme: "exact" }) },
  { question: "GET discover?service=", path: (nth) => `/api/a2a/discover?service=${word(nth)}` },
  { question: "recommend, by words", path: () => "/api/v1/a2a/recommend", body: (nth) => ({ task: `I need to ${word(nth)} the ${word(nth + 31)} of a ${word(nth + 77)}, cheap and quick` }) },
  { question: "x402 search", path: (nth) => `/discovery/search?query=${word(nth)}` },
  { question: "x402 resources, a far page", path: (nth) => `/discovery/resources?limit=20&offset=${(nth * 20) % 9_000}` },
];

export async function run(args: string[]): Promise<DiscoverReport> {
  const quick = args.includes("--quick");
  const [services, receipts, calls] = quick ? [200, 1_000, 20] : [SERVICES, RECEIPTS, CALLS];
  const world = await startBenchWorld(undefined, quick);
  const databaseUrl = await world.postgres.database("bench_discover", { fresh: true });
  const db = openPool(databaseUrl, 8);
  const parts: Part[] = [];
  try {
    const server = await startRole(world, databaseUrl, "server");
    parts.push(server);
    const config = readConfig(environmentOf(world, databaseUrl));
    progress(`discover: ${receipts} receipts`);
    await seedChannels(db, { from: 1, to: receipts, unclaimed: 0, receiver: addressOf(ROLE.receiver), receiverAuthorizer: addressOf(ROLE.authorizer), token: config.token.address, price: 1_000n });
    progress(`discover: ${services} services`);
    await seedServices({ db, config }, services);
    parts.push(await startRole(world, databaseUrl, "worker"));
    const url = server.ready as string;
    const rows: DiscoverRow[] = [];
    const all: number[] = [];
    for (const question of QUESTIONS) {
      const alone = await ask(url, question, calls, 1);
      all.push(...alone);
      rows.push(rowOf(question, 1, alone), rowOf(question, 8, await ask(url, question, calls, 8)));
      progress(`discover: ${question.question}, ${rows.at(-2)!.p50Ms} ms, ${rows.at(-2)!.p99Ms} ms`);
    }
    const { p50Ms, p99Ms } = rowOf({ question: "all" }, 1, all);
    const report: DiscoverReport = {
      bench: "discover", p50Ms, p99Ms, goalP99Ms: GOAL_P99_MS, services, receipts, machine: machine(), commit: commit(), command: ["npm run -s bench -- discover", ...args].join(" "), at: new Date().toISOString(), rows,
    };
    if (args.includes("--save")) await (await import("./results.ts")).save(report);
    return report;
  } finally {
    await Promise.all(parts.map((part) => part.stop()));
    await db.end();
    await world.stop();
  }
}

/** As shipped, but for what a local world needs; the services here are known to nobody else, so nobody probes them. */
function environmentOf(world: World, databaseUrl: string): Record<string, string> {
  const { RELAYER_CHAIN_POLL_MS: _short, RELAYER_LOG_LEVEL: _silent, ...env } = testEnvironment(databaseUrl, world.chain.url);
  return { ...env, RELAYER_PROBE_PERIOD_S: "0" };
}

async function startRole(world: World, databaseUrl: string, role: "server" | "worker"): Promise<Part> {
  const env = { ...environmentOf(world, databaseUrl), RELAYER_ROLE: role, RELAYER_PORT: String(await freePort()) };
  return startPart({ script: "./tallystick.ts", options: { env }, cores: undefined, logFile: join(world.folder, `${role}.log`) });
}

/** Times of the calls, milliseconds. @throws when one was not answered with something found or an empty page. */
async function ask(origin: string, { path, body, question }: Question, calls: number, inFlight: number): Promise<number[]> {
  const times: number[] = [];
  let next = -Math.min(WARM_UP, calls);
  const lane = async (): Promise<void> => {
    while (next < calls) {
      const nth = next++;
      const said = body?.(Math.abs(nth));
      const init = said === undefined ? {} : { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(said) };
      const started = performance.now();
      const response = await fetch(origin + path(Math.abs(nth)), init);
      const text = await response.text();
      const tookMs = performance.now() - started;
      if (response.status !== 200) throw new Error(`${question} was answered ${response.status}: ${text.slice(0, 200)}`);
      if (nth >= 0) times.push(tookMs);
    }
  };
  await Promise.all(Array.from({ length: inFlight }, lane));
  return times;
}

function rowOf({ question }: Pick<Question, "question">, inFlight: number, times: readonly number[]): DiscoverRow {
  const sorted = times.toSorted((a, b) => a - b);
  const at = (share: number) => Math.round(sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))]! * 100) / 100;
  return { question, inFlight, n: sorted.length, p50Ms: at(0.5), p99Ms: at(0.99), maxMs: at(1) };
}

export function discoverTable({ rows }: DiscoverReport): (string | number)[][] {
  return [["question", "in flight", "n", "p50 ms", "p99 ms", "max ms"], ...rows.map(({ question, inFlight, n, p50Ms, p99Ms, maxMs }) => [question, inFlight, n, p50Ms, p99Ms, maxMs])];
}

export function table(report: Report): string {
  const told = report as DiscoverReport;
  return [
    `Searches beside ${told.services.toLocaleString("en-US")} services and ${told.receipts.toLocaleString("en-US")} receipts; goal: p99 under ${told.goalP99Ms} ms. All, one at a time: p50 ${told.p50Ms} ms, p99 ${told.p99Ms} ms. ${told.commit}; ${told.machine}`, "",
    columns(discoverTable(told)),
  ].join("\n");
}
