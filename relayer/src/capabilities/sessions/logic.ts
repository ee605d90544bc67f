// The state of a session, in one word. Pure.
import type { Channel } from "../channels/store.ts";

export type SessionState =
  | "open"
  /** The payer has asked the chain for its money back: no new call is served. */
  | "withdrawing"
  /** A refund is under way. */
  | "refunding"
  /** What is left does not pay for one more call. */
  | "exhausted"
  /** Nothing is left in it, and nothing is owed. A deposit opens it again. */
  | "closed";

export function stateOf(channel: Channel, price: bigint): SessionState {
  const { balance, pending, charged, reserved, totalClaimed, withdrawInitiatedAt, frozenBy } = channel;
  if (withdrawInitiatedAt > 0) return "withdrawing";
  if (frozenBy !== undefined) return "refunding";
  if (balance + pending === totalClaimed && charged <= totalClaimed && reserved === 0n) return "closed";
  return balance - charged - reserved < price ? "exhausted" : "open";
}

/** What is neither charged nor set aside, atomic units. */
export function remaining({ balance, charged, reserved }: Pick<Channel, "balance" | "charged" | "reserved">): bigint {
  const free = balance - charged - reserved;
  return free > 0n ? free : 0n;
}

/** When a pending withdrawal can be finished, unix seconds; undefined when none is pending: a channel has no other end. */
export function expiresAtS({ withdrawInitiatedAt, config }: Channel): number | undefined {
  return withdrawInitiatedAt === 0 ? undefined : withdrawInitiatedAt + config.withdrawDelay;
}
