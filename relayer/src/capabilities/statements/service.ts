// A receiver's statement: what it earned, what was taken of it, and what reached it.
import { getAddress, isAddressEqual, type Address } from "viem";
import { TallystickError } from "../../../../sdk/src/errors.ts";
import { inTransaction } from "../../db/pool.ts";
import type { Deps } from "../../deps.ts";
import { bookedAt } from "../fees/book-store.ts";
import { linesOf, netOf, readPeriod, totalsOf, type Line } from "./logic.ts";
import type { WireStatement, WireStatementQuery } from "./schemas.ts";
import * as store from "./store.ts";

type StatementDeps = Pick<Deps, "config" | "db" | "now">;

/** More lines or transactions are a shorter period's. */
const MOST_ROWS = 20_000;

/** @throws TallystickError 403 `statement_not_yours`, 400 `period_malformed`, `statement_too_large`. */
export async function statementOf({ config, db, now }: StatementDeps, caller: Address, query: WireStatementQuery): Promise<WireStatement> {
  if (query.receiver !== undefined && !isAddressEqual(query.receiver as Address, caller)) {
    throw new TallystickError({ code: "statement_not_yours", status: 403, retry: "never", field: "receiver", detail: `You are signed in as ${caller}; only ${query.receiver} itself reads its statements.` });
  }
  const token = query.token === undefined ? config.token.address : getAddress(query.token.toLowerCase());
  const subject = { receiver: caller, token, ...readPeriod(query, now()) };
  // One snapshot, so that totals, balance and transactions fit together.
  return inTransaction(db, async (client) => {
    await client.query("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY");
    const lines = linesOf(bounded(await store.earned(client, subject, MOST_ROWS)), bounded(await store.refunded(client, subject, MOST_ROWS)));
    const books = await bookedAt(client);
    return {
      receiver: caller, token, from: subject.from, to: subject.to,
      provisional: books === undefined || books < new Date(subject.to),
      ...(books === undefined ? {} : { booksAt: books.toISOString() }),
      lines: lines.map((line) => ({ day: line.day, service: line.service, ...sumsView(line) })),
      totals: sumsView(totalsOf(lines)),
      balance: balanceView(await store.flows(client, subject)),
      transactions: bounded(await store.transactions(client, subject, MOST_ROWS)).map(({ kind, at, hash, block, amount }) => ({
        kind, at: at.toISOString(), transaction: hash, ...(block === undefined ? {} : { block: block.toString() }), amountAtomic: amount.toString(),
      })),
    };
  });
}

function bounded<T>(rows: T[]): T[] {
  if (rows.length < MOST_ROWS) return rows;
  throw new TallystickError({ code: "statement_too_large", status: 400, retry: "never", field: "from", detail: `The period has more than ${MOST_ROWS} lines; ask for a shorter one.` });
}

function sumsView(line: Pick<Line, "calls" | "gross" | "fees" | "refunds">): WireStatement["totals"] {
  return { calls: line.calls, grossAtomic: line.gross.toString(), feesAtomic: line.fees.toString(), refundsAtomic: line.refunds.toString(), netAtomic: netOf(line).toString() };
}

function balanceView({ channelBefore, channelWithin, directWithin, settledBefore, settledWithin, unclaimedNow }: store.Flows): WireStatement["balance"] {
  const opening = channelBefore - settledBefore;
  return {
    openingAtomic: opening.toString(), chargedAtomic: channelWithin.toString(), paidDirectlyAtomic: directWithin.toString(), settledAtomic: settledWithin.toString(),
    closingAtomic: (opening + channelWithin - settledWithin).toString(), unclaimedNowAtomic: unclaimedNow.toString(),
  };
}
