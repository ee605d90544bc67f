// How selected rows become transactions: several receivers in one, within limits of gas, calldata and rows. Pure.
import type { Address, Hex } from "viem";
import type { ChannelConfig } from "../../../../sdk/src/typed-data.ts";
import type { GroupReceipts } from "./receipt-roots.ts";
import { add, gasCostAtomic, GROUP, isWithinShare, PAYOUT, rowSize, TRANSACTION, type Form, type Prices, type Size } from "./costs.ts";

/** Why a transaction is sent, the most pressing first. */
export const REASONS = ["flush", "withdrawal", "value", "exposure", "age"] as const;
export type Reason = (typeof REASONS)[number];

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

/** Rows of equal terms: one header of a packed claim. In the plain form only receiver, token and authorizer are equal. */
export type Group = { receiver: Address; receiverAuthorizer: Address; token: Address; withdrawDelay: number; reason: Reason; rows: PlannedRow[]; /** Of a packed group, once they are looked up. */ receipts?: GroupReceipts | undefined };

/** One claim transaction. A plain one has a single receiverAuthorizer. `rootsOnly`: it claims nothing that is not claimed, for the roots it carries. */
export type Batch = { form: Form; reason: Reason; groups: Group[]; rootsOnly?: true };

export const payeeKey = ({ receiver, token }: { receiver: Address; token: Address }) => `${receiver}|${token}`.toLowerCase();

export type Limits = { maxRows: number; maxGas: bigint; maxCalldataBytes: number };

/** `trigger`: why the row cannot wait; undefined for a row that goes because others do, or because it is old and worth it. */
export type Selected = { row: PlannedRow; trigger: Reason | undefined };
export type SelectedGroup = { form: Form; /** Shares its transaction with nobody. */ alone: boolean; rows: Selected[] };

export type PackingPolicy = Limits & Prices & { maxGasShareBps: bigint };

type Part = { rows: Selected[] };
type Draft = { form: Form; parts: Part[] };

export function arrange(groups: readonly SelectedGroup[], policy: PackingPolicy): Batch[] {
  const shared = groups.filter(({ alone }) => !alone);
  const packed = shared.filter(({ form }) => form === "packed");
  const plain = Map.groupBy(shared.filter(({ form }) => form === "plain"), ({ rows }) => rows[0]!.row.config.receiverAuthorizer);
  const alone = groups.filter((group) => group.alone).map((group) => [group]);
  const drafts = [packed, ...plain.values(), ...alone].flatMap((together) => fill(together, policy));
  return drafts.map((draft) => prune(draft, policy)).filter(({ parts }) => parts.length > 0).map(batchOf).sort((a, b) => REASONS.indexOf(a.reason) - REASONS.indexOf(b.reason));
}

/** The same rows by the published claim, where the packed one was refused. */
export function asPlain({ groups }: Batch, limits: Limits): Batch[] {
  const selected = groups.map(({ rows, reason }): SelectedGroup => ({ form: "plain", alone: false, rows: rows.map((row) => ({ row, trigger: reason })) }));
  const byAuthorizer = Map.groupBy(selected, ({ rows }) => rows[0]!.row.config.receiverAuthorizer);
  return [...byAuthorizer.values()].flatMap((together) => fill(together, limits)).map(batchOf);
}

/** Rows that claim nothing, for the roots of their receipts. */
export function rootsOf(rows: readonly PlannedRow[], limits: Limits): Batch[] {
  const byTerms = Map.groupBy(rows, ({ config }) => Object.values(termsOf(config)).join("|").toLowerCase());
  const groups = [...byTerms.values()].map((own): SelectedGroup => ({ form: "packed", alone: false, rows: own.map((row) => ({ row, trigger: "age" })) }));
  return fill(groups, limits).map(batchOf).map((batch) => ({ ...batch, rootsOnly: true }));
}

/** Two transactions instead of one that needs too much gas; undefined when there is but one row. */
export function halves(batch: Batch): [Batch, Batch] | undefined {
  const rows = batch.groups.flatMap((group) => group.rows.map((row) => ({ group, row })));
  if (rows.length < 2) return undefined;
  const half = (part: typeof rows): Batch => ({ ...batch, groups: [...Map.groupBy(part, ({ group }) => group)].map(([group, own]) => ({ ...group, rows: own.map(({ row }) => row) })) });
  return [half(rows.slice(0, rows.length >> 1)), half(rows.slice(rows.length >> 1))];
}

const urgency = (rows: readonly Selected[]) => Math.min(...rows.map(({ trigger }) => (trigger === undefined ? REASONS.length : REASONS.indexOf(trigger))));

/** Fills one transaction after the other, the pressing groups first. */
function fill(groups: readonly SelectedGroup[], limits: Limits): Draft[] {
  const drafts: Draft[] = [];
  let used: Size = { gas: 0n, bytes: 0 };
  let count = 0;
  const fits = (more: Size) => used.gas + more.gas <= limits.maxGas && used.bytes + more.bytes <= limits.maxCalldataBytes && count < limits.maxRows;
  for (const { form, rows } of [...groups].sort((a, b) => urgency(a.rows) - urgency(b.rows))) {
    const header = add(GROUP[form], PAYOUT);
    let part: Part | undefined;
    for (const selected of rows) {
      const own = rowSize(form, selected.row);
      if (drafts.length === 0 || !fits(part === undefined ? add(header, own) : own)) {
        drafts.push({ form, parts: [] });
        used = TRANSACTION[form];
        count = 0;
        part = undefined;
      }
      if (part === undefined) {
        part = { rows: [] };
        drafts.at(-1)!.parts.push(part);
        used = add(used, header);
      }
      part.rows.push(selected);
      used = add(used, own);
      count += 1;
    }
  }
  return drafts;
}

const gasOf = (form: Form, { rows }: Part): bigint => rows.reduce((total, { row }) => total + rowSize(form, row).gas, GROUP[form].gas);
const valueOf = ({ rows }: Part): bigint => rows.reduce((total, { row }) => total + row.value, 0n);

/** Takes out what is not worth its gas: only value at risk is claimed at a loss, and only what cannot wait above the usual share. */
function prune({ form, parts }: Draft, policy: PackingPolicy): Draft {
  const kept = parts.filter((part) => isWorthSending([part], gasOf(form, part), policy));
  const gas = kept.reduce((total, part) => total + gasOf(form, part), TRANSACTION[form].gas);
  return { form, parts: isWorthSending(kept, gas, policy) ? kept : [] };
}

function isWorthSending(parts: readonly Part[], gas: bigint, policy: PackingPolicy): boolean {
  const triggers = new Set(parts.flatMap(({ rows }) => rows.map(({ trigger }) => trigger)));
  if (triggers.has("flush") || triggers.has("value")) return true;
  const value = parts.reduce((total, part) => total + valueOf(part), 0n);
  if (value <= gasCostAtomic(gas, policy)) return false;
  return [...triggers].some((trigger) => trigger !== undefined) || isWithinShare(gas, value, policy.maxGasShareBps, policy);
}

function batchOf({ form, parts }: Draft): Batch {
  const groups = parts.map(({ rows }): Group => ({ ...termsOf(rows[0]!.row.config), reason: reasonOf(rows), rows: rows.map(({ row }) => row) }));
  return { form, reason: mostPressing(groups), groups };
}

const reasonOf = (rows: readonly Selected[]): Reason => REASONS[urgency(rows)] ?? "age";

export function mostPressing(groups: readonly Group[]): Reason {
  return REASONS.find((reason) => groups.some((group) => group.reason === reason)) ?? "age";
}

const termsOf = ({ receiver, receiverAuthorizer, token, withdrawDelay }: ChannelConfig) => ({ receiver, receiverAuthorizer, token, withdrawDelay });
