// What a statement says, and how it is written as CSV. Pure.
import { TallystickError } from "../../../../sdk/src/errors.ts";
import type { WireStatement } from "./schemas.ts";

const DAY_MS = 86_400_000;
const MOST_DAYS = 366;

/** Days as YYYY-MM-DD (UTC); `to` is exclusive. */
export type Period = { from: string; to: string };

/** @throws TallystickError 400 `period_malformed`. */
export function readPeriod({ from, to }: Partial<Period>, now: Date): Period {
  const today = Date.UTC(now.getUTCFullYear(), now.getUTCMonth(), now.getUTCDate());
  const period = { from: from ?? dayOf(Date.UTC(now.getUTCFullYear(), now.getUTCMonth(), 1)), to: to ?? dayOf(today + DAY_MS) };
  for (const field of ["from", "to"] as const) if (!isDay(period[field])) throw malformed(field, `${period[field]} is no day.`);
  const days = (Date.parse(period.to) - Date.parse(period.from)) / DAY_MS;
  if (days <= 0) throw malformed("to", `The period is empty: ${period.to} is not after ${period.from}.`);
  if (days > MOST_DAYS) throw malformed("from", `The period has ${days} days, at most ${MOST_DAYS} go on one statement.`);
  return period;
}

const dayOf = (ms: number): string => new Date(ms).toISOString().slice(0, 10);
const isDay = (text: string): boolean => !Number.isNaN(Date.parse(text)) && dayOf(Date.parse(text)) === text;

function malformed(field: string, detail: string): TallystickError {
  return new TallystickError({ code: "period_malformed", status: 400, retry: "never", field, detail });
}

/** Of one day and service; amounts in atomic units. */
export type Earned = { day: string; service: string; calls: number; gross: bigint; fees: bigint };
export type Refunded = { day: string; service: string; amount: bigint };
export type Line = Earned & { refunds: bigint };

/** A day with refunds only has a line too. In order of day and service. */
export function linesOf(earned: readonly Earned[], refunded: readonly Refunded[]): Line[] {
  const lines = new Map(earned.map((line): [string, Line] => [keyOf(line), { ...line, refunds: 0n }]));
  for (const refund of refunded) {
    const line = lines.get(keyOf(refund)) ?? { day: refund.day, service: refund.service, calls: 0, gross: 0n, fees: 0n, refunds: 0n };
    lines.set(keyOf(refund), { ...line, refunds: line.refunds + refund.amount });
  }
  return [...lines.values()].sort((a, b) => (keyOf(a) < keyOf(b) ? -1 : 1));
}

const keyOf = ({ day, service }: { day: string; service: string }): string => `${day} ${service}`;

export const netOf = ({ gross, fees, refunds }: Pick<Line, "gross" | "fees" | "refunds">): bigint => gross - fees - refunds;

export function totalsOf(lines: readonly Line[]): Pick<Line, "calls" | "gross" | "fees" | "refunds"> {
  return lines.reduce(
    (sum, line) => ({ calls: sum.calls + line.calls, gross: sum.gross + line.gross, fees: sum.fees + line.fees, refunds: sum.refunds + line.refunds }),
    { calls: 0, gross: 0n, fees: 0n, refunds: 0n },
  );
}

const COLUMNS = ["record", "at", "service", "calls", "gross_atomic", "fees_atomic", "refunds_atomic", "net_atomic", "amount_atomic", "transaction", "block"];

/** One table (RFC 4180): `record` says what a row is. */
export function toCsv({ receiver, token, from, to, lines, totals, balance, transactions }: WireStatement): string {
  const sums = ({ calls, grossAtomic, feesAtomic, refundsAtomic, netAtomic }: WireStatement["totals"]) => [calls, grossAtomic, feesAtomic, refundsAtomic, netAtomic].map(String);
  const amounts: [string, string, string][] = [
    ["opening", from, balance.openingAtomic], ["charged_by_channel", to, balance.chargedAtomic], ["paid_directly", to, balance.paidDirectlyAtomic],
    ["settled", to, balance.settledAtomic], ["closing", to, balance.closingAtomic],
  ];
  const rows = [
    ["receiver", from, text(receiver)], ["token", from, text(token)],
    ...lines.map((line) => ["line", line.day, text(line.service), ...sums(line)]),
    ["total", to, "", ...sums(totals)],
    ...amounts.map(([record, at, amount]) => [record, at, "", "", "", "", "", "", amount]),
    ...transactions.map(({ kind, at, transaction, block, amountAtomic }) => [kind, at, "", "", "", "", "", "", amountAtomic, transaction, block ?? ""]),
  ];
  return [COLUMNS, ...rows].map((row) => `${COLUMNS.map((_, at) => row[at] ?? "").join(",")}\r\n`).join("");
}

/** A cell that others chose: quoted, and never read as a formula by a spreadsheet. */
export function text(value: string): string {
  const safe = /^[=+\-@\t\r\n]/.test(value) ? `'${value}` : value;
  return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}
