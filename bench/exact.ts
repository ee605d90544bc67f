// `bench -- exact`: our facilitator beside the stock one, each on one core, on the same node: verify alone, and verify with settlement.
//
//   --json     one JSON object on stdout        --save     keep it in bench/results
//   --quick    a few hundred payments           --ours     without the peer, for tuning
//   --hardhat  on Hardhat's node although Foundry's is installed
//   --rounds <n>, --in-flight <n>               --profile  also bench/results/flame-exact-<what>.svg
//
// Every answer is checked, and afterwards each receiver's balance is compared with what was told. `nodeCpuMs` says what the node spent on
// a payment: near 1000 / rps, it is the node that is measured and not the server.
import { join } from "node:path";
import { createPublicClient, erc20Abi, http, keccak256, toHex } from "viem";
import { privateKeyToAccount } from "viem/accounts";
import { BASE_SEPOLIA } from "../sdk/src/constants.ts";
import { mintUSDC } from "../scripts/local/contracts.ts";
import { freePort } from "../scripts/local/process.ts";
import { keyOf, testEnvironment } from "../test/support/config.ts";
import { startAnvil, type BenchNode } from "./exact/anvil.ts";
import type { ExactJob, ExactMeasured, Payer, What } from "./exact/client.ts";
import { factsOf } from "./load/facts.ts";
import { writeFlame } from "./flame.ts";
import { cpuOfTree, divideCores, startPart, type Cores, type Part } from "./load/processes.ts";
import { startBenchWorld, type World } from "./load/world.ts";
import { columns, progress, type Report } from "./report.ts";
import { save } from "./results.ts";

type ServerName = "tallystick" | "stock";
type Level = { inFlight: number; requests: Record<ServerName, Record<What, number>> };
export type ExactRow = { server: ServerName; what: What; inFlight: number; n: number; rps: number; p50Ms: number; p99Ms: number; maxMs: number; cpuMsPerRequest: number; nodeCpuMsPerRequest: number | null; /** Where there were any. */ transfersPerTransaction?: number };
export type ExactReport = Report & { bench: "exact"; rows: ExactRow[]; ratio: Record<What, number | null> };

type Server = { name: ServerName; part: Part; terms: ExactJob["terms"]; payTo: `0x${string}`; /** Transfers that were told as done. */ told: number; stop(): Promise<void> };

const WHATS: What[] = ["verify", "settle"];
const MOST_IN_FLIGHT = 64;
const ROUNDS = 3;
const LEVELS: Level[] = [
  { inFlight: 1, requests: { tallystick: { verify: 500, settle: 100 }, stock: { verify: 100, settle: 50 } } },
  { inFlight: 8, requests: { tallystick: { verify: 3_000, settle: 600 }, stock: { verify: 400, settle: 150 } } },
  { inFlight: 64, requests: { tallystick: { verify: 10_000, settle: 3_000 }, stock: { verify: 600, settle: 320 } } },
];
const QUICK: Level[] = LEVELS.map(({ inFlight }) => ({ inFlight, requests: { tallystick: { verify: 10 * inFlight, settle: 5 * inFlight }, stock: { verify: 4 * inFlight, settle: 2 * inFlight } } }));
/** A measured run ends then, whatever it was asked for. */
const AT_MOST_S = 30;
const WARM_UP: Record<What, number> = { verify: 256, settle: 64 };
const PAYERS = 64;
const FUNDS = 10n ** 12n;
/** Atomic units. */
const PRICE = 100n;
/** Accounts of the local mnemonic. */
const STOCK_SUBMITTER = 7;

export async function run(args: string[]): Promise<ExactReport> {
  const options = optionsIn(args);
  const cores = divideCores(1);
  const world = await startBenchWorld(cores.others, args.includes("--quick"));
  const servers: Server[] = [];
  const anvil = options.hardhat ? undefined : await startAnvil();
  const node: BenchNode = anvil ?? { name: "hardhat", ...world.chain };
  try {
    const payers = await fundedPayers(node);
    servers.push(await startOurs(world, node, cores));
    if (!options.ours) servers.push(await startTheirs(world, node, cores));
    const client = await startPart({ script: "../exact/client.ts", options: {}, cores: cores.others, logFile: join(world.folder, "client.log") });
    const rounds: ExactRow[] = [];
    for (let round = 0; round < options.rounds; round++) {
      for (const server of round % 2 === 0 ? servers : servers.toReversed()) {
        for (const what of WHATS) for (const level of options.levels) rounds.push(await measure(node, client, server, what, level, payers));
      }
    }
    if (options.profile) for (const what of WHATS) await profile(world, node, client, servers[0]!, what, payers);
    const sums = [];
    for (const server of servers) sums.push(await compareBalance(node, server));
    await client.stop();
    const rows = [...Map.groupBy(rounds, ({ server, what, inFlight }) => `${server} ${what} ${inFlight}`).values()].map(medianRow);
    const report: ExactReport = { bench: "exact", ...(await factsOf(world, cores, ["exact", ...args])), chain: node.name, rows, rounds, sums, ratio: { verify: ratioOf(rows, "verify"), settle: ratioOf(rows, "settle") } };
    if (options.save) await save(report);
    return report;
  } finally {
    await Promise.all(servers.map((server) => server.stop()));
    await anvil?.stop();
    await world.stop();
  }
}

type Options = { hardhat: boolean; ours: boolean; save: boolean; profile: boolean; rounds: number; levels: Level[] };

/** @throws for what nobody knows: a misspelt option must not measure something else. */
function optionsIn(args: string[]): Options {
  const numbers = new Map<string, number>();
  const flags = new Set<string>();
  for (let at = 0; at < args.length; at++) {
    const arg = args[at]!;
    if (arg === "--rounds" || arg === "--in-flight") numbers.set(arg, Number(args[++at]));
    else if (["--quick", "--save", "--ours", "--profile", "--hardhat"].includes(arg)) flags.add(arg);
    else throw new Error(`unknown option ${arg}`);
  }
  const all = flags.has("--quick") ? QUICK : LEVELS;
  const only = numbers.get("--in-flight");
  const levels = only === undefined ? all : all.filter(({ inFlight }) => inFlight === only);
  if (levels.length === 0) throw new Error(`--in-flight must be one of ${LEVELS.map(({ inFlight }) => inFlight).join(", ")}`);
  return { hardhat: flags.has("--hardhat"), ours: flags.has("--ours"), save: flags.has("--save"), profile: flags.has("--profile"), rounds: numbers.get("--rounds") ?? (flags.has("--quick") ? 1 : ROUNDS), levels };
}

async function fundedPayers({ url }: BenchNode): Promise<Payer[]> {
  const keys = Array.from({ length: PAYERS }, (_, index) => keccak256(toHex(`tallystick bench exact ${index}`)));
  const payers = keys.map((key) => ({ key, address: privateKeyToAccount(key).address }));
  for (const { address } of payers) await mintUSDC(url, address, FUNDS);
  return payers;
}

/** As shipped, but for what a local world needs, and open to any seller. */
async function startOurs(world: World, node: BenchNode, cores: Cores): Promise<Server> {
  const { RELAYER_CHAIN_POLL_MS: _short, RELAYER_LOG_LEVEL: _silent, ...local } = testEnvironment(await world.postgres.database("bench_exact", { fresh: true }), node.url, []);
  const env = { ...local, RELAYER_PORT: String(await freePort()), RELAYER_FACILITATOR: "open" };
  return serverOf("tallystick", await startPart({ script: "./tallystick.ts", options: { env }, cores: cores.servers[0], logFile: join(world.folder, "tallystick.log") }));
}

async function startTheirs(world: World, node: BenchNode, cores: Cores): Promise<Server> {
  const options = { rpcUrl: node.url, key: keyOf(STOCK_SUBMITTER) };
  return serverOf("stock", await startPart({ script: "../exact/stock.ts", options, cores: cores.servers[0], logFile: join(world.folder, "stock.log") }));
}

function serverOf(name: ServerName, part: Part): Server {
  // A receiver of its own, so that its balance says what this server moved.
  const payTo = privateKeyToAccount(keccak256(toHex(`tallystick bench exact receiver ${name}`))).address;
  const { address, name: tokenName, version } = BASE_SEPOLIA.usdc;
  const terms = { scheme: "exact", network: BASE_SEPOLIA.network, amount: String(PRICE), asset: address, payTo, maxTimeoutSeconds: 3_600, extra: { name: tokenName, version } };
  return { name, part, terms, payTo, told: 0, stop: () => part.stop() };
}

async function measure(node: BenchNode, client: Part, server: Server, what: What, { inFlight, requests }: Level, payers: Payer[]): Promise<ExactRow> {
  const job: ExactJob = { origin: server.part.ready as string, what, inFlight, requests: requests[server.name][what], warmUp: WARM_UP[what], terms: server.terms, payers, atMostS: AT_MOST_S };
  await client.ask("prepare", job);
  const [before, nodeBefore] = await Promise.all([server.part.usage(), cpuOfTree(node.pid)]);
  const { requests: n, settled, transactions, rps, p50Ms, p99Ms, maxMs } = await client.ask<ExactMeasured>("run");
  const [after, nodeAfter] = await Promise.all([server.part.usage(), cpuOfTree(node.pid)]);
  server.told += settled;
  const each = (ms: number) => Math.round((ms / n) * 1000) / 1000;
  const row: ExactRow = { server: server.name, what, inFlight, n, rps, p50Ms, p99Ms, maxMs, cpuMsPerRequest: each(after.cpuMs - before.cpuMs), nodeCpuMsPerRequest: nodeBefore === undefined || nodeAfter === undefined ? null : each(nodeAfter - nodeBefore), ...(transactions === 0 ? {} : { transfersPerTransaction: Math.round((settled / transactions) * 10) / 10 }) };
  progress(`${row.server} ${what} with ${inFlight} in flight: ${Math.round(rps)}/s, p50 ${p50Ms} ms, p99 ${p99Ms} ms, max ${maxMs} ms, CPU ${row.cpuMsPerRequest} ms, node ${row.nodeCpuMsPerRequest} ms${row.transfersPerTransaction === undefined ? "" : `, ${row.transfersPerTransaction} to a transaction`}`);
  return row;
}

/** @throws when the receiver did not get what was told: no figure of such a run may be shown. */
async function compareBalance({ url }: BenchNode, { name, payTo, told }: Server) {
  const balance = await createPublicClient({ transport: http(url) }).readContract({ address: BASE_SEPOLIA.usdc.address, abi: erc20Abi, functionName: "balanceOf", args: [payTo] });
  if (balance !== BigInt(told) * PRICE) throw new Error(`${name} told of ${told} transfers of ${PRICE}, its receiver holds ${balance}`);
  return { server: name, transfersTold: told, receivedAtomic: String(balance), agree: true };
}

function medianRow(rows: ExactRow[]): ExactRow {
  const middle = (figure: "n" | "rps" | "p50Ms" | "p99Ms" | "maxMs" | "cpuMsPerRequest" | "nodeCpuMsPerRequest") => rows.map((row) => row[figure] ?? 0).toSorted((a, b) => a - b)[Math.floor(rows.length / 2)]!;
  return { ...rows[0]!, n: middle("n"), rps: middle("rps"), p50Ms: middle("p50Ms"), p99Ms: middle("p99Ms"), maxMs: middle("maxMs"), cpuMsPerRequest: middle("cpuMsPerRequest"), nodeCpuMsPerRequest: rows[0]!.nodeCpuMsPerRequest === null ? null : middle("nodeCpuMsPerRequest") };
}

/** Ours to the peer's at the highest level measured; null when the peer was left out. */
function ratioOf(rows: ExactRow[], what: What): number | null {
  const inFlight = Math.max(...rows.map((row) => row.inFlight));
  const rps = (server: ServerName) => rows.find((row) => row.server === server && row.what === what && row.inFlight === inFlight)?.rps;
  const [ours, stock] = [rps("tallystick"), rps("stock")];
  return ours === undefined || stock === undefined ? null : Math.round((ours / stock) * 100) / 100;
}

async function profile(world: World, node: BenchNode, client: Part, server: Server, what: What, payers: Payer[]): Promise<void> {
  const file = join(world.folder, `exact-${what}.cpuprofile`);
  await server.part.ask("startProfile");
  const row = await measure(node, client, server, what, LEVELS.at(-1)!, payers);
  await server.part.ask("stopProfile", file);
  await writeFlame(file, `flame-exact-${what}.svg`, `facilitator, ${row.n} payments (${what}), ${MOST_IN_FLIGHT} in flight`);
}

export function table(report: Report): string {
  const { rows, ratio, commit, pinning, chain } = report as ExactReport;
  const lines = rows.map((row) => [`${row.server}, ${row.what === "verify" ? "verify" : "verify and settle"}`, row.inFlight, Math.round(row.rps), row.p50Ms, row.p99Ms, row.cpuMsPerRequest, row.nodeCpuMsPerRequest ?? "-"]);
  return [
    `exact, commit ${commit}, ${String(chain)} node; ${pinning}`,
    columns([["server", "in flight", "a second", "p50 ms", "p99 ms", "CPU ms", "node CPU ms"], ...lines]),
    `ours to the stock facilitator: verify ${ratio.verify ?? "-"}, with settlement ${ratio.settle ?? "-"}`,
  ].join("\n");
}
