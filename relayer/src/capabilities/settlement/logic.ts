// Which channels to claim now, and which to give up. Pure: the same rows, policy and time give the same plan.
import { isAddressEqual, zeroAddress, type Hex } from "viem";
import type { ChannelConfig } from "../../../../sdk/src/typed-data.ts";
import { gasCostAtomic, GROUP, isWithinShare, rowSize, TRANSACTION, type Form, type Prices } from "./costs.ts";
import { arrange, payeeKey, type Batch, type Limits, type PlannedRow, type Reason, type SelectedGroup } from "./packing.ts";

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
  /** When a withdrawal that is under way can be finished, unix seconds of the chain's clock; undefined without one. */
  leavesAtS: number | undefined;
  /** When the oldest charge that is not claimed was made, unix seconds. */
  unclaimedSinceS: number;
};

export type Policy = Limits & Prices & {
  mode: "tallystick" | "canonical";
  /** Claimed at this age, if the gas is a small enough share of the value... */
  maxAgeS: number;
  maxGasShareBps: bigint;
  /** ...and at this age whenever the value is more than the gas. */
  hardAgeS: number;
  /** A receiver with this much unclaimed is claimed for whatever the age and the gas. */
  minValueAtomic: bigint;
  /** What a channel may owe before it is served no more; it is claimed at half of that. */
  maxUnsettledPerChannelAtomic?: bigint | undefined;
  /** Claims everything now. */
  flush: boolean;
};

/** `chainS` is the clock that withdrawals go by. */
export type Now = { wallS: number; chainS: number };

export type Plan = {
  batches: Batch[];
  /** A withdrawal is over and the rest is worth less than its claim. */
  writtenOff: WrittenOff[];
  /** Charged, but nothing of it is there to be claimed. */
  emptied: Hex[];
};

/** What was seen of a channel that is to be given up. */
export type WrittenOff = Pick<Claimable, "channelId" | "charged" | "totalClaimed" | "balance"> & { value: bigint; claimCost: bigint };

type Candidate = { row: PlannedRow; leavesAtS: number | undefined; unclaimedSinceS: number };

/** Before the end of a withdrawal, when rows that are only together worth a claim are claimed. */
const LAST_CALL_S = 600;

export function chooseBatches(claimables: readonly Claimable[], policy: Policy, now: Now): Plan {
  const candidates = claimables.flatMap(candidateOf);
  const seen = new Map(claimables.map((claimable) => [claimable.channelId, claimable]));
  const known = new Set(candidates.map(({ row }) => row.channelId));
  const atRisk = payeesAtRisk(candidates, policy);
  const groups = [...Map.groupBy(candidates, ({ row }) => groupKey(row.config, policy))].sort(([a], [b]) => (a < b ? -1 : 1));
  const selected = groups.flatMap(([, group]) => select(group, atRisk, policy, now) ?? []);
  const batches = arrange(selected, policy);
  const sent = new Set(batches.flatMap((batch) => batch.groups.flatMap(({ rows }) => rows.map(({ channelId }) => channelId))));
  return {
    batches,
    writtenOff: candidates
      .filter(({ row, leavesAtS }) => leavesAtS !== undefined && leavesAtS <= now.chainS && !sent.has(row.channelId))
      .filter(({ row }) => row.value <= loneCost(row, policy))
      .map(({ row }) => ({ ...seenOf(seen.get(row.channelId)!), value: row.value, claimCost: loneCost(row, policy) })),
    emptied: claimables.map(({ channelId }) => channelId).filter((channelId) => !known.has(channelId)),
  };
}

const seenOf = ({ channelId, charged, totalClaimed, balance }: Claimable) => ({ channelId, charged, totalClaimed, balance });

/** What can be claimed of a channel: charged, but never beyond what was signed or what is there. */
function candidateOf({ channelId, config, charged, totalClaimed, balance, ceiling, signature, leavesAtS, unclaimedSinceS }: Claimable): Candidate[] {
  const upTo = [charged, balance, ceiling].reduce((least, amount) => (amount < least ? amount : least));
  if (upTo <= totalClaimed) return [];
  return [{ row: { channelId, config, ceiling, signature, totalClaimed: upTo, value: upTo - totalClaimed }, leavesAtS, unclaimedSinceS }];
}

/**
 * A payer that is a contract (payerAuthorizer zero) can make its own row fail at will, and the packed form does not take
 * it: it is claimed alone.
 */
const isAlone = ({ payerAuthorizer }: ChannelConfig) => isAddressEqual(payerAuthorizer, zeroAddress);
const formOf = (config: ChannelConfig, { mode }: Policy): Form => (mode === "tallystick" && !isAlone(config) ? "packed" : "plain");

function groupKey(config: ChannelConfig, { mode }: Policy): string {
  const { payer, receiver, receiverAuthorizer, token, withdrawDelay, salt } = config;
  const shared = [receiverAuthorizer, receiver, token, mode === "tallystick" ? withdrawDelay : ""];
  return [...shared, ...(isAlone(config) ? [payer, withdrawDelay, salt] : [])].join("|").toLowerCase();
}

/** Receivers with so much unclaimed that neither age nor gas matters. Rows that are not worth their own gas do not add up. */
function payeesAtRisk(candidates: readonly Candidate[], policy: Policy): Set<string> {
  const worth = candidates.filter(({ row }) => isWorth(row, policy));
  const byPayee = [...Map.groupBy(worth, ({ row }) => payeeKey(row.config))];
  return new Set(byPayee.filter(([, group]) => sum(group.map(({ row }) => row.value)) >= policy.minValueAtomic).map(([key]) => key));
}

const rowGas = (row: PlannedRow, policy: Policy) => (isAlone(row.config) ? 0n : rowSize(formOf(row.config, policy), row).gas);
const isWorth = (row: PlannedRow, policy: Policy) => row.value > gasCostAtomic(rowGas(row, policy), policy);
const isLean = (row: PlannedRow, policy: Policy) => isWorth(row, policy) && isWithinShare(rowGas(row, policy), row.value, policy.maxGasShareBps, policy);
/** What a transaction with this row alone would cost. */
const loneCost = (row: PlannedRow, policy: Policy) => gasCostAtomic(claimGas([row], policy), policy);

/** Of one group in a transaction of its own. */
function claimGas(rows: readonly PlannedRow[], policy: Policy): bigint {
  const form = formOf(rows[0]!.config, policy);
  return TRANSACTION[form].gas + GROUP[form].gas + sum(rows.map((row) => rowSize(form, row).gas));
}

/** The rows of a group that go now, or undefined when the group can wait. */
function select(group: readonly Candidate[], atRisk: ReadonlySet<string>, policy: Policy, now: Now): SelectedGroup | undefined {
  const { config } = group[0]!.row;
  const ordered = [...group].sort(byUrgency);
  const triggers = triggersOf(ordered, atRisk.has(payeeKey(config)), policy, now);
  const aged = ordered.some(({ row, unclaimedSinceS }) => isLean(row, policy) && now.wallS - unclaimedSinceS >= policy.maxAgeS);
  if (triggers.size === 0 && !aged) return undefined;
  const core = ordered.filter(({ row }) => triggers.has(row.channelId) || isLean(row, policy));
  const taken = new Set(core);
  const riders = ridersOf(core, ordered.filter((candidate) => !taken.has(candidate)), triggers.size > 0, policy, now);
  return {
    form: formOf(config, policy),
    alone: isAlone(config),
    rows: [...core, ...riders].map(({ row }) => ({ row, trigger: triggers.get(row.channelId) })),
  };
}

/** Rows that cannot wait, and why. */
function triggersOf(group: readonly Candidate[], isAtRisk: boolean, policy: Policy, now: Now): Map<Hex, Reason> {
  const cap = policy.maxUnsettledPerChannelAtomic;
  const lastCall = lastCallOf(group, policy, now);
  const reasonOf = ({ row, leavesAtS, unclaimedSinceS }: Candidate): Reason | undefined => {
    if (policy.flush) return "flush";
    const pays = row.value > loneCost(row, policy);
    if (lastCall.has(row.channelId) || (leavesAtS !== undefined && pays)) return "withdrawal";
    if (!isWorth(row, policy)) return undefined;
    if (isAtRisk) return "value";
    if (cap !== undefined && pays && 2n * row.value >= cap) return "exposure";
    return now.wallS - unclaimedSinceS >= policy.hardAgeS ? "age" : undefined;
  };
  return new Map(group.flatMap((candidate) => {
    const reason = reasonOf(candidate);
    return reason === undefined ? [] : [[candidate.row.channelId, reason] as const];
  }));
}

/** Withdrawals that end soon and are worth a claim together, though none is alone. */
function lastCallOf(group: readonly Candidate[], policy: Policy, { chainS }: Now): Set<Hex> {
  const rows = group.filter(({ row, leavesAtS }) => leavesAtS !== undefined && leavesAtS - LAST_CALL_S <= chainS && isWorth(row, policy)).map(({ row }) => row);
  if (rows.length === 0 || sum(rows.map(({ value }) => value)) <= gasCostAtomic(claimGas(rows, policy), policy)) return new Set();
  return new Set(rows.map(({ channelId }) => channelId));
}

/**
 * Rows that are not worth a transaction but would otherwise be lost or wait for good. They may use up what the others leave: dust
 * never makes a batch cost more than it brings, nor wait.
 */
function ridersOf(core: readonly Candidate[], rest: readonly Candidate[], cannotWait: boolean, policy: Policy, now: Now): Candidate[] {
  const share = cannotWait ? 10_000n : policy.maxGasShareBps;
  const wishes = rest.filter(({ leavesAtS, unclaimedSinceS }) => leavesAtS !== undefined || now.wallS - unclaimedSinceS >= policy.hardAgeS);
  const planned = core.map(({ row }) => row);
  let gas = claimGas(planned, policy);
  let value = sum(planned.map((row) => row.value));
  return wishes.filter(({ row }) => {
    const more = gas + rowSize(formOf(row.config, policy), row).gas;
    if (!isWithinShare(more, value + row.value, share, policy)) return false;
    [gas, value] = [more, value + row.value];
    return true;
  });
}

/** Withdrawals first, then the most valuable; the id makes the order the same everywhere. */
function byUrgency(a: Candidate, b: Candidate): number {
  if ((a.leavesAtS === undefined) !== (b.leavesAtS === undefined)) return a.leavesAtS === undefined ? 1 : -1;
  if (a.row.value !== b.row.value) return a.row.value > b.row.value ? -1 : 1;
  return a.row.channelId < b.row.channelId ? -1 : 1;
}

const sum = (amounts: readonly bigint[]) => amounts.reduce((total, amount) => total + amount, 0n);

const SHORTEST_PAUSE_S = 60;
const LONGEST_PAUSE_S = 3600;

/** When a channel that was looked at and left is looked at again, in seconds: the older, the later, but at its hard age. */
export function nextTurnS(ageS: number, hardAgeS: number): number {
  const pauseS = Math.min(Math.max(ageS / 4, SHORTEST_PAUSE_S), LONGEST_PAUSE_S);
  return ageS < hardAgeS ? Math.min(pauseS, hardAgeS - ageS) : pauseS;
}

/** A refused row is tried again after this long even when nothing about it changed; each time twice as long. */
const REFUSED_S = 600;
/** Rows are planned within the balance as it was read, so who is refused for it was read before or after a reorganisation: it is read anew. */
const CONTRADICTED_S = 5;

/** The first pause of a row that was refused for that reason, seconds. */
export function pauseAfter(reason: string): number {
  return reason === "ClaimExceedsBalance" ? CONTRADICTED_S : REFUSED_S;
}
