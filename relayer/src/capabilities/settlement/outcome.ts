// What became of the rows of a claim transaction, told by its receipt. Pure.
import { isAddressEqual, parseEventLogs, type Address, type Hex, type Log } from "viem";
import { sessionChannelsAbi } from "../../../../sdk/src/abi/session-channels.ts";
import { decodePackedResults } from "../../../../sdk/src/packed-claim.ts";

export type RowOutcome =
  /** claimed is 0 when somebody else's transaction had claimed it before. */
  | { state: "claimed"; claimed: bigint }
  /** The chain refused this row and took the others. */
  | { state: "skipped"; reason: string }
  /** The transaction did nothing for this row; it can be claimed again. */
  | { state: "failed"; reason: string };

type Row = { channelId: Hex; totalClaimed: bigint };

/**
 * @param logs of a transaction that succeeded.
 * @param chainTotals the chain's cumulative claim of each channel, read after the transaction.
 */
export function rowOutcomes(rows: readonly Row[], logs: readonly Log[], contract: Address, chainTotals: ReadonlyMap<Hex, bigint>): Map<Hex, RowOutcome> {
  const told = toldBy(logs, contract);
  return new Map(rows.map((row) => [row.channelId, outcomeOf(row, told.get(row.channelId), chainTotals.get(row.channelId) ?? 0n)]));
}

type Told = { claimed: bigint } | { status: string };

function outcomeOf(row: Row, told: Told | undefined, chainTotal: bigint): RowOutcome {
  if (told !== undefined && "claimed" in told) return { state: "claimed", claimed: told.claimed };
  // Nothing new is what was wanted, when the chain covers it.
  if (chainTotal >= row.totalClaimed) return { state: "claimed", claimed: 0n };
  if (told !== undefined && told.status !== "NothingNew") return { state: "skipped", reason: told.status };
  return { state: "failed", reason: "NotClaimed" };
}

function toldBy(logs: readonly Log[], contract: Address): Map<Hex, Told> {
  const told = new Map<Hex, Told>();
  const events = parseEventLogs({ abi: sessionChannelsAbi, eventName: ["Claimed", "PackedClaimed"], logs: [...logs] });
  for (const event of events.filter(({ address }) => isAddressEqual(address, contract))) {
    if (event.eventName === "Claimed") told.set(event.args.channelId, { claimed: event.args.claimAmount });
    else for (const { channelId, status, claimAmount } of decodePackedResults(event.args.results)) told.set(channelId, status === "Claimed" ? { claimed: claimAmount } : { status });
  }
  return told;
}

/** What the transaction paid out to the receiver, atomic units. */
export function settledAmount(logs: readonly Log[], contract: Address, receiver: Address, token: Address): bigint {
  return parseEventLogs({ abi: sessionChannelsAbi, eventName: "Settled", args: { receiver, token }, logs: [...logs] })
    .filter(({ address }) => isAddressEqual(address, contract))
    .reduce((total, { args }) => total + args.amount, 0n);
}
