// What became of a payment's money: SETTLED, PENDING or NEVER. Pure.
import type { Hex } from "viem";
import type { StoredEvent } from "../firewall/event-store.ts";
import type { Carrier, PaymentStory } from "./store.ts";

export type Status =
  /** The receiver has it. No transaction where nothing was charged, or where somebody else claimed. */
  | { status: "SETTLED"; transaction: Hex | undefined; detail: string }
  | { status: "PENDING"; detail: string; transaction: Hex | undefined }
  /** It can no longer happen, and why. */
  | { status: "NEVER"; reason: string; detail: string };

/** What the firewall refused, as a payment that was given back before it was made. */
export function storyOfRefusal({ at, rule, paymentId, channelId, scheme, payer, payee, service, resource, price }: StoredEvent): PaymentStory {
  if (paymentId === undefined || scheme === undefined || payer === undefined || payee === undefined || price === undefined) throw new Error("invariant: a refusal names its payment");
  return {
    paymentId, scheme, service: service ?? "", resource: resource ?? "", payer, receiver: payee, requestId: undefined, channelId, state: "released", releaseReason: `firewall ${rule}`, price, charged: undefined, cumulative: undefined, requestNumber: undefined,
    ceiling: undefined, authorizationNonce: undefined, reservedAt: at, startedAt: undefined, endedAt: undefined, resolvedAt: at, depositTx: undefined, settledTx: undefined, channelClaimed: undefined, channelBalance: undefined, quarantine: undefined,
  };
}

const RUNNING: Record<string, string> = { reserved: "The call is being served.", settling: "The answer is stored; the transfer is under way." };

/** @param carriers transactions that claim up to this payment's charge, or carry its transfer; the earliest first. */
export function statusOf(story: PaymentStory, carriers: readonly Carrier[]): Status {
  // Paid before it was asked for: what failed was the service, and the purchase stays open.
  if (story.state === "released" && story.scheme === "transfer") return { status: "PENDING", transaction: story.settledTx, detail: "Paid by transfer, not delivered yet: submit it again." };
  if (story.state === "released") return { status: "NEVER", reason: story.releaseReason ?? "released", detail: "The call was not charged, so nothing will be paid for it." };
  if (story.state !== "charged") return { status: "PENDING", detail: RUNNING[story.state]!, transaction: carriers[0]?.hash };
  if (story.channelId === undefined) return direct(story, carriers);
  return story.charged === 0n ? { status: "SETTLED", transaction: undefined, detail: "The call was charged nothing." } : byChannel(story, carriers);
}

function direct({ settledTx }: PaymentStory, [carrier]: readonly Carrier[]): Status {
  // A transaction of ours that is no longer confirmed was taken back by a reorganisation.
  if (carrier !== undefined && carrier.state !== "confirmed") return { status: "PENDING", transaction: carrier.hash, detail: "The transfer's block is gone; it is sent again." };
  return { status: "SETTLED", transaction: settledTx, detail: "The transfer paid the receiver." };
}

function byChannel({ cumulative = 0n, channelClaimed = 0n, channelBalance = 0n, quarantine }: PaymentStory, carriers: readonly Carrier[]): Status {
  const claimed = carriers.find(({ state, rowState }) => state === "confirmed" && rowState === "claimed");
  if (claimed !== undefined && channelClaimed >= cumulative) return { status: "SETTLED", transaction: claimed.hash, detail: "Claimed from the channel." };
  if (channelClaimed >= cumulative) return { status: "SETTLED", transaction: undefined, detail: "Claimed from the channel by a transaction that is not ours." };
  if (channelBalance < cumulative) return { status: "NEVER", reason: "channel_emptied", detail: `The channel holds ${channelBalance}, less than the ${cumulative} charged: the payer withdrew before it was claimed.` };
  const sent = carriers.find(({ state }) => state === "signed" || state === "broadcast");
  if (sent !== undefined) return { status: "PENDING", transaction: sent.hash, detail: "The claim was sent and is not confirmed yet." };
  return { status: "PENDING", transaction: undefined, detail: quarantine === undefined ? "Charged; the claim goes with a later batch." : `The last claim was refused (${quarantine}); it is tried again.` };
}
