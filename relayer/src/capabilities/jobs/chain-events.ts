// Logs of escrow and evaluator as events of jobs. Pure.
import { parseEventLogs, type Hex, type Log } from "viem";
import { disputeEvaluatorAbi } from "../../../../sdk/src/abi/dispute-evaluator.ts";
import { jobEscrowAbi } from "../../../../sdk/src/abi/job-escrow.ts";
import type { ChainEvent } from "./chain-store.ts";

export type JobLog = Omit<ChainEvent, "jobId"> & { chainJobId: bigint };

/** Said of money, so named with its unit. */
const AMOUNTS = new Set(["amount", "bond", "providerAmount", "clientAmount"]);
/** Who acted, where the event says so. */
const ACTORS = ["by", "verifier", "provider", "client"] as const;
const ABI = [...jobEscrowAbi, ...disputeEvaluatorAbi];

/** In the order of the chain. Logs without a job (bonds of verifiers) are left out. */
export function jobLogsOf(logs: readonly Log[]): JobLog[] {
  return parseEventLogs({ abi: ABI, logs: [...logs] }).flatMap((log) => {
    const args = log.args as Record<string, unknown>;
    if (typeof args["jobId"] !== "bigint" || log.blockNumber === null || log.transactionHash === null || log.logIndex === null) return [];
    const { jobId: chainJobId, ...said } = args;
    const verifiers = Array.isArray(said["verifiers"]) ? (said["verifiers"] as Hex[]) : [];
    return [{
      chainJobId: chainJobId as bigint, kind: kindOf(log.eventName), by: ACTORS.map((name) => said[name]).find((value) => typeof value === "string") as Hex | undefined, others: verifiers, data: wireOf(said),
      block: log.blockNumber, transaction: log.transactionHash, logIndex: log.logIndex,
    }];
  });
}

/** JobFunded: funded; PanelDrawn: panel_drawn. */
const kindOf = (name: string): string => name.replace(/^Job(?=[A-Z])/, "").replace(/(?!^)[A-Z]/g, (letter) => `_${letter}`).toLowerCase();

function wireOf(args: Record<string, unknown>): Record<string, unknown> {
  const named = Object.entries(args).map(([name, value]) => [AMOUNTS.has(name) ? `${name}Atomic` : name, value] as const);
  return JSON.parse(JSON.stringify(Object.fromEntries(named), (_key, value: unknown) => (typeof value === "bigint" ? String(value) : value))) as Record<string, unknown>;
}
