// What the gate adds to a paid call: the firewall's decision, the look-up of the mandate and the audit record, on the very functions that the
// gateway calls, in a relayer that runs, with policies that were signed and put in force over HTTP. Each call is timed with the gate and
// without, in turns, so that both meet the same machine; the background writer of the audit log runs all the while.
import { setImmediate as turn } from "node:timers/promises";
import { keccak256, numberToHex, type Address, type LocalAccount } from "viem";
import { generatePrivateKey, privateKeyToAccount } from "viem/accounts";
import { approval } from "../relayer/src/capabilities/audit/approval.ts";
import { admit, type Asked } from "../relayer/src/capabilities/firewall/gate.ts";
import { newPaymentId } from "../relayer/src/payment-id.ts";
import type { Rules } from "../sdk/src/firewall/policy.ts";
import { addressOf, ROLE } from "../test/support/config.ts";
import { inForce, policyOf } from "../test/support/firewall.ts";
import { startTestWorld, type TestWorld } from "../test/support/relayer.ts";
import { mandateOf, placeMandates } from "../test/support/signed-mandates.ts";
import { columns, commit, machine, progress, type Report } from "./report.ts";

export type FirewallRow = { policies: string; /** Added to a call, microseconds. */ p50Us: number; p99Us: number; withoutP50Us: number; ratePerSecond: number; n: number };
/** The figures on top are those of the longest lists under a mandate: the most that is asked of a call. */
export type FirewallReport = Report & { p50Us: number; p99Us: number; ratePerSecond: number; goalP50Us: number; auditWriterUsAnEntry: number; machine: string; commit: string; command: string; at: string; rows: FirewallRow[] };

const CALLS = 20_000;
const WARM_UP = 2_000;
/** Between two looks at whatever else the process has to do. */
const SLICE = 25;
const GOAL_P50_US = 50;
const PAYEE = addressOf(ROLE.receiver);

type Case = { name: string; rules?: Rules; underMandate?: true };

const strangers = (count: number): Address[] => Array.from({ length: count }, (_, nth) => `0x${keccak256(numberToHex(nth + 1)).slice(-40)}` as Address);
const names = (count: number): string[] => Array.from({ length: count }, (_, nth) => `service:never-${nth}`);
const typical: Rules = {
  payees: { allow: [PAYEE, ...strangers(4)] }, capabilities: { allow: ["service:echo", "weather"] }, price: { max: "5000", overListedBps: 0 }, recipient: "registered",
  hours: { zone: "UTC", windows: [{ days: ["mon", "tue", "wed", "thu", "fri", "sat", "sun"], from: "00:00", to: "24:00" }] }, approval: { above: "1000000", approvers: strangers(1), expiresS: 600 },
};
const long: Rules = {
  ...typical, payees: { allow: [...strangers(999), PAYEE], deny: strangers(2_000).slice(1_000) }, capabilities: { allow: [...names(999), "service:echo"] },
};

const CASES: readonly Case[] = [
  { name: "none" },
  { name: "typical", rules: typical },
  { name: "1,000-entry lists", rules: long },
  { name: "typical, under a mandate", rules: { ...typical, mandate: "required" }, underMandate: true },
  { name: "1,000-entry lists, under a mandate", rules: { ...long, mandate: "required" }, underMandate: true },
];

async function askedFor(world: TestWorld, payer: LocalAccount, { underMandate }: Case): Promise<() => Asked> {
  const guard = privateKeyToAccount(generatePrivateKey()).address;
  if (underMandate) {
    // A mandate below another, each with payees of its own.
    const root = { mandate: mandateOf(payer.address, guard), payees: [PAYEE, ...strangers(50)] };
    await placeMandates(world.relayer.deps.db, [root, { mandate: mandateOf(payer.address, guard, { limit: 500_000n }), payees: [PAYEE] }], guard);
  }
  const [channelId, requestHash] = [keccak256(payer.address), keccak256("0x01")];
  let ceiling = 0n;
  return () => ({
    identity: { scheme: "batch-settlement", channelId, ceiling: (ceiling += 1_000n), requestHash }, paymentId: newPaymentId(), channelId, payer: payer.address, payerAuthorizer: guard, payee: PAYEE,
    service: "echo", serviceOwner: PAYEE, resource: `${world.url}/s/echo/`, price: 1_000n,
  });
}

async function measure(world: TestWorld, one: Case, calls: number): Promise<FirewallRow> {
  const { deps } = world.relayer;
  const payer = privateKeyToAccount(generatePrivateKey());
  if (one.rules !== undefined) await inForce(world.url, payer, policyOf(payer.address, one.rules));
  const next = await askedFor(world, payer, one);
  const times = { with: [] as number[], without: [] as number[] };
  for (let call = -Math.min(WARM_UP, calls); call < calls; call++) {
    const asked = next();
    const [started, empty] = [process.hrtime.bigint(), process.hrtime.bigint()];
    const waiting = admit(deps, asked);
    if (waiting !== undefined) await waiting;
    deps.audit.record(approval({ ...asked, service: "echo" }));
    const done = process.hrtime.bigint();
    if (call % SLICE === 0) await turn();
    if (call < 0) continue;
    // What reading the clock costs is in both.
    times.without.push(Number(empty - started) / 1_000);
    times.with.push(Number(done - empty) / 1_000);
  }
  const [gate, nothing] = [times.with.sort((a, b) => a - b), times.without.sort((a, b) => a - b)];
  const at = (sorted: readonly number[], share: number) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))]!;
  const mean = gate.reduce((sum, time) => sum + time, 0) / gate.length;
  return { policies: one.name, p50Us: rounded(Math.max(0, at(gate, 0.5) - at(nothing, 0.5))), p99Us: rounded(Math.max(0, at(gate, 0.99) - at(nothing, 0.5))), withoutP50Us: rounded(at(nothing, 0.5)), ratePerSecond: Math.round(1e6 / mean), n: calls };
}

const rounded = (us: number): number => Math.round(us * 100) / 100;

/** Processor time of the background writer, by itself. */
async function writerUs({ relayer: { deps } }: TestWorld, entries: number): Promise<number> {
  await deps.audit.flush();
  for (let nth = 0; nth < entries; nth++) deps.audit.record(approval({ paymentId: newPaymentId(), payer: PAYEE, payee: PAYEE, service: "echo", price: 1_000n }));
  const before = process.cpuUsage();
  await deps.audit.flush();
  const { user, system } = process.cpuUsage(before);
  return rounded((user + system) / entries);
}

export async function run(args: string[]): Promise<FirewallReport> {
  const chosen = args.indexOf("--calls");
  const calls = chosen === -1 ? CALLS : Number(args[chosen + 1]);
  if (!Number.isInteger(calls) || calls < 1) throw new Error("--calls takes a number of at least 1");
  const world = await startTestWorld();
  try {
    const rows: FirewallRow[] = [];
    for (const one of CASES) {
      progress(`firewall: ${one.name}`);
      rows.push(await measure(world, one, calls));
    }
    const { p50Us, p99Us, ratePerSecond } = rows.at(-1)!;
    const report: FirewallReport = {
      bench: "firewall", p50Us, p99Us, ratePerSecond, goalP50Us: GOAL_P50_US, auditWriterUsAnEntry: await writerUs(world, calls), machine: machine(), commit: commit(), command: ["npm run -s bench -- firewall", ...args].join(" "), at: new Date().toISOString(), rows,
    };
    if (args.includes("--save")) await (await import("./results.ts")).save(report);
    return report;
  } finally {
    await world.stop();
  }
}

export function firewallTable({ rows }: FirewallReport): (string | number)[][] {
  return [["policies of the buyer", "added p50 us", "added p99 us", "gates a second, one core", "calls"], ...rows.map(({ policies, p50Us, p99Us, ratePerSecond, n }) => [policies, p50Us, p99Us, ratePerSecond, n])];
}

export function table(report: Report): string {
  const told = report as FirewallReport;
  return [
    `What firewall, mandate and audit record add to a paid call; goal: p50 under ${told.goalP50Us} us. ${told.commit}; ${told.machine}`, "",
    columns(firewallTable(told)), "",
    `In the background the audit log takes ${told.auditWriterUsAnEntry} us of processor time an entry (encode, hash, seal, store).`,
  ].join("\n");
}
