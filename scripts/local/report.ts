// The summary of the main job: numbers, then a table for people or one JSON object for programs.
import type { Address } from "viem";
import { NEWCOMER_INDEX, localAccount } from "./accounts.ts";
import { ASSUMED_PRICES, describePrices, transactionCostWei, weiToUsd } from "./cost.ts";
import type { AgentName } from "./agents.ts";
import type { JobResult } from "./job.ts";
import type { MinedTransaction } from "./ledger-store.ts";
import { usdc } from "./progress.ts";
import { formatTable } from "./table.ts";
import type { Trace } from "./trace.ts";
import { sum } from "./verdict.ts";
import type { World } from "./world.ts";

const AGENTS: readonly AgentName[] = ["stock-batch", "stock-exact", "sdk"];

export type Line = {
  name: string;
  calls: number;
  chargedAtomic: bigint;
  settledAtomic: bigint;
  transactions: number;
  gasPerCall: number;
  usdPerCall: number;
  p50Ms: number;
  p99Ms: number;
};

/** A line a kind of agent. */
export function agentLines(job: JobResult): Line[] {
  return AGENTS.map((name) => lineOf(name, job, new Set(job.purchases.filter(({ agent }) => agent === name).map(({ payer }) => payer))));
}

/** The lines of the agents, each followed by its payers where there are several. */
function linesOf(job: JobResult): Line[] {
  return agentLines(job).flatMap((line) => {
    const payers = [...new Set(job.purchases.filter(({ agent }) => agent === line.name).map(({ payer }) => payer))];
    return payers.length < 2 ? [line] : [line, ...payers.map((payer) => lineOf(`  ${payer.slice(0, 6)}…${payer.slice(-4)}`, job, new Set([payer])))];
  });
}

/** Claimed for the payers and paid out, or transferred by themselves. */
function settledFor(job: JobResult, payers: ReadonlySet<Address>): bigint {
  const transferred = job.direct.filter(({ payer }) => payers.has(payer)).map(({ transferredAtomic }) => transferredAtomic);
  return sum([...[...payers].map((payer) => job.contract.byPayer.get(payer) ?? 0n), ...transferred]);
}

/** The transactions that touched these payers. A batch settles several; each bears an equal part of its gas. */
function sharesOf({ transactions }: JobResult, mine: ReadonlySet<Address>): Shared {
  return transactions
    .map((transaction) => ({ transaction, share: transaction.payers.filter((payer) => mine.has(payer)).length / transaction.payers.length }))
    .filter(({ share }) => share > 0);
}

type Shared = { transaction: MinedTransaction; share: number }[];

function lineOf(name: string, job: JobResult, payers: ReadonlySet<Address>): Line {
  const shared = sharesOf(job, payers);
  const paid = job.purchases.filter(({ payer, chargedAtomic }) => payers.has(payer) && chargedAtomic > 0n);
  const times = paid.map(({ ms }) => ms).sort((a, b) => a - b);
  const calls = paid.length;
  const perCall = (amount: (transaction: MinedTransaction) => number) =>
    calls === 0 ? 0 : shared.reduce((total, { transaction, share }) => total + amount(transaction) * share, 0) / calls;
  return {
    name,
    calls,
    chargedAtomic: sum(paid.map(({ chargedAtomic }) => chargedAtomic)),
    settledAtomic: settledFor(job, payers),
    transactions: shared.length,
    gasPerCall: Math.round(perCall(({ gasUsed }) => Number(gasUsed))),
    usdPerCall: perCall((transaction) => weiToUsd(transactionCostWei(transaction, ASSUMED_PRICES), ASSUMED_PRICES)),
    p50Ms: percentile(times, 0.5),
    p99Ms: percentile(times, 0.99),
  };
}

/** Nearest rank, of sorted times, to a tenth of a millisecond. */
export function percentile(sorted: number[], fraction: number): number {
  if (sorted.length === 0) return 0;
  const rank = Math.max(1, Math.ceil(fraction * sorted.length));
  return Math.round(sorted[rank - 1]! * 10) / 10;
}

export function printReport(world: World, job: JobResult, faults: string[]): string {
  const lines = linesOf(job);
  const { contract, index, reconciliation } = job;
  const mark = (same: boolean) => (same ? "equal" : "DIFFERENT");
  return [
    "",
    `  ${job.purchases.length} calls paid in ${job.seconds.toFixed(1)} s, settled in ${purposes(job)}. stock-*: the unmodified x402 client.`,
    "",
    formatTable(
      ["agent", "calls", "charged", "settled", "tx", "gas/call", "USD/call", "p50", "p99"],
      lines.map((line) => [
        line.name,
        String(line.calls),
        usdc(line.chargedAtomic),
        usdc(line.settledAtomic),
        String(line.transactions),
        String(line.gasPerCall),
        line.usdPerCall.toFixed(7),
        `${line.p50Ms} ms`,
        `${line.p99Ms} ms`,
      ]),
    ),
    "  charged and settled in USDC. A call is timed by its buyer: the 402, the signature and the paid answer. A payer's first",
    "  call waits for its deposit to be mined. A payer's tx may be shared with others; its gas is its part.",
    `  USD/call at ${describePrices(ASSUMED_PRICES)}.`,
    "",
    formatTable(
      ["atomic units", "GraphQL", "contract", ""],
      [
        ["claimed for the provider", String(index.claimedAtomic), String(contract.claimedAtomic), mark(index.claimedAtomic === contract.claimedAtomic)],
        ["settled to the provider", String(index.settledAtomic), String(contract.settledAtomic), mark(index.settledAtomic === contract.settledAtomic)],
      ],
    ),
    ...mandateLines(job),
    jobsLine(job),
    bazaarLine(job),
    `  ${reconciliation.logs} raw logs replayed, ${reconciliation.differences.length} differences to the indexed tables and the contract.`,
    "",
    ...(faults.length === 0 ? [] : ["  NOT IN ORDER:", ...faults.map((fault) => `  - ${fault}`), ""]),
  ].join("\n");
}

/** What a person allowed, what became of it, and what was refused. */
function mandateLines({ mandate }: JobResult): string[] {
  const { mandateId, limitAtomic, chargedAtomic, claimedAtomic, depositedAtomic, overspentAtomic, refusal } = mandate;
  return [
    `  sdk: an agent and its sub-agent under the mandate ${mandateId.slice(0, 10)}… of a person, with a guard: ${usdc(chargedAtomic)} of ${usdc(limitAtomic)} spent`,
    `  (${usdc(depositedAtomic)} deposited, ${usdc(claimedAtomic)} claimed on chain), overspent ${usdc(overspentAtomic)}.`,
    `  blocked: $${refusal.spentAtomic === 0n ? "0" : usdc(refusal.spentAtomic)} moved. ${refusal.rule}: ${refusal.reason}`,
    `  audit row ${refusal.audit.seq} of the guard's journal, ${refusal.audit.hash}`,
    "",
  ];
}

function jobsLine({ jobs: { completed, split, refunded, escrowAtomic, openBudgetsAtomic } }: JobResult): string {
  return `  jobs: ${completed} paid by silence, ${split} split by a panel with a liar, ${refunded} refunded; the escrow holds ${usdc(escrowAtomic)}, open jobs come to ${usdc(openBudgetsAtomic)}.`;
}

function bazaarLine({ bazaar: { services, negotiated, savedPercent, chargesAboveAgreed, rating } }: JobResult): string {
  return `  bazaar: ${services} providers listed themselves; ${negotiated} calls at an agreed price, ${savedPercent} % below the listed one, ${chargesAboveAgreed} above the agreed one; rating ${rating}.`;
}

function purposes({ transactions }: JobResult): string {
  const counts = new Map<string, number>();
  for (const { purpose } of transactions) counts.set(purpose, (counts.get(purpose) ?? 0) + 1);
  const parts = [...counts].map(([purpose, count]) => `${count} ${purpose}`).join(", ");
  return `${transactions.length} transactions (${parts})`;
}

/** Where to look and what to type next, while the world is up. */
export function printNext(world: World): string {
  const newcomer = localAccount(NEWCOMER_INDEX).address;
  return [
    `  GraphQL page    ${world.indexer.graphqlUrl}`,
    `  API reference   ${world.relayerUrl}/reference`,
    `  metrics         ${world.relayerUrl}/metrics`,
    `  chain           ${world.rpcUrl} (chain id 84532, in memory)`,
    `  relayer's log   ${world.relayerLog}`,
    "",
    "  Hardhat's development accounts 0 to 9 hold ether and test USDC; 0 to 8 just paid. Account 9 is yours:",
    `  ${newcomer}. Any x402 client can pay ${world.serviceUrl} from it. Try, in another terminal:`,
    "",
    `    npm run -s tallystick -- pay ${world.serviceUrl} --local`,
    "    npm run -s tallystick -- channels list --local",
    "    npm run -s tallystick -- help",
    "",
    "  Everything stays up until Ctrl-C.",
    "",
  ].join("\n");
}

/** One payment from the 402 to the indexed row, and how to see others. */
export function printTrace({ paymentId, text }: Trace): string {
  const lines = text.split("\n").map((line) => `  ${line}`.trimEnd());
  return [`  tallystick trace ${paymentId}`, "", ...lines, ""].join("\n");
}

export function jsonReport(job: JobResult, world: World, faults: string[], trace: Trace | undefined, seconds: number): Record<string, unknown> {
  const agents = agentLines(job).map(({ name, calls, chargedAtomic, settledAtomic, transactions, gasPerCall, p50Ms, p99Ms }) => ({
    name, calls, chargedAtomic: String(chargedAtomic), settledAtomic: String(settledAtomic), transactions, gasPerCall, p50Ms, p99Ms,
  }));
  return {
    ok: faults.length === 0,
    seconds: Math.round(seconds * 10) / 10,
    agents,
    mandate: { limitAtomic: String(job.mandate.limitAtomic), spentAtomic: String(job.mandate.chargedAtomic), refused: job.mandate.refused, overspentAtomic: String(job.mandate.overspentAtomic) },
    jobs: { completed: job.jobs.completed, split: job.jobs.split, refunded: job.jobs.refunded, escrowAtomic: String(job.jobs.escrowAtomic), openBudgetsAtomic: String(job.jobs.openBudgetsAtomic) },
    bazaar: { services: job.bazaar.services, negotiated: job.bazaar.negotiated, savedPercent: job.bazaar.savedPercent, chargesAboveAgreed: job.bazaar.chargesAboveAgreed },
    indexedAtomic: String(job.index.settledAtomic),
    contractAtomic: String(job.contract.settledAtomic),
    relayerUrl: world.relayerUrl,
    graphqlUrl: world.indexer.graphqlUrl,
    rpcUrl: world.rpcUrl,
    serviceUrl: world.serviceUrl,
    ...(trace === undefined ? {} : { tracedPayment: trace.paymentId }),
    ...(faults.length === 0 ? {} : { reasons: faults }),
  };
}
