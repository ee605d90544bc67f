// Which claim a channel's acknowledged receipts speak for. Pure.
import type { ReceiptSums } from "./facts.ts";

/** Where a log is on the chain, and a row in it. */
export type Place = { blockNumber: bigint; logIndex: number; rowIndex: number };
/** One row that claimed something; amounts in atomic units. */
export type ClaimedRow = Place & { id: string; channelId: string; receiptsRoot: string | null; totalClaimed: bigint };
/** A row that claimed nothing new and brought a root: for what had been claimed without one. */
export type LaterRoot = Place & { channelId: string; root: string };
/** What is counted of a channel under a root. */
export type CountedSum = { root: string; channelId: string; acknowledged: number; late: number; latencyMs: bigint; amount: bigint };

/**
 * By id of the claim: what is under its own root, and under roots that were shown for its channel later, before the next claim. Receipts of
 * more than the channel had claimed by then are not believed.
 */
export function receiptsOfClaims(claims: readonly ClaimedRow[], later: readonly LaterRoot[], sums: readonly CountedSum[]): Map<string, ReceiptSums> {
  const unused = new Map(sums.map((sum) => [keyOf(sum.root, sum.channelId), sum]));
  const take = (root: string | null, channelId: string): CountedSum[] => {
    const sum = root === null ? undefined : unused.get(keyOf(root, channelId));
    if (sum === undefined) return [];
    unused.delete(keyOf(root!, channelId));
    return [sum];
  };
  const claimsOf = Map.groupBy(claims.toSorted(byPlace), ({ channelId }) => channelId.toLowerCase());
  const shown = new Map(claims.toSorted(byPlace).map((row) => [row.id, take(row.receiptsRoot, row.channelId)]));
  for (const row of later.toSorted(byPlace)) {
    const claim = claimsOf.get(row.channelId.toLowerCase())?.findLast((candidate) => byPlace(candidate, row) < 0);
    if (claim !== undefined) shown.get(claim.id)!.push(...take(row.root, row.channelId));
  }
  const believed = new Map<string, ReceiptSums>();
  for (const rows of claimsOf.values()) {
    let amount = 0n;
    for (const { id, totalClaimed } of rows) {
      for (const sum of shown.get(id)!) {
        if (amount + sum.amount > totalClaimed) continue;
        amount += sum.amount;
        believed.set(id, added(believed.get(id), sum));
      }
    }
  }
  return believed;
}

const keyOf = (root: string, channelId: string): string => `${root}|${channelId}`.toLowerCase();

function byPlace(one: Place, other: Place): number {
  if (one.blockNumber !== other.blockNumber) return one.blockNumber < other.blockNumber ? -1 : 1;
  return one.logIndex - other.logIndex || one.rowIndex - other.rowIndex;
}

function added(sums: ReceiptSums | undefined, { acknowledged, late, latencyMs }: CountedSum): ReceiptSums {
  const before = sums ?? { count: 0, acknowledged: 0, failed: 0, late: 0, creditedAtomic: 0n, latencyMs: 0 };
  return { ...before, count: before.count + acknowledged, acknowledged: before.acknowledged + acknowledged, late: before.late + late, latencyMs: before.latencyMs + Number(latencyMs) };
}
