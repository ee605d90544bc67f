// What Ignition's journal of a public chain says: which contracts stand where, and since which block.
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Address } from "viem";

/** Where the journals of public chains are kept, in the repository. */
export const DEPLOYMENTS = fileURLToPath(new URL("./deployments", import.meta.url));

export type Journal = {
  /** Address of each contract that is done, by future id. */
  addresses: Record<string, Address>;
  /** Block of the transaction that created it, by future id; contracts taken over as they stood have none. */
  blocks: Record<string, number>;
  /** Ids of the contracts that Ignition creates (not those taken over), done or only begun. */
  begun: Set<string>;
};

export function journalFolder(chainId: number, deployments = DEPLOYMENTS): string {
  return join(deployments, `chain-${chainId}`);
}

type Message = {
  type: string;
  futureId?: string;
  receipt?: { blockNumber: number; status: string };
};

export function readJournal(folder: string): Journal {
  const journal: Journal = { addresses: {}, blocks: {}, begun: new Set() };
  const done = join(folder, "deployed_addresses.json");
  if (existsSync(done)) journal.addresses = JSON.parse(readFileSync(done, "utf8")) as Journal["addresses"];
  const file = join(folder, "journal.jsonl");
  if (!existsSync(file)) return journal;
  for (const line of readFileSync(file, "utf8").split("\n")) {
    if (line.trim() === "") continue;
    const { type, futureId, receipt } = JSON.parse(line) as Message;
    if (futureId === undefined) continue;
    if (type === "DEPLOYMENT_EXECUTION_STATE_INITIALIZE") journal.begun.add(futureId);
    if (type === "TRANSACTION_CONFIRM" && receipt?.status === "SUCCESS") journal.blocks[futureId] = receipt.blockNumber;
    if (type === "WIPE_APPLY") {
      journal.begun.delete(futureId);
      delete journal.blocks[futureId];
    }
  }
  return journal;
}
