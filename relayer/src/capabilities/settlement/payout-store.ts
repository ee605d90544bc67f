// SQL of payouts: who may be owed, what is in flight, who is asked again later.
import type { Address } from "viem";
import { toAddress, toBytes } from "../../db/codec.ts";
import type { Queryable } from "../../db/pool.ts";

export type Payee = { receiver: Address; token: Address };

/** Receivers that we claimed for and whom nothing in flight is about to pay. */
export async function idlePayees(db: Queryable, now: Date): Promise<Payee[]> {
  const { rows } = await db.query<{ receiver: Buffer; token: Buffer }>(
    `SELECT receiver, token FROM settlement_payout p LEFT JOIN chain_tx t USING (tx_id)
     WHERE p.retry_at <= $1 AND (t.state IS NULL OR t.state NOT IN ('signed', 'broadcast'))
       AND NOT EXISTS (SELECT 1 FROM settlement_batch b WHERE b.receiver = p.receiver AND b.token = p.token AND b.state = 'sent')
     UNION
     SELECT DISTINCT c.receiver, c.token FROM refund f JOIN channel c USING (channel_id)
     WHERE f.state = 'done' AND f.claimed_atomic > 0 AND NOT EXISTS (SELECT 1 FROM settlement_payout p WHERE p.receiver = c.receiver AND p.token = c.token)`,
    [now],
  );
  return rows.map((row) => ({ receiver: toAddress(row.receiver), token: toAddress(row.token) }));
}

export async function payoutsInFlight(db: Queryable): Promise<number> {
  const { rowCount } = await db.query("SELECT 1 FROM settlement_payout p JOIN chain_tx t USING (tx_id) WHERE t.state IN ('signed', 'broadcast')");
  return rowCount ?? 0;
}

export async function recordPayout(client: Queryable, { receiver, token }: Payee, txId: bigint): Promise<void> {
  await client.query(
    "INSERT INTO settlement_payout (receiver, token, tx_id) VALUES ($1, $2, $3) ON CONFLICT (receiver, token) DO UPDATE SET tx_id = EXCLUDED.tx_id, failures = 0",
    [toBytes(receiver), toBytes(token), txId],
  );
}

/** The token refuses to pay this receiver: asked again later, at most once in `longest`. */
export async function postponePayout(db: Queryable, { receiver, token }: Payee, now: Date, longestS: number): Promise<void> {
  await db.query(
    `INSERT INTO settlement_payout (receiver, token, failures, retry_at) VALUES ($1, $2, 1, $3::timestamptz + interval '30 seconds')
     ON CONFLICT (receiver, token) DO UPDATE SET failures = settlement_payout.failures + 1,
       retry_at = $3::timestamptz + LEAST($4::float8, 30 * power(2, LEAST(settlement_payout.failures, 20))) * interval '1 second'`,
    [toBytes(receiver), toBytes(token), now, longestS],
  );
}
