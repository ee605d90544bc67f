import type { Address } from "viem";
import type { Deps } from "../../deps.ts";
import { listTransactions, type Kind, type Status } from "./store.ts";

export type Asked = { type: Kind | undefined; status: Status | undefined; before: { at: Date; id: string } | undefined; limit: number };

export async function transactionsOf({ db }: Pick<Deps, "db">, party: Address, asked: Asked) {
  const transactions = await listTransactions(db, party, asked);
  const last = transactions.length < asked.limit ? undefined : transactions.at(-1);
  return {
    transactions: transactions.map(({ id, type, status, from, to, amount, about, at }) => ({ id, type, status, from: from ?? null, to, amountAtomic: String(amount), about, at: at.toISOString() })),
    next: last === undefined ? null : `${last.at.getTime()}-${last.id}`,
  };
}
