// Which channels to claim now, and in which transactions. Pure: the same rows, policy and time give the same batches.
import { isAddressEqual, zeroAddress, type Address, type Hex } from "viem";
import type { ChannelConfig } from "../../../../sdk/src/typed-data.ts";

/** A channel with something charged that the chain does not know of. Amounts are atomic units, cumulative. */
export type Claimable = {
  channelId: Hex;
  config: ChannelConfig;
  charged: bigint;
  totalClaimed: bigint;
  balance: bigint;
  /** The highest voucher of a charged payment, and its signature. */
  ceiling: bigint;
  signature: Hex;
  withdrawPending: boolean;
  /** When the oldest charge that is not claimed was made, unix seconds. */
  unclaimedSinceS: number;
};

export type Policy = {
  mode: "tallystick" | "canonical";
  maxAgeS: number;
  /** A group with this much unclaimed is claimed whatever its age. */
  minValueAtomic: bigint;
  maxRows: number;
  /** What claiming one row costs us, roughly. Less than this never causes a transaction, so that dust is no lever; it rides
   * along when another row of its group is claimed. */
  dustAtomic: bigint;
  /** Claims everything now. */
  flush: boolean;
};

export type Reason = "age" | "value" | "withdrawal" | "flush";

export type PlannedRow = {
  channelId: Hex;
  config: ChannelConfig;
  ceiling: bigint;
  signature: Hex;
  /** Claimed up to, cumulative: what is charged, or the balance where a reorganisation left less. */
  totalClaimed: bigint;
  /** What that adds, as far as we know. */
  value: bigint;
};

/** One claim transaction. Packed rows share all four terms; `plain` is the published claim. */
export type Batch = {
  form: "packed" | "plain";
  receiver: Address;
  receiverAuthorizer: Address;
  token: Address;
  withdrawDelay: number;
  reason: Reason;
  rows: PlannedRow[];
};

type Candidate = { row: PlannedRow; withdrawPending: boolean; unclaimedSinceS: number };

export function chooseBatches(claimables: readonly Claimable[], policy: Policy, nowS: number): Batch[] {
  const groups = Map.groupBy(claimables.flatMap(plan), ({ row }) => groupKey(row.config, policy));
  return [...groups.values()].flatMap((group) => {
    const reason = reasonFor(group, policy, nowS);
    return reason === undefined ? [] : batchesOf(group, reason, policy);
  });
}

/** What can be claimed of a channel: charged, but never beyond what was signed or what is there. */
function plan({ channelId, config, charged, totalClaimed, balance, ceiling, signature, withdrawPending, unclaimedSinceS }: Claimable): Candidate[] {
  const upTo = [charged, balance, ceiling].reduce((least, amount) => (amount < least ? amount : least));
  if (upTo <= totalClaimed) return [];
  return [{ row: { channelId, config, ceiling, signature, totalClaimed: upTo, value: upTo - totalClaimed }, withdrawPending, unclaimedSinceS }];
}

/**
 * A payer that is a contract (payerAuthorizer zero) can make its own row fail at will, and the packed form does not take
 * it: it is claimed alone.
 */
function groupKey({ payer, payerAuthorizer, receiver, receiverAuthorizer, token, withdrawDelay, salt }: ChannelConfig, { mode }: Policy): string {
  const shared = [receiver, receiverAuthorizer, token, mode === "tallystick" ? withdrawDelay : ""];
  const alone = isAddressEqual(payerAuthorizer, zeroAddress) ? [payer, withdrawDelay, salt] : [];
  return [...shared, ...alone].join("|").toLowerCase();
}

function reasonFor(group: readonly Candidate[], policy: Policy, nowS: number): Reason | undefined {
  if (policy.flush) return "flush";
  const worth = group.filter(({ row }) => row.value >= policy.dustAtomic);
  if (worth.some(({ withdrawPending }) => withdrawPending)) return "withdrawal";
  if (worth.length > 0 && sum(group) >= policy.minValueAtomic) return "value";
  if (worth.some(({ unclaimedSinceS }) => nowS - unclaimedSinceS >= policy.maxAgeS)) return "age";
  return undefined;
}

function batchesOf(group: readonly Candidate[], reason: Reason, { mode, maxRows }: Policy): Batch[] {
  const { receiver, receiverAuthorizer, token, withdrawDelay, payerAuthorizer } = group[0]!.row.config;
  const form = mode === "tallystick" && !isAddressEqual(payerAuthorizer, zeroAddress) ? "packed" : "plain";
  const rows = [...group].sort(byUrgency).map(({ row }) => row);
  const batches: Batch[] = [];
  for (let start = 0; start < rows.length; start += maxRows) {
    batches.push({ form, receiver, receiverAuthorizer, token, withdrawDelay, reason, rows: rows.slice(start, start + maxRows) });
  }
  return batches;
}

/** Withdrawals first, then the most valuable; the id makes the order the same everywhere. */
function byUrgency(a: Candidate, b: Candidate): number {
  if (a.withdrawPending !== b.withdrawPending) return a.withdrawPending ? -1 : 1;
  if (a.row.value !== b.row.value) return a.row.value > b.row.value ? -1 : 1;
  return a.row.channelId < b.row.channelId ? -1 : 1;
}

const sum = (group: readonly Candidate[]) => group.reduce((total, { row }) => total + row.value, 0n);
