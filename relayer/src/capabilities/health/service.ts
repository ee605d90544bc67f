// Readiness: each thing a payment needs, asked now. The indexer is not one of them: it is reported, and never stops a payment.
import { checkContracts } from "../../chain/contracts.ts";
import { salesStopped } from "../../db/continuity.ts";
import { pendingMigrations } from "../../db/migrate.ts";
import type { Deps } from "../../deps.ts";
import { assertChainFresh } from "../channels/freshness.ts";

export type Check = { name: string; ok: boolean; critical: boolean; detail: string };

const INDEXER_TIMEOUT_MS = 2_000;

export async function readiness(deps: Deps): Promise<{ ready: boolean; checks: Check[] }> {
  const checks = await Promise.all([
    check("database", true, async () => {
      const pending = await pendingMigrations(deps.db);
      if (pending.length > 0) throw new Error(`migrations not applied: ${pending.join(", ")}`);
      return "migrations applied";
    }),
    check("ledger", true, async () => {
      const reason = await salesStopped(deps.db);
      if (reason !== undefined) throw new Error(`nothing is sold by channel: ${reason}`);
      return "whole";
    }),
    check("contracts", true, async () => {
      await checkContracts(deps);
      return `chain ${deps.config.chainId}, bytecode and typehashes match`;
    }),
    check("chain", true, async () => {
      assertChainFresh(deps);
      return "followed";
    }),
    ...(deps.config.indexerUrl === undefined ? [] : [check("indexer", false, () => indexerLag(deps, deps.config.indexerUrl ?? ""))]),
  ]);
  return { ready: checks.every((entry) => entry.ok || !entry.critical), checks };
}

async function check(name: string, critical: boolean, run: () => Promise<string>): Promise<Check> {
  try {
    return { name, critical, ok: true, detail: await run() };
  } catch (error) {
    return { name, critical, ok: false, detail: error instanceof Error ? error.message : String(error) };
  }
}

/** Blocks between the chain's head and what the indexer has stored. */
async function indexerLag(deps: Deps, indexerUrl: string): Promise<string> {
  const [head, response] = await Promise.all([
    deps.chain.client.getBlockNumber({ cacheTime: 0 }),
    fetch(new URL("/status", indexerUrl), { signal: AbortSignal.timeout(INDEXER_TIMEOUT_MS) }),
  ]);
  if (!response.ok) throw new Error(`indexer answers ${response.status}`);
  const status = (await response.json()) as Record<string, { block?: { number?: number } }>;
  const indexed = Object.values(status)[0]?.block?.number;
  if (indexed === undefined) throw new Error("indexer has no block yet");
  return `${Math.max(0, Number(head) - indexed)} blocks behind`;
}
