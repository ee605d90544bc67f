// Roots for what was claimed without one: by the published form, beside a refund, or before a stream's receipt was made. A packed row that
// claims what is claimed moves nothing, and the root of its group is on the chain all the same.
import { numberToHex, type Hex } from "viem";
import { add, gasCostAtomic, GROUP, isWithinShare, rowSize, TRANSACTION, type Prices } from "./costs.ts";
import { chainNow } from "./adapter.ts";
import { rootsOf, type Batch, type PlannedRow } from "./packing.ts";
import { forgetUnrooted, unrootedChannels, type Unrooted } from "./receipt-root-store.ts";
import { withReceipts } from "./receipt-roots.ts";
import { limitsOf, sendBatch, type SendingDeps } from "./sending.ts";

/** Looked at in one pass, those with the most value first. */
const LOOKED_AT = 500;
/** Nothing is signed for what is claimed already: the chain reads no signature of such a row. */
const UNSIGNED = numberToHex(0n, { size: 64 });

/**
 * Sends them when they are old enough and their gas is a small enough share of what was claimed; with `flush` all. The receipts of dust wait
 * for the next claim of their channel.
 * @returns how many transactions were sent.
 */
export async function sendRoots(deps: SendingDeps, flush: boolean): Promise<number> {
  if (deps.config.settlementMode === "canonical") return 0;
  const found = await unrootedChannels(deps.db, LOOKED_AT);
  const due = flush ? found : await worthTheirGas(deps, found.filter(({ since }) => deps.now().getTime() - since.getTime() >= deps.config.settle.maxAgeS * 1000));
  let sent = 0;
  for (const batch of rootsOf(due.map(rowOf), limitsOf(deps))) {
    const { kept, bare } = parted(await withReceipts(deps, batch));
    await forgetUnrooted(deps.db, due.filter(({ channelId }) => bare.has(channelId)));
    if (kept.groups.length > 0 && (await sendBatch(deps, kept))) sent += 1;
  }
  return sent;
}

async function worthTheirGas(deps: SendingDeps, found: readonly Unrooted[]): Promise<Unrooted[]> {
  if (found.length === 0) return [];
  const { maxGasShareBps, etherPriceAtomic } = deps.config.settle;
  const prices: Prices = { gasPriceWei: (await chainNow(deps)).gasPriceWei, etherPriceAtomic };
  const { gas } = [GROUP.packed, rowSize("packed", { signature: UNSIGNED })].reduce(add, TRANSACTION.packed);
  return found.filter(({ value }) => value >= gasCostAtomic(gas, prices) && isWithinShare(gas, value, maxGasShareBps, prices));
}

/** With a ceiling of its own, so that no voucher is shown that the chain has not seen. */
function rowOf({ channelId, config, totalClaimed }: Unrooted): PlannedRow {
  return { channelId, config, ceiling: totalClaimed, signature: UNSIGNED, totalClaimed, value: 0n };
}

/** The rows that have receipts to be rooted; and the others. */
function parted(batch: Batch): { kept: Batch; bare: Set<Hex> } {
  const bare = new Set(batch.groups.flatMap(({ rows, receipts }) => rows.filter(({ channelId }) => receipts?.ranges.has(channelId) !== true)).map(({ channelId }) => channelId));
  const groups = batch.groups.map((group) => ({ ...group, rows: group.rows.filter(({ channelId }) => !bare.has(channelId)) })).filter(({ rows }) => rows.length > 0);
  return { kept: { ...batch, groups }, bare };
}
