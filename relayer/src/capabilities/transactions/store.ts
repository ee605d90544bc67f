// One history over everything that moved, or was to move, somebody's money: calls, plain transfers, jobs, payouts and refunds. Nothing is stored
// here: each part is read where it lives.
import type { Address } from "viem";
import { toAddress, toBytes } from "../../db/codec.ts";
import type { Queryable } from "../../db/pool.ts";

export type Kind = "a2a" | "h2a" | "payout" | "refund";
export type Status = "pending" | "authorized" | "completed" | "failed" | "disputed";
export type Transaction = { id: string; type: Kind; status: Status; from: Address | undefined; to: Address; amount: bigint; about: string; at: Date };

type Row = { id: string; type: Kind; status: Status; sender: Buffer | null; receiver: Buffer; amount: bigint; about: string; at: Date };

// A plain transfer is signed by hand; what is paid by channel, authorisation or escrow is an agent's.
const PARTS = `
  SELECT p.payment_id AS id, CASE WHEN p.scheme = 'transfer' THEN 'h2a' ELSE 'a2a' END AS type,
    CASE p.state WHEN 'reserved' THEN 'authorized' WHEN 'settling' THEN 'pending' WHEN 'charged' THEN 'completed' ELSE 'failed' END AS status,
    p.payer::bytea AS sender, coalesce(c.receiver, p.receiver)::bytea AS receiver, coalesce(p.charged_atomic, p.price_atomic)::numeric AS amount, p.service AS about, p.reserved_at AS at
  FROM payment p LEFT JOIN channel c USING (channel_id) WHERE p.payer = $1 OR coalesce(c.receiver, p.receiver) = $1
  UNION ALL
  SELECT j.job_id, 'a2a', CASE WHEN j.chain IS NULL THEN CASE WHEN t.state IN ('reverted', 'dropped') THEN 'failed' ELSE 'pending' END
      WHEN (j.chain ->> 'status')::integer = 3 THEN 'completed' WHEN (j.chain ->> 'status')::integer > 3 THEN 'failed' WHEN (j.chain ->> 'phase')::integer = 3 THEN 'disputed' ELSE 'authorized' END,
    j.client::bytea, j.provider::bytea, (j.terms ->> 'budgetAtomic')::numeric, j.brief ->> 'title', j.hired_at
  FROM job j JOIN job_action a ON a.job_id = j.job_id AND a.verb = 'hire' JOIN chain_tx t USING (tx_id) WHERE j.client = $1 OR j.posted_by = $1 OR j.provider = $1
  UNION ALL
  SELECT 'refund_' || j.job_id, 'refund', 'completed', NULL, j.client::bytea, (e.data ->> 'amountAtomic')::numeric, j.brief ->> 'title', e.at
  FROM job j JOIN job_event e ON e.job_id = j.job_id AND e.kind = 'refunded' WHERE j.client = $1 OR j.provider = $1
  UNION ALL
  SELECT 'refund_' || r.tx_id, 'refund', CASE r.state WHEN 'sent' THEN 'pending' WHEN 'done' THEN 'completed' ELSE 'failed' END,
    c.receiver::bytea, c.payer::bytea, coalesce(r.refunded_atomic, r.amount)::numeric, '', r.created_at
  FROM refund r JOIN channel c USING (channel_id) WHERE c.payer = $1 OR c.receiver = $1
  UNION ALL
  SELECT 'payout_' || b.batch_id, 'payout', CASE b.state WHEN 'sent' THEN 'pending' WHEN 'done' THEN 'completed' ELSE 'failed' END, NULL, b.receiver::bytea, coalesce(b.settled_atomic, 0)::numeric, b.reason, b.created_at
  FROM settlement_batch b WHERE b.receiver = $1`;

/** The newest first. @param before of the page before. */
export async function listTransactions(db: Queryable, party: Address, { type, status, before, limit }: { type: Kind | undefined; status: Status | undefined; before: { at: Date; id: string } | undefined; limit: number }): Promise<Transaction[]> {
  const { rows } = await db.query<Row>(
    `SELECT * FROM (${PARTS}) t WHERE ($2::text IS NULL OR type = $2) AND ($3::text IS NULL OR status = $3) AND ($4::timestamptz IS NULL OR (date_trunc('milliseconds', at), id) < ($4, $5))
     ORDER BY date_trunc('milliseconds', at) DESC, id DESC LIMIT $6`,
    [toBytes(party), type ?? null, status ?? null, before?.at ?? null, before?.id ?? "", limit],
  );
  return rows.map((row) => ({ id: row.id, type: row.type, status: row.status, from: row.sender === null ? undefined : toAddress(row.sender), to: toAddress(row.receiver), amount: row.amount, about: row.about, at: row.at }));
}
