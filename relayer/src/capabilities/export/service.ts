// Vouchers for their receiver, as they are charged: whatever becomes of this relayer, they can be claimed on chain with the receiver's key.
import { setTimeout as sleep } from "node:timers/promises";
import type { Address } from "viem";
import type { Deps } from "../../deps.ts";
import { BEGINNING, cursorOf, stepAfter } from "./logic.ts";
import { claimableAfter, type ClaimableState, type Position } from "./store.ts";

type ExportDeps = Pick<Deps, "db" | "config" | "now">;

const PAGE = 500;
const POLL_MS = 250;

/** One line of a voucher file. Amounts are decimal strings of atomic units. */
export type VoucherLine = {
  chainId: number;
  contract: Address;
  channelConfig: ClaimableState["config"];
  channelId: string;
  maxClaimableAmount: string;
  totalCharged: string;
  requestCount: string;
  signature: string;
  at: string;
};

export type Exported = { vouchers: VoucherLine[]; /** Resumes after these. */ cursor: string; more: boolean };

/** What changed after a position; the newest state of each channel, once. */
export async function exportPage(deps: ExportDeps, receiver: Address, from: Position | undefined): Promise<Exported> {
  const vouchers: VoucherLine[] = [];
  for await (const part of pass(deps, receiver, from ?? BEGINNING, new Map())) {
    vouchers.push(...part.vouchers);
    if (part.more && part.settled) return { vouchers, cursor: part.cursor, more: true };
    if (!part.more) return { vouchers, cursor: part.cursor, more: false };
  }
  throw new Error("invariant: a pass has a last page");
}

/** Everything after a position, then what comes, until the signal aborts. A state may come twice after a reconnect, never not at all. */
export async function* follow(deps: ExportDeps, receiver: Address, from: Position | undefined, signal: AbortSignal): AsyncGenerator<Exported> {
  let position = from ?? BEGINNING;
  const told = new Map<string, bigint>();
  while (!signal.aborted) {
    for await (const part of pass(deps, receiver, position, told)) {
      position = part.resume;
      yield part;
      if (signal.aborted) return;
    }
    // What lies below is not read again.
    for (const [channelId, xid] of told) if (xid < position.xid) told.delete(channelId);
    await sleep(POLL_MS, undefined, { signal }).catch(() => {}); // aborted: the loop ends
  }
}

type Part = Exported & { resume: Position; settled: boolean };

/** All pages that are there now. `told`: by channel, the newest state that this reader has been given. */
async function* pass(deps: ExportDeps, receiver: Address, from: Position, told: Map<string, bigint>): AsyncGenerator<Part> {
  let at = from;
  let held: Position | undefined;
  for (;;) {
    const page = await claimableAfter(deps.db, receiver, at, PAGE);
    // A cursor of another database, such as one that was restored into a younger cluster: it says nothing here.
    if (at.xid > page.newest) {
      at = BEGINNING;
      told.clear();
      continue;
    }
    const { next, resume, more } = stepAfter(page, PAGE, held);
    const settled = resume === next && more;
    if (!settled) held = resume;
    const news = page.states.filter(({ channelId, xid }) => told.get(channelId) !== xid);
    for (const { channelId, xid } of news) told.set(channelId, xid);
    yield { vouchers: news.map((state) => lineOf(deps, state)), cursor: cursorOf(resume), more, resume, settled };
    if (!more) return;
    at = next;
  }
}

function lineOf({ config, now }: ExportDeps, { channelId, config: channelConfig, charged, ceiling, signature, requestCount }: ClaimableState): VoucherLine {
  return {
    chainId: config.chainId, contract: config.sessionChannels, channelConfig, channelId, maxClaimableAmount: ceiling.toString(), totalCharged: charged.toString(), requestCount: requestCount.toString(), signature,
    at: now().toISOString(),
  };
}
