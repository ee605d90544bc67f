// The ledger as an auditor reads it, straight from the database; and the one thing a run changes there: that time passes.
import type { Hex } from "viem";
import { LEASE_MS as EXACT_LEASE_MS } from "../../relayer/src/capabilities/exact/engine.ts";
import { LEASE_S as JOB_LEASE_S } from "../../relayer/src/capabilities/jobs/watch.ts";
import { toBytes, toHex } from "../../relayer/src/db/codec.ts";
import type { Db } from "../../relayer/src/db/pool.ts";

const IN_HAND_MS = 2_500;

export type ChannelRow = {
  channelId: Hex; payer: Hex; receiver: Hex; charged: bigint; reserved: bigint; opening: bigint; signedCeiling: bigint; broadcastCeiling: bigint; balance: bigint; totalClaimed: bigint; frozenBy: string | undefined;
};

export async function channelRows(db: Db): Promise<ChannelRow[]> {
  const { rows } = await db.query(
    "SELECT channel_id, payer, receiver, charged, reserved, opening_charged, signed_ceiling, broadcast_ceiling, balance, total_claimed, frozen_by FROM channel ORDER BY channel_id",
  );
  return rows.map((row) => ({
    channelId: toHex(row.channel_id), payer: toHex(row.payer), receiver: toHex(row.receiver), charged: row.charged, reserved: row.reserved, opening: row.opening_charged, signedCeiling: row.signed_ceiling,
    broadcastCeiling: row.broadcast_ceiling, balance: row.balance, totalClaimed: row.total_claimed, frozenBy: row.frozen_by ?? undefined,
  }));
}

export type PaymentRow = {
  paymentId: string; scheme: string; channelId: Hex | undefined; payer: Hex; ceiling: bigint | undefined; price: bigint; charged: bigint; cumulative: bigint; state: string; nonce: Hex | undefined;
  settledTx: Hex | undefined; requestNumber: bigint | undefined; streamed: boolean; clientId: string | undefined;
};

export async function paymentRows(db: Db, payers: readonly Hex[]): Promise<PaymentRow[]> {
  const { rows } = await db.query(
    `SELECT p.payment_id, p.scheme, p.channel_id, p.payer, p.ceiling, p.price_atomic, p.charged_atomic, p.charged_cumulative, p.state, p.authorization_nonce, p.settled_tx, p.request_number, p.client_id,
       s.payment_id IS NOT NULL AS streamed
     FROM payment p LEFT JOIN stream s USING (payment_id) WHERE p.payer = ANY($1) ORDER BY p.charged_cumulative NULLS LAST, p.payment_id`,
    [payers.map(toBytes)],
  );
  const hex = (value: Buffer | null) => (value === null ? undefined : toHex(value));
  return rows.map((row) => ({
    paymentId: row.payment_id, scheme: row.scheme, channelId: hex(row.channel_id), payer: toHex(row.payer), ceiling: row.ceiling ?? undefined, price: row.price_atomic, charged: row.charged_atomic ?? 0n,
    cumulative: row.charged_cumulative ?? 0n, state: row.state, nonce: hex(row.authorization_nonce), settledTx: hex(row.settled_tx), requestNumber: row.request_number ?? undefined, streamed: row.streamed, clientId: row.client_id ?? undefined,
  }));
}

/** What a payment's rows say, for a story. */
export async function trailOf(db: Db, paymentId: string): Promise<string[]> {
  const { rows } = await db.query("SELECT * FROM payment WHERE payment_id = $1", [paymentId]);
  const readable = (value: unknown) => (Buffer.isBuffer(value) ? toHex(value) : value instanceof Date ? value.toISOString() : String(value));
  return rows.flatMap((row) => Object.entries(row).filter(([, value]) => value !== null).map(([name, value]) => `${name} ${readable(value)}`));
}

/** What is still under way. */
export async function unresolved(db: Db, payers: readonly Hex[]): Promise<Record<"reserved" | "settling" | "streams" | "transactions" | "batches" | "refunds" | "contradicted" | "carried", number>> {
  const { rows } = await db.query(
    `SELECT (SELECT count(*) FROM payment WHERE state = 'reserved')::int AS reserved,
            (SELECT count(*) FROM payment WHERE state = 'settling' AND payer = ANY($1))::int AS settling,
            (SELECT count(*) FROM stream WHERE state = 'open')::int AS streams,
            (SELECT count(*) FROM chain_tx WHERE state IN ('signed', 'broadcast'))::int AS transactions,
            (SELECT count(*) FROM settlement_batch WHERE state = 'sent')::int AS batches,
            (SELECT count(*) FROM refund WHERE state = 'sent')::int AS refunds,
            (SELECT count(*) FROM exact_queue q JOIN payment p USING (payment_id) WHERE q.state <> 'moved' AND p.payer = ANY($1))::int AS carried,
            -- Refused for a balance that is there: read before or after a reorganisation, and tried again soon.
            (SELECT count(*) FROM settlement_quarantine q JOIN channel c USING (channel_id)
             WHERE q.reason = 'ClaimExceedsBalance' AND c.total_claimed < q.signed_ceiling AND c.balance >= c.charged)::int AS contradicted`,
    [payers.map(toBytes)],
  );
  return rows[0];
}

/** The payments among it. */
export async function unresolvedPayments(db: Db, payers: readonly Hex[]): Promise<string[]> {
  const { rows } = await db.query<{ payment_id: string }>("SELECT payment_id FROM payment WHERE payer = ANY($1) AND state IN ('reserved', 'settling') ORDER BY reserved_at", [payers.map(toBytes)]);
  return rows.map((row) => row.payment_id);
}

/**
 * Leases that are older than the given ages are over. A lease outlives the service's time limit by a margin that would take longer than
 * a round; nothing else is changed, and whoever works on under such a lease has to notice.
 */
export async function passTime(db: Db, reservedForMs: number, silentForMs: number, streamLeaseMs: number): Promise<void> {
  await db.query("UPDATE payment SET reserved_until = now() WHERE state = 'reserved' AND reserved_until > now() AND reserved_at < now() - $1 * interval '1 millisecond' AND NOT EXISTS (SELECT 1 FROM stream s WHERE s.payment_id = payment.payment_id AND s.state = 'open')", [reservedForMs]);
  await db.query("UPDATE stream SET open_until = now() WHERE state = 'open' AND open_until > now() AND open_until < now() + ($2::float8 - $1::float8) * interval '1 millisecond'", [silentForMs, streamLeaseMs]);
  // What is tried again later is tried again soon; a row of the queue that its process has not sent for a while is in a dead one's hand.
  await db.query("UPDATE payment SET reserved_until = now() + interval '1 second' WHERE state = 'settling' AND reserved_until > now() + interval '1 second'");
  await db.query("UPDATE exact_queue SET taken_until = now() WHERE state = 'queued' AND taken_until > now() AND taken_until < now() + $1 * interval '1 millisecond'", [EXACT_LEASE_MS - IN_HAND_MS]);
  // A job that a dead process looked after.
  await db.query("UPDATE job SET leased_until = '-infinity' WHERE leased_until > now() AND leased_until < now() + $1 * interval '1 millisecond'", [JOB_LEASE_S * 1_000 - reservedForMs]);
}

/** Signed claims that the chain may not have yet, the newest first: what anybody sees in a public pool. */
export async function recentClaims(db: Db, most: number): Promise<Hex[]> {
  const { rows } = await db.query<{ raw: Buffer }>("SELECT raw FROM chain_tx WHERE purpose = 'claim' ORDER BY (state IN ('signed', 'broadcast')) DESC, tx_id DESC LIMIT $1", [most]);
  return rows.map(({ raw }) => toHex(raw));
}

/** Hashes of every version of every transaction that was committed. */
export async function knownTransactions(db: Db): Promise<Set<Hex>> {
  const { rows } = await db.query<{ hash: Buffer }>("SELECT hash::bytea FROM chain_tx UNION SELECT hash::bytea FROM chain_tx_version");
  return new Set(rows.map(({ hash }) => toHex(hash)));
}

/** Payments that their events say were both charged and given back. */
export async function contradicted(db: Db, paymentIds: readonly string[]): Promise<string[]> {
  const { rows } = await db.query<{ id: string }>(
    `SELECT payment_id AS id FROM event WHERE kind IN ('payment.released', 'payment.charged') AND payment_id = ANY($1)
     GROUP BY 1 HAVING count(DISTINCT kind) > 1`,
    [paymentIds],
  );
  return rows.map(({ id }) => id);
}

export type JobRow = { jobId: string; chainJobId: bigint | undefined; status: number | undefined };

/** A client's jobs as the ledger has them; `status` as the chain said last. */
export async function jobRows(db: Db, client: Hex): Promise<JobRow[]> {
  const { rows } = await db.query<{ job_id: string; chain_job_id: bigint | null; status: number | null }>("SELECT job_id, chain_job_id, (chain ->> 'status')::int AS status FROM job WHERE client = $1", [toBytes(client)]);
  return rows.map((row) => ({ jobId: row.job_id, chainJobId: row.chain_job_id ?? undefined, status: row.status ?? undefined }));
}

/** A client's jobs that still wait for something: each with its state, what it is due for, and what was sent for it. */
export async function openJobs(db: Db, client: Hex): Promise<string[]> {
  const { rows } = await db.query<{ told: string }>(
    `SELECT format('%s %s, chain %s, due %s, leased until %s, %s faults, sent: %s', job_id, CASE WHEN hired_at IS NULL THEN 'not hired' ELSE 'hired' END, chain, due_at, leased_until, faults,
       (SELECT string_agg(format('%s %s %s', a.verb, t.state, a.at), ', ' ORDER BY a.at) FROM job_action a JOIN chain_tx t USING (tx_id) WHERE a.job_id = j.job_id)) AS told
     FROM job j WHERE client = $1 AND NOT over`,
    [toBytes(client)],
  );
  return rows.map(({ told }) => told);
}

/**
 * Mandates whose account is not what their payments come to, or over their limit; guards that count less than their vouchers, or more than a
 * limit; channels that were charged more than their guard signed.
 */
export async function mandateFaults(db: Db): Promise<{ mandateId: Hex; what: string }[]> {
  const { rows } = await db.query<{ mandate_id: Buffer; what: string }>(
    `WITH held AS (
       SELECT unnest(m.lineage) AS id, b.spent + b.reserved AS amount FROM payment p JOIN mandate m ON m.mandate_id = p.mandate_id, payment_budget(p.state, p.price_atomic, p.charged_atomic, p.ended_at) b),
     account AS (
       SELECT m.mandate_id, m.limit_atomic, m.spent_atomic + m.reserved_atomic + (SELECT coalesce(sum(v.spent_atomic + v.reserved_atomic), 0) FROM mandate_move v WHERE v.mandate_id = m.mandate_id) AS used,
         (SELECT coalesce(sum(h.amount), 0) FROM held h WHERE h.id = m.mandate_id) AS paid FROM mandate m),
     signed AS (SELECT mandate_id, sum(highest_atomic) AS highest FROM guard_channel GROUP BY mandate_id)
     SELECT mandate_id, format('counts %s, its payments come to %s', used, paid) AS what FROM account WHERE used <> paid
     UNION ALL SELECT mandate_id, format('%s over its limit of %s', used, limit_atomic) FROM account WHERE used > limit_atomic
     UNION ALL SELECT g.mandate_id, format('its guard counts %s over its limit of %s', g.spent_atomic, a.limit_atomic) FROM guard_account g JOIN account a USING (mandate_id) WHERE g.spent_atomic > a.limit_atomic
     UNION ALL SELECT s.mandate_id, format('its guard signed %s and counts %s', s.highest, coalesce(g.spent_atomic, 0)) FROM signed s LEFT JOIN guard_account g USING (mandate_id) WHERE coalesce(g.spent_atomic, 0) < s.highest
     UNION ALL SELECT g.mandate_id, format('channel %s was charged %s, its guard signed %s', encode(c.channel_id, 'hex'), c.charged, g.highest_atomic) FROM guard_channel g JOIN channel c ON c.channel_id = g.channel_id WHERE c.charged > g.highest_atomic`,
  );
  return rows.map((row) => ({ mandateId: toHex(row.mandate_id), what: row.what }));
}
