// The watchtower: writes down what the chain recorded of our channels, whoever sent it, and reads all of them again, slowly, so that
// what a missed log left behind heals itself. The follower (follower.ts) decides when, and owns the cursor.
import { formatLog, numberToHex, parseEventLogs, type Hex, type Log as ChainLog, type RpcLog } from "viem";
import { sessionChannelsAbi } from "../../../../sdk/src/abi/session-channels.ts";
import { decodePackedResults } from "../../../../sdk/src/packed-claim.ts";
import { readChain } from "../../chain/client.ts";
import { stopSales } from "../../db/continuity.ts";
import type { Deps } from "../../deps.ts";
import { EVENT } from "../../telemetry/log.ts";
import { readViewAt } from "./chain-view.ts";
import { updateChainView, type Channel, type ChainView } from "./store.ts";
import { findCursor } from "./cursor-store.ts";
import { historyFound, historyWanted, isSigner, markGone, nextChannels, savePass, writeRecords, type ChainRecord, type RecordKind } from "./watch-store.ts";

export type WatchDeps = Pick<Deps, "config" | "db" | "chain" | "log" | "metrics">;

/** How far back a channel's history is looked up when it is taken in: an hour on Base. */
const HISTORY_BLOCKS = 2_000n;
const HISTORY_CHANNELS = 100;
/** Channels compared in one pass: 12,000 a minute at the default poll. */
const COMPARED_AT_ONCE = 200;

const KINDS: Record<string, RecordKind> = {
  Deposited: "deposit", Claimed: "claim", Refunded: "refund", WithdrawInitiated: "withdraw_started", WithdrawCancelled: "withdraw_cancelled", WithdrawFinalized: "withdraw_finalized",
};

/** What these logs of SessionChannels say, a record a channel. */
export function recordsOf(logs: readonly ChainLog[]): ChainRecord[] {
  return parseEventLogs({ abi: sessionChannelsAbi, logs: [...logs] }).flatMap((log): ChainRecord[] => {
    const { transactionHash: txHash, logIndex, blockNumber, blockHash } = log;
    if (txHash === null || logIndex === null || blockNumber === null || blockHash === null) return []; // not mined yet
    const at = { txHash, logIndex, blockNumber, blockHash };
    if (log.eventName === "PackedClaimed") {
      return decodePackedResults(log.args.results).flatMap(({ status, channelId, claimAmount }, rowIndex) => (status === "Claimed" ? [{ ...at, rowIndex, channelId, kind: "claim" as const, amount: claimAmount }] : []));
    }
    const kind = KINDS[log.eventName];
    if (kind === undefined || !("channelId" in log.args)) return [];
    const amount = "amount" in log.args ? log.args.amount : "claimAmount" in log.args ? log.args.claimAmount : 0n;
    return [{ ...at, rowIndex: 0, channelId: log.args.channelId, kind, amount }];
  });
}

/** Writes down what is new, and says aloud what nobody but us should have done. Views come first: what is alarming is judged by them. */
export async function record(deps: WatchDeps, records: readonly ChainRecord[]): Promise<void> {
  for (const written of await writeRecords(deps.db, records)) {
    if (written.ours) continue;
    const { channelId, kind, amount, unclaimed, txHash, blockNumber } = written;
    deps.log.debug({ event: EVENT.chainForeign, channelId, kind, amount: String(amount), txHash });
    if (kind === "claim") await mustNotBeOurs(deps, txHash, blockNumber);
    if (kind !== "refund" || unclaimed === 0n) continue;
    deps.metrics.chainAlerts.inc({ kind: "refund_by_others" });
    deps.log.error({ event: EVENT.chainForeign, channelId, kind, amount: String(amount), unclaimed: String(unclaimed), txHash }, "somebody else refunded a channel with unclaimed charges");
  }
}

/** Name of the cursor that stays at the block in which this ledger began to follow the chain. */
export const BEGUN = "channels.begun";

/** A claim that one of our own keys sent and that is in no table: the ledger has forgotten it, and what else it has forgotten nobody knows. */
async function mustNotBeOurs(deps: WatchDeps, txHash: Hex, blockNumber: bigint): Promise<void> {
  // What our keys did before this ledger began was another ledger's.
  const begun = await findCursor(deps.db, BEGUN);
  if (begun !== undefined && blockNumber <= begun.blockNumber) return;
  const { from } = await readChain(() => deps.chain.client.getTransaction({ hash: txHash }));
  if (!(await isSigner(deps.db, from))) return;
  const reason = `transaction ${txHash} claims, was sent by ${from}, and is not in the ledger`;
  deps.metrics.chainAlerts.inc({ kind: "forgotten_claim" });
  if (await stopSales(deps.db, reason)) deps.log.fatal({ event: EVENT.ledgerRewound, reason }, "the ledger lost commits: nothing is sold by channel until an operator resumes");
}

/** After a reorganisation: these are all that the chain has of our channels from that block on. */
export async function recordAgain(deps: WatchDeps, records: readonly ChainRecord[], from: bigint): Promise<void> {
  await markGone(deps.db, from, records.map(({ blockHash }) => blockHash));
  await record(deps, records);
}

/** A channel's deposit is often in a block that was followed before its row was there, and other things may be. */
export async function lookUpHistories(deps: WatchDeps, head: bigint): Promise<void> {
  const channelIds = await historyWanted(deps.db, HISTORY_CHANNELS);
  if (channelIds.length === 0) return;
  const fromBlock = numberToHex(head > HISTORY_BLOCKS ? head - HISTORY_BLOCKS : 0n);
  // viem takes the arguments of one event only; the channel is the first argument of each of these.
  const filter = { address: deps.config.sessionChannels, topics: [null, channelIds], fromBlock, toBlock: numberToHex(head) } as const;
  const logs = await readChain(() => deps.chain.client.request({ method: "eth_getLogs", params: [filter as never] }) as Promise<RpcLog[]>);
  // From before we followed it: of a claim by another ledger nothing is concluded.
  await writeRecords(deps.db, recordsOf(logs.map((log) => formatLog(log))));
  // Between the first reading of a channel and its row a log may have passed by, of a withdrawal say.
  for (const [channelId, view] of await readViewAt(deps, channelIds, head)) await updateChainView(deps.db, channelId, view);
  await historyFound(deps.db, channelIds);
}

/**
 * Compares the next channels with the chain as of a head that was followed already: a difference is something that was missed.
 * @returns how many differed.
 */
export async function compareNext(deps: WatchDeps, head: bigint): Promise<number> {
  const channels = await nextChannels(deps.db, COMPARED_AT_ONCE);
  const views = await readViewAt(deps, channels.map(({ channelId }) => channelId), head);
  let missed = 0;
  for (const channel of channels) {
    const view = views.get(channel.channelId)!;
    if (isSame(channel, view) || !(await updateChainView(deps.db, channel.channelId, view))) continue;
    missed += 1;
    deps.metrics.chainMissed.inc();
    deps.log.warn({ event: EVENT.chainMissed, channelId: channel.channelId, balance: String(view.balance), totalClaimed: String(view.totalClaimed) }, "a channel was not as the chain has it");
  }
  await savePass(deps.db, channels.length < COMPARED_AT_ONCE ? undefined : channels.at(-1)!.channelId);
  return missed;
}

/** What is young is read in every pass anyway. */
function isSame(channel: Channel, view: ChainView): boolean {
  if (view.ladder !== undefined || channel.pending > 0n || channel.syncedBlock > view.syncedBlock) return true;
  const { balance, totalClaimed, withdrawAmount, withdrawInitiatedAt, refundNonce } = view;
  return channel.balance === balance && channel.totalClaimed === totalClaimed && channel.withdrawAmount === withdrawAmount && channel.withdrawInitiatedAt === withdrawInitiatedAt && channel.refundNonce === refundNonce;
}
