// The receipts of a packed claim: which ones it newly covers, and the root of their tree. Made before the claim is signed, written down
// with its signed bytes: a fee bump sends the same calldata, and a claim that never reached the chain leaves its receipts to the next.
import type { Hex } from "viem";
import { receiptDigest } from "../../crypto/receipt-digest.ts";
import { breather, receiptTree } from "../../crypto/receipt-tree.ts";
import { toHex } from "../../db/codec.ts";
import type { Deps } from "../../deps.ts";
import { receiptsBetween, type Span } from "../gateway/receipt-store.ts";
import { receiptDomainOf } from "../gateway/receipts.ts";
import type { Batch, Group } from "./packing.ts";
import { uncoveredReceipts, type ReceiptRange } from "./receipt-root-store.ts";

export type RootDeps = Pick<Deps, "config" | "db">;

/** What a group's root stands for. `leaves`: digests of receipts, by row, then by cumulative charge. */
export type GroupReceipts = { root: Hex; leaves: Buffer; ranges: ReadonlyMap<Hex, ReceiptRange> };

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
  const wanted = await uncoveredReceipts(deps.db, rows);
  const spans = rows.map(({ channelId }, n): Span => ({ channelId, after: wanted[n]!.from, upTo: wanted[n]!.to }));
  const { leaves, reached } = await leavesOf(deps, spans.filter(({ after, upTo }) => upTo > after));
  if (leaves.length === 0) return undefined;
  const { root } = await receiptTree(leaves);
  const ranges = new Map(spans.flatMap(({ channelId, after }) => (reached.has(channelId) ? [[channelId, { from: after, to: reached.get(channelId)! }] as const] : [])));
  return { root: toHex(root), leaves, ranges };
}

/** Reads page by page. `reached`: how far each channel's receipts are among the leaves. */
async function leavesOf({ config, db }: RootDeps, spans: readonly Span[]): Promise<{ leaves: Buffer; reached: Map<Hex, bigint> }> {
  const domain = receiptDomainOf({ config });
  const breathe = breather();
  const leaves: Uint8Array[] = [];
  const reached = new Map<Hex, bigint>();
  let rest = [...spans];
  while (rest.length > 0 && leaves.length < MOST_LEAVES) {
    const asked = rest.slice(0, CHANNELS);
    const most = Math.min(PAGE, MOST_LEAVES - leaves.length);
    const page = await receiptsBetween(db, asked, most);
    for (const { receipt } of page) {
      leaves.push(receiptDigest(domain, receipt));
      await breathe(DIGEST_WORK);
    }
    const isWhole = page.length < most;
    const last = isWhole ? undefined : page.at(-1)!.receipt;
    const whole = last === undefined ? asked : asked.slice(0, asked.findIndex(({ channelId }) => channelId === last.channelId));
    for (const { channelId, upTo } of whole) reached.set(channelId, upTo);
    rest = rest.slice(whole.length);
    if (last === undefined) continue;
    reached.set(last.channelId, last.cumulative);
    rest[0] = { ...rest[0]!, after: last.cumulative, afterPayment: last.paymentId };
  }
  return { leaves: Buffer.concat(leaves), reached };
}
