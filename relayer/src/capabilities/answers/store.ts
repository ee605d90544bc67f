// SQL of what is kept of answers: deletion by the buyer, and how much there is. The bytes themselves are written by the ledger.
import type { Hex } from "viem";
import { toBytes } from "../../db/codec.ts";
import { inTransaction, type Db, type Queryable } from "../../db/pool.ts";

/** @returns false when there was none, or it is gone already. */
export async function deleteAnswer(db: Queryable, paymentId: string): Promise<boolean> {
  const { rowCount } = await db.query(
    `WITH gone AS (DELETE FROM answer WHERE payment_id = $1 RETURNING payment_id)
     INSERT INTO answer_deletion (payment_id) SELECT payment_id FROM gone`,
    [paymentId],
  );
  return rowCount === 1;
}

/** When the buyer had it deleted, or undefined. */
export async function deletedAt(db: Queryable, paymentId: string): Promise<Date | undefined> {
  const { rows } = await db.query<{ at: Date }>({ name: "answer_deletion_find", text: "SELECT at FROM answer_deletion WHERE payment_id = $1", values: [paymentId] });
  return rows[0]?.at;
}

/** Any constant: one process folds at a time. */
const FOLDING = 17;

/** Adds what statements have written down since to the sums by payer. */
export async function foldUsage(db: Db): Promise<void> {
  await inTransaction(db, async (client) => {
    const { rows } = await client.query<{ ours: boolean }>("SELECT pg_try_advisory_xact_lock($1, 0) AS ours", [FOLDING]);
    if (rows[0]?.ours !== true) return;
    await client.query(
      `WITH taken AS (DELETE FROM answer_usage_delta RETURNING payer, bytes)
       INSERT INTO answer_usage AS u (payer, bytes) SELECT payer, sum(bytes) FROM taken GROUP BY payer
       ON CONFLICT (payer) DO UPDATE SET bytes = u.bytes + EXCLUDED.bytes`,
    );
    await client.query("DELETE FROM answer_usage WHERE bytes = 0");
  });
}

/** Bytes of answers kept for a payer, as of the last fold. */
export async function usageOf(db: Queryable, payer: Hex): Promise<bigint> {
  const { rows } = await db.query<{ bytes: bigint }>("SELECT bytes FROM answer_usage WHERE payer = $1", [toBytes(payer)]);
  return rows[0]?.bytes ?? 0n;
}
