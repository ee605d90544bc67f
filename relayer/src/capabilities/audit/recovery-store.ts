// SQL of the recovery: charged payments whose approval died with its process get an entry from the payment itself.
import type { Queryable } from "../../db/pool.ts";

export type RecoveryPosition = { xid: bigint; paymentId: string };

/** How far all is known to have an entry, locked until the transaction ends; undefined while another process is at it. */
export async function lockRecovery(client: Queryable): Promise<RecoveryPosition | undefined> {
  const { rows } = await client.query<{ xid: string; payment_id: string; lost: boolean }>(
    "SELECT xid::text, payment_id, xid > pg_snapshot_xmax(pg_current_snapshot()) AS lost FROM audit_recovery FOR UPDATE SKIP LOCKED",
  );
  const [row] = rows;
  if (row === undefined) return undefined;
  // A position of another cluster, from which this database was restored, says nothing here: look at everything again.
  return row.lost ? { xid: 0n, paymentId: "" } : { xid: BigInt(row.xid), paymentId: row.payment_id };
}

/**
 * Looks at the next final payments, in the order of their commits; below the oldest running transaction none can appear any more. Stops
 * before one that was reserved a moment ago: its process may be about to seal the approval.
 */
export async function recoverNext(client: Queryable, after: RecoveryPosition, youngS: number, limit: number): Promise<{ seen: number; recovered: number }> {
  const { rows } = await client.query<{ seen: bigint; recovered: bigint }>(
    `WITH next AS MATERIALIZED (
       SELECT n.*, bool_or(n.reserved_at > now() - $3 * interval '1 second') OVER (ORDER BY n.final_xid, n.payment_id) AS young FROM (
         SELECT * FROM payment WHERE (final_xid, payment_id) > ($1::text::xid8, $2) AND final_xid < pg_snapshot_xmin(pg_current_snapshot())
         ORDER BY final_xid, payment_id LIMIT $4) n),
     due AS (SELECT * FROM next WHERE NOT young),
     missing AS (
       INSERT INTO audit_outbox (kind, subject, rule, payer, payee, amount_atomic, data)
       SELECT 'payment.recovered', d.payment_id, 'charged_without_entry', d.payer, coalesce(d.receiver, c.receiver), d.charged_atomic,
         jsonb_strip_nulls(jsonb_build_object('service', d.service, 'channelId', hex0x(d.channel_id), 'reservedAt', to_char(d.reserved_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')))
       FROM due d LEFT JOIN channel c USING (channel_id)
       WHERE NOT EXISTS (SELECT 1 FROM audit_entry e WHERE e.subject = d.payment_id AND e.kind IN ('payment.approved', 'payment.recovered'))
         AND NOT EXISTS (SELECT 1 FROM audit_outbox o WHERE o.subject = d.payment_id AND o.kind IN ('payment.approved', 'payment.recovered'))
       ORDER BY d.final_xid, d.payment_id RETURNING 1),
     moved AS (
       UPDATE audit_recovery SET (xid, payment_id) = (SELECT final_xid, payment_id FROM due ORDER BY final_xid DESC, payment_id DESC LIMIT 1) WHERE EXISTS (SELECT 1 FROM due))
     SELECT (SELECT count(*) FROM due) AS seen, (SELECT count(*) FROM missing) AS recovered`,
    [String(after.xid), after.paymentId, youngS, limit],
  );
  return { seen: Number(rows[0]!.seen), recovered: Number(rows[0]!.recovered) };
}
