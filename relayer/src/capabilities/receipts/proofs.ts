// Receipts under roots: the proof of one for its parties, and what of a tree everybody may read.
import type { Address, Hex } from "viem";
import { TallystickError } from "../../../../sdk/src/errors.ts";
import { toWireReceipt } from "../../../../sdk/src/receipt.ts";
import { publicReceipt, type PublicReceipt } from "../../../../sdk/src/receipt-public.ts";
import type { ReceiptDomain } from "../../../../sdk/src/typed-data.ts";
import { proofIn, receiptTree } from "../../crypto/receipt-tree.ts";
import { toBytes, toHex } from "../../db/codec.ts";
import { receiptDomainOf } from "../gateway/receipts.ts";
import { findClaimForm, findRooted, findTree, leavesOf } from "./root-store.ts";
import { receiptFor, type ReceiptDeps, type ReceiptView } from "./service.ts";

export type ReceiptProof = ReceiptView & { root: Hex; proof: Hex[]; transaction: Hex; state: "sent" | "claimed" };

/** Undefined for whoever is no party. @throws TallystickError `receipt_not_rooted`, `receipt_changed`. */
export async function proofFor(deps: ReceiptDeps, paymentId: string, caller: Address): Promise<ReceiptProof | undefined> {
  const view = await receiptFor(deps, paymentId, caller);
  if (view === undefined) return undefined;
  const rooted = await findRooted(deps.db, paymentId);
  if (rooted === undefined) throw notRooted(await reasonOf(deps, paymentId));
  const proof = proofIn(await receiptTree(rooted.leaves), toBytes(view.receiptHash));
  if (proof === undefined) throw changed();
  return { ...view, root: rooted.root, proof: proof.map(toHex), transaction: rooted.transaction, state: rooted.state };
}

async function reasonOf({ db, config }: ReceiptDeps, paymentId: string): Promise<string> {
  const form = await findClaimForm(db, paymentId);
  if (form?.inChannel !== true) return "it was paid without a channel, so no claim carries it";
  if (config.settlementMode === "canonical") return "this relayer claims in the published form (canonical mode), which carries no root";
  if (!form.claimed) return "its charge is not claimed yet";
  if (form.isFree) return "it cost nothing and came after its channel's last claim; it rides in the next";
  if (form.isStream) return "it was made after its charge was claimed; a root follows";
  return "its charge was claimed without a root (by the published form, beside a refund, or by the receiver itself); one follows, with the channel's next claim at the latest";
}

function notRooted(reason: string): TallystickError {
  return new TallystickError({ code: "receipt_not_rooted", status: 409, retry: "safe", detail: `The receipt is under no root: ${reason}.` });
}

function changed(): TallystickError {
  return new TallystickError({ code: "receipt_changed", status: 409, retry: "never", detail: "The root that should hold this receipt was made of another one of the same payment." });
}

export type PublicLeaf = { receiptHash: Hex; receipt?: PublicReceipt; ack?: Hex };
export type PublicTree = { root: Hex; domain: ReceiptDomain; count: number; transactions: { hash: Hex; state: string }[]; offset: number; leaves: PublicLeaf[]; next?: number };

/** What both parties agreed on is shown, its texts by their hashes; of the others only the digest. */
export async function publicTree(deps: ReceiptDeps, root: Hex, offset: number, limit: number): Promise<PublicTree | undefined> {
  const info = await findTree(deps.db, root);
  if (info === undefined) return undefined;
  const leaves = (await leavesOf(deps.db, root, offset, limit)).map(({ receiptHash, acknowledged }): PublicLeaf => ({
    receiptHash,
    ...(acknowledged === undefined ? {} : { receipt: publicReceipt(toWireReceipt(acknowledged.receipt.receipt)), ack: acknowledged.signature }),
  }));
  const next = offset + leaves.length;
  return { root, domain: receiptDomainOf(deps), ...info, offset, leaves, ...(next < info.count ? { next } : {}) };
}
