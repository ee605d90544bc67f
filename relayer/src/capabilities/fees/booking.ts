// Keeps the books: takes in payments that became final, each once, whatever number of processes try. A pass can stop anywhere; the next
// one, in any process, goes on from the last commit.
import type { Address } from "viem";
import { inTransaction } from "../../db/pool.ts";
import type { Deps } from "../../deps.ts";
import { EVENT } from "../../telemetry/log.ts";
import * as store from "./book-store.ts";
import { addTerms, EVERYBODY, newestTerms } from "./terms-store.ts";

export type BookDeps = Pick<Deps, "config" | "db" | "log" | "now" | "reached">;

/** Payments in one commit. */
const BATCH = 5_000;

/** Books everything that is final. @returns how many payments; undefined when another process is at it. */
export async function keepBooks(deps: BookDeps, batch = BATCH): Promise<number | undefined> {
  for (let booked = 0; ; ) {
    const step = await bookNext(deps, batch);
    if (step === undefined) return undefined;
    booked += step;
    if (step < batch) return booked;
  }
}

async function bookNext({ config, db, reached }: BookDeps, most: number): Promise<number | undefined> {
  const booked = await inTransaction(db, async (client) => {
    const after = await store.lockBooks(client);
    if (after === undefined) return undefined;
    const next = await store.nextEnd(client, after, most);
    if (next !== undefined) {
      const batch = { after, end: next.end, feeReceiver: config.fee.receiver, period: config.fee.invoicePeriod };
      await store.ensureDrafts(client, batch);
      await store.bookBatch(client, batch);
    }
    if ((next?.payments ?? 0) < most) await store.markBooked(client);
    return next?.payments ?? 0;
  });
  if (booked !== undefined && booked > 0) reached("fees.booked");
  return booked;
}

/** Writes down where the configuration differs from the terms in force. What was charged before keeps its terms. */
export async function applyTerms({ config, db, log }: Pick<BookDeps, "config" | "db" | "log">): Promise<void> {
  await inTransaction(db, async (client) => {
    const position = await store.waitForBooks(client);
    if (await store.renumber(client, position)) log.warn({ event: EVENT.started }, "the ledger was restored from another cluster: its books go on under new numbers");
    const known = await newestTerms(client);
    const wanted = new Map<Address, number>([[EVERYBODY, config.fee.bps], ...config.fee.overrides.map(({ receiver, bps }): [Address, number] => [receiver, bps])]);
    for (const receiver of new Set([...known.keys(), ...wanted.keys()])) {
      if (known.get(receiver) === wanted.get(receiver) || (receiver === EVERYBODY && !known.has(receiver) && config.fee.bps === 0)) continue;
      await addTerms(client, receiver, wanted.get(receiver));
      log.info({ event: EVENT.feeTerms, receiver, bps: wanted.get(receiver) ?? null }, "fee terms changed");
    }
  });
}
