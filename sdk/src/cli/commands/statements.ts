// tallystick statements: what a receiver earned, what was taken of it, and what reached it.
import { writeFile } from "node:fs/promises";
import type { Command } from "../command.ts";
import { CliError, usageError } from "../exit.ts";
import { usdc } from "../money.ts";
import { columns } from "../output.ts";
import { callRelayer, readRelayer } from "../relayer-api.ts";

type Sums = { calls: number; grossAtomic: string; feesAtomic: string; refundsAtomic: string; netAtomic: string };
type Statement = {
  from: string; to: string; provisional: boolean; lines: (Sums & { day: string; service: string })[]; totals: Sums;
  balance: Record<"openingAtomic" | "chargedAtomic" | "paidDirectlyAtomic" | "settledAtomic" | "closingAtomic" | "unclaimedNowAtomic", string>;
  transactions: { kind: string; at: string; transaction: string; amountAtomic: string }[];
};

const DAY = /^\d{4}-\d{2}-\d{2}$/;

export const statements: Command = {
  path: "statements",
  about: "What you earned: gross, fees, refunds, net, and the transactions that paid you",
  positionals: [0, 0],
  details: `Days are UTC. The month so far, when no period is given. Net is gross less the relayer's fee (invoiced apart) less what you gave back
to buyers. The balance is what was charged by channel and not paid out yet; settlements are what the contract paid to you.`,
  needs: ["relayer", "key"],
  options: {
    from: { type: "string", value: "day", about: "first day, such as 2026-01-01" },
    to: { type: "string", value: "day", about: "day after the last" },
    csv: { type: "boolean", about: "as CSV, amounts in atomic units" },
    output: { type: "string", short: "o", value: "file", about: "with --csv: write it there" },
  },
  examples: [
    { about: "this month so far", line: "tallystick statements" },
    { about: "January, for the books", line: "tallystick statements --from 2026-01-01 --to 2026-02-01 --csv -o january.csv" },
  ],
  async run(context, { values }) {
    const query = new URLSearchParams();
    for (const name of ["from", "to"] as const) {
      const day = values[name];
      if (day === undefined) continue;
      if (typeof day !== "string" || !DAY.test(day)) throw usageError(`--${name} must be a day such as 2026-01-31.`);
      query.set(name, day);
    }
    const path = (format: string) => `/api/v1/statements?${new URLSearchParams({ ...Object.fromEntries(query), format })}`;
    if (values["csv"] !== true) {
      if (values["output"] !== undefined) throw usageError("--output goes with --csv.");
      const statement = await callRelayer<Statement>(context, path("json"));
      return { json: statement, text: render(statement) };
    }
    const csv = await readRelayer(context, path("csv"));
    const file = values["output"] as string | undefined;
    if (file === undefined) return { json: { csv }, text: new TextEncoder().encode(csv) };
    await writeFile(file, csv).catch((error: NodeJS.ErrnoException) => {
      throw new CliError({ code: "file_unwritable", exit: "usage", detail: `${file} cannot be written (${error.code}).` });
    });
    return { json: { file }, text: `written to ${file}` };
  },
};

const amount = (atomic: string): string => usdc(BigInt(atomic));
const sums = ({ calls, grossAtomic, feesAtomic, refundsAtomic, netAtomic }: Sums): string[] => [String(calls), ...[grossAtomic, feesAtomic, refundsAtomic, netAtomic].map(amount)];

function render({ from, to, provisional, lines, totals, balance, transactions }: Statement): string {
  const table = columns([["day", "service", "calls", "gross", "fees", "refunds", "net"], ...lines.map((line) => [line.day, line.service, ...sums(line)]), ["total", "", ...sums(totals)]], { right: [2, 3, 4, 5, 6] });
  const rows = [
    ["owed before", amount(balance.openingAtomic)], ["charged by channel", amount(balance.chargedAtomic)], ["paid out by the contract", amount(balance.settledAtomic)],
    ["owed after", amount(balance.closingAtomic)], ["paid directly", amount(balance.paidDirectlyAtomic)], ["not claimed yet, now", amount(balance.unclaimedNowAtomic)],
  ];
  const moved = transactions.map(({ at, kind, amountAtomic, transaction }) => [at.slice(0, 19).replace("T", " "), kind, amount(amountAtomic), transaction]);
  return [`${from} to ${to} (exclusive), USDC${provisional ? ", not final" : ""}`, "", table, "", columns(rows, { right: [1] }), ...(moved.length === 0 ? [] : ["", columns(moved, { right: [2] })])].join("\n");
}
