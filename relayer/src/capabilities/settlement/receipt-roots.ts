// The receipts of a packed claim: which ones it newly covers, and the root of their tree. Made before the claim is signed, written down
// with its signed bytes: a fee bump sends the same calldata, and a claim that never reached the chain leaves its receipts to the next.
import type { Hex } from "viem";
import { receiptDigest } from "../../crypto/receipt-digest.ts";
import { breather, receiptTree } from "../../crypto/receipt-tree.ts";
import { toHex } from "../../db/codec.ts";
import type { Deps } from "../../deps.ts";
import { receiptsBetween, type Span, type StoredReceipt } from "../gateway/receipt-store.ts";
import { receiptDomainOf } from "../gateway/receipts.ts";
import type { Batch, Group } from "./packing.ts";
import { coveredUpTo, uncoveredStreams, type Mark, type StreamReceipt } from "./receipt-root-store.ts";

export type RootDeps = Pick<Deps, "config" | "db">;

/** The calls of a channel under a root: after `from` (the last mark), up to `upTo`. */
export type CallRange = Mark & { from: bigint };

/** What a group's root stands for. `leaves`: digests of receipts, calls by row and cumulative charge, then streams. */
export type GroupReceipts = { root: Hex; leaves: Buffer; ranges: ReadonlyMap<Hex, CallRange>; streams: readonly StreamReceipt[] };

/** Receipts under one root; what is beyond rides in the channel's next packed claim. */
const MOST_LEAVES = 100_000;
/** Read at once, so that neither memory nor a sort grows with the claim. */
const PAGE = 10_000;
const CHANNELS = 10;
/** A receipt's digest takes as long as so many hashes of a tree. */
const DIGEST_WORK = 10;

/** The batch with the receipts of each packed group. The published form has no room for a root. */
export async function withReceipts(deps: RootDeps, batch: Batch): Promise<Batch> {
  if (batch.form !== "packed") return batch;
  const groups: Group[] = [];
  for (const group of batch.groups) groups.push({ ...group, receipts: await receiptsOf(deps, group) });
  return { ...batch, groups };
}

async function receiptsOf(deps: RootDeps, { rows }: Group): Promise<GroupReceipts | undefined> {
  const streams = await uncoveredStreams(deps.db, rows, MOST_LEAVES);
  const marks = await coveredUpTo(deps.db, rows.map(({ channelId }) => channelId));
  const spans = rows.map(({ channelId, totalClaimed }, n): Span => ({ channelId, after: marks[n]!.upTo, afterCall: marks[n]!.call, upTo: totalClaimed })).filter(({ after, upTo }) => upTo >= after);
  const { leaves, reached } = await leavesOf(deps, spans, MOST_LEAVES - streams.length);
  const all = Buffer.concat([...leaves, ...(await digestsOf(deps, streams))]);
  if (all.length === 0) return undefined;
  const { root } = await receiptTree(all);
  // A row that brings only streams has an empty range.
  for (const { receipt } of streams) if (!reached.has(receipt.channelId)) reached.set(receipt.channelId, markOf(spans.find(({ channelId }) => channelId === receipt.channelId)));
  const ranges = new Map(spans.flatMap(({ channelId, after }) => (reached.has(channelId) ? [[channelId, { from: after, ...reached.get(channelId)! }] as const] : [])));
  return { root: toHex(root), leaves: all, ranges, streams };
}

const markOf = (span: Span | undefined): Mark => ({ upTo: span?.after ?? 0n, call: span?.afterCall ?? 0n });

async function digestsOf({ config }: Pick<RootDeps, "config">, found: readonly StoredReceipt[]): Promise<Uint8Array[]> {
  const domain = receiptDomainOf({ config });
  const breathe = breather();
  const digests: Uint8Array[] = [];
  for (const { receipt } of found) {
    digests.push(receiptDigest(domain, receipt));
    await breathe(DIGEST_WORK);
  }
  return digests;
}

/** Reads page by page. `reached`: how far each channel's calls are among the leaves. */
async function leavesOf(deps: RootDeps, spans: readonly Span[], atMost: number): Promise<{ leaves: Uint8Array[]; reached: Map<Hex, Mark> }> {
  const leaves: Uint8Array[] = [];
  const reached = new Map<Hex, Mark>();
  let rest = [...spans];
  while (rest.length > 0 && leaves.length < atMost) {
    const asked = rest.slice(0, CHANNELS);
    const most = Math.min(PAGE, atMost - leaves.length);
    const page = await receiptsBetween(deps.db, asked, most);
    leaves.push(...(await digestsOf(deps, page)));
    for (const { receipt } of page) reached.set(receipt.channelId, { upTo: receipt.cumulative, call: receipt.requestNumber });
    const last = page.length < most ? undefined : page.at(-1)!.receipt;
    const whole = last === undefined ? asked : asked.slice(0, asked.findIndex(({ channelId }) => channelId === last.channelId));
    for (const span of whole) reached.set(span.channelId, endOf(span, reached.get(span.channelId)));
    rest = rest.slice(whole.length);
    if (last !== undefined) rest[0] = { ...rest[0]!, after: last.cumulative, afterCall: last.requestNumber };
  }
  return { leaves, reached };
}

/** Where a span ends that was read whole: at its total; and there at its last call, if one stands there. */
function endOf(span: Span, last = markOf(span)): Mark {
  return last.upTo === span.upTo ? last : { upTo: span.upTo, call: 0n };
}
