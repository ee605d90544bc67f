// What is kept of answers, for how long and how much: they expire (ledger), their buyer may delete them, and a payer has room for so many
// bytes. Delivered means that it can be fetched for a day, so nothing is thrown out to make room: whoever is full buys nothing new.
import type { Address } from "viem";
import { TallystickError } from "../../../../sdk/src/errors.ts";
import type { Deps } from "../../deps.ts";
import { foldUsage, usageOf } from "./store.ts";

/** A replay of a payment whose answer its buyer had deleted: paid, delivered, gone. */
export function answerDeleted(at: Date): TallystickError {
  return new TallystickError({ code: "answer_deleted", status: 410, retry: "never", detail: `The buyer had this answer deleted at ${at.toISOString()}; payment and receipt stand.`, extra: { deletedAt: at.toISOString() } });
}

/** For schemes without a channel, before anything runs; the ledger's reserving statement asks it for those with one. The sum is as of the last sweep. @throws TallystickError `answer_store_full` (429). */
export async function limitStoredAnswers({ db, config }: Pick<Deps, "db" | "config">, payer: Address): Promise<void> {
  if ((await usageOf(db, payer)) >= BigInt(config.limits.storedAnswerBytes)) throw answersFull({ config });
}

export function answersFull({ config }: Pick<Deps, "config">): TallystickError {
  const most = config.limits.storedAnswerBytes;
  return new TallystickError({
    code: "answer_store_full", status: 429, retry: "safe", extra: { mostBytes: String(most), retryAfterS: 3600 },
    detail: `As many bytes of answers as may be (${most}) are kept for this payer. They expire; DELETE /api/v1/payments/<id>/answer makes room sooner. Nothing was charged.`,
  });
}

export async function sweepAnswerUsage({ db }: Pick<Deps, "db">): Promise<void> {
  await foldUsage(db);
}
