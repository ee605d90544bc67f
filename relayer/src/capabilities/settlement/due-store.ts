// SQL of the queue: which channels can be claimed and should be looked at now. It must not grow slower with the number of channels.
import type { Hex } from "viem";
import { toAddress, toBytes, toHex } from "../../db/codec.ts";
import type { Queryable } from "../../db/pool.ts";
import { channelFromRow, type ChannelRow } from "../channels/store.ts";
import type { Claimable, WrittenOff } from "./logic.ts";
import type { Payee } from "./payout-store.ts";

/** Rows looked at in one pass; what does not fit comes with the next. */
const CLAIMABLE_LIMIT = 5_000;
const QUEUE_LIMIT = 2_000;
const LEAVING_LIMIT = 1_000;
const RICHEST_A_PAYEE = 2_000;
const RIDERS_A_PAYEE = 50;

/** Of the queue as `d`: not in flight, not under refund, not refused as it stands ($1: now). */
const FREE = `NOT EXISTS (SELECT 1 FROM settlement_row r WHERE r.channel_id = d.channel_id AND r.state = 'sent')
  AND NOT EXISTS (SELECT 1 FROM refund f WHERE f.channel_id = d.channel_id AND f.state = 'sent')
  AND NOT EXISTS (SELECT 1 FROM settlement_quarantine q JOIN channel s USING (channel_id) WHERE q.channel_id = d.channel_id AND q.retry_at > $1
    AND q.signed_ceiling = s.signed_ceiling AND q.balance = s.balance AND q.total_claimed = s.total_claimed AND q.withdraw_initiated_at = s.withdraw_initiated_at)`;

/** Of the queue as `d` and its channel as `c`: not written off. */
const WANTED = "(d.given_up IS NULL OR c.charged > d.given_up)";

const SELECTED = "SELECT c.*, d.since, d.queued_at FROM settlement_due d JOIN channel c USING (channel_id)";
const CLAIMABLE = `c.charged > c.total_claimed AND c.signed_signature IS NOT NULL AND ${WANTED} AND ${FREE}`;

/** What may be claimed now, and whether its turn in the queue has come. */
export type Due = Claimable & { queued: boolean };

/** Everything that can be claimed, the oldest first. */
export async function claimableChannels(db: Queryable, now: Date): Promise<Due[]> {
  const { rows } = await db.query<DueRow>(`${SELECTED} WHERE ${CLAIMABLE} ORDER BY d.since LIMIT ${CLAIMABLE_LIMIT}`, [now]);
  return rows.map((row) => dueFromRow(row, now));
}

/**
 * Channels whose turn has come, those whose payer is leaving, and others of the same receivers that could go with them.
 * @param turn the turn of what was queued before has come.
 * @param rich receivers with much unclaimed: their most valuable channels.
 */
export async function dueChannels(db: Queryable, now: Date, turn: Date, rich: readonly Payee[]): Promise<Due[]> {
  const { rows } = await db.query<DueRow>(
    `WITH ready AS MATERIALIZED (
       (SELECT d.channel_id::bytea, d.receiver::bytea, d.token::bytea FROM settlement_due d WHERE d.queued_at <= $2 AND ${FREE} ORDER BY d.queued_at LIMIT ${QUEUE_LIMIT})
       UNION
       (SELECT d.channel_id::bytea, d.receiver::bytea, d.token::bytea FROM channel c JOIN settlement_due d USING (channel_id)
        WHERE c.withdraw_initiated_at > 0 AND ${WANTED} AND ${FREE} ORDER BY c.charged - c.total_claimed DESC LIMIT ${LEAVING_LIMIT})),
     chosen AS MATERIALIZED (
       SELECT channel_id FROM (
         SELECT 0 AS rank, channel_id FROM ready
         UNION ALL
         SELECT 1, top.channel_id::bytea FROM unnest($3::bytea[], $4::bytea[]) AS rich (receiver, token) CROSS JOIN LATERAL (
           SELECT d.channel_id FROM settlement_due d JOIN channel c USING (channel_id) WHERE d.receiver = rich.receiver AND d.token = rich.token
           ORDER BY c.charged - c.total_claimed DESC LIMIT ${RICHEST_A_PAYEE}) top
         UNION ALL
         SELECT 2, rider.channel_id::bytea FROM (SELECT DISTINCT receiver, token FROM ready) payee CROSS JOIN LATERAL (
           SELECT channel_id FROM settlement_due WHERE receiver = payee.receiver AND token = payee.token ORDER BY since LIMIT ${RIDERS_A_PAYEE}) rider) ranked
       GROUP BY channel_id ORDER BY min(rank), channel_id LIMIT ${CLAIMABLE_LIMIT})
     -- LIMIT 1: one look-up a row, whatever the planner takes the number of rows for.
     SELECT found.* FROM chosen CROSS JOIN LATERAL (${SELECTED} WHERE d.channel_id = chosen.channel_id AND ${CLAIMABLE} LIMIT 1) found`,
    [now, turn, rich.map(({ receiver }) => toBytes(receiver)), rich.map(({ token }) => toBytes(token))],
  );
  return rows.map((row) => dueFromRow(row, turn));
}

/** Receivers for whom at least `minValue` is unclaimed, or a channel of theirs owes at least `mostPerChannel`. Reads every row of the queue. */
export async function richPayees(db: Queryable, minValue: bigint, mostPerChannel: bigint): Promise<Payee[]> {
  const { rows } = await db.query<{ receiver: Buffer; token: Buffer }>(
    `SELECT d.receiver::bytea, d.token::bytea FROM settlement_due d JOIN channel c USING (channel_id)
     CROSS JOIN LATERAL (SELECT LEAST(c.charged, c.balance, c.signed_ceiling) - c.total_claimed AS value) unclaimed
     WHERE value > 0 AND ${WANTED} GROUP BY 1, 2 HAVING sum(value) >= $1 OR max(value) >= $2`,
    [minValue, mostPerChannel],
  );
  return rows.map((row) => ({ receiver: toAddress(row.receiver), token: toAddress(row.token) }));
}

/** Looked at and left: their next turn is when `queuedAt` is as old as a turn has to be. */
export async function requeue(db: Queryable, turns: readonly { channelId: Hex; queuedAt: Date }[]): Promise<void> {
  await db.query(
    `WITH held AS (SELECT channel_id FROM settlement_due WHERE channel_id = ANY($1::bytea[]) ORDER BY channel_id FOR UPDATE)
     UPDATE settlement_due d SET queued_at = t.queued_at FROM held JOIN unnest($1::bytea[], $2::timestamptz[]) AS t (channel_id, queued_at) USING (channel_id)
     WHERE d.channel_id = held.channel_id`,
    [turns.map(({ channelId }) => toBytes(channelId)), turns.map(({ queuedAt }) => queuedAt)],
  );
}

/** What is charged beyond these claims was charged after they were chosen. */
export async function youngerThan(client: Queryable, channelIds: readonly Hex[], chosenAt: Date): Promise<void> {
  await client.query(
    `WITH held AS (SELECT channel_id FROM settlement_due WHERE channel_id = ANY($1::bytea[]) ORDER BY channel_id FOR UPDATE)
     UPDATE settlement_due d SET since = GREATEST(since, $2), queued_at = GREATEST(since, $2) FROM held WHERE d.channel_id = held.channel_id`,
    [channelIds.map(toBytes), chosenAt],
  );
}

/**
 * Takes those of which nothing can be claimed out of the queue, until the chain moves under them: see the triggers of migration 0012. Whether
 * nothing can be is asked again under the channels' locks: the chain may have moved since they were looked at, and its trigger comes but once.
 * @returns those that were taken out.
 */
export async function dropEmptied(db: Queryable, channelIds: readonly Hex[]): Promise<Hex[]> {
  const { rows } = await db.query<{ channel_id: Buffer }>(
    `WITH held AS (SELECT channel_id FROM channel WHERE channel_id = ANY($1::bytea[]) AND LEAST(charged, balance, signed_ceiling) <= total_claimed ORDER BY channel_id FOR UPDATE)
     DELETE FROM settlement_due d USING held WHERE d.channel_id = held.channel_id RETURNING d.channel_id::bytea`,
    [channelIds.map(toBytes)],
  );
  return rows.map((row) => toHex(row.channel_id));
}

/**
 * Gives up what is unclaimed, and says so in the trail of every payment that will not be paid for.
 * @returns false when the channel is no longer as it was seen: then nothing is given up.
 */
export async function writeOff(client: Queryable, { channelId, charged, totalClaimed, balance, value, claimCost }: WrittenOff): Promise<boolean> {
  const { rowCount } = await client.query("SELECT 1 FROM channel WHERE channel_id = $1 AND charged = $2 AND total_claimed = $3 AND balance = $4 FOR UPDATE", [toBytes(channelId), charged, totalClaimed, balance]);
  if (rowCount !== 1) return false;
  await client.query(
    `INSERT INTO audit_outbox (kind, subject, rule, payer, payee, amount_atomic, data)
     SELECT 'payment.written_off', p.payment_id, 'written_off', p.payer, c.receiver, p.charged_atomic,
       jsonb_build_object('unclaimedAtomic', $2::text, 'claimCostAtomic', $3::text, 'service', p.service, 'channelId', hex0x(p.channel_id))
     FROM payment p JOIN channel c USING (channel_id)
     WHERE p.channel_id = $1 AND p.state = 'charged' AND p.charged_cumulative > c.total_claimed AND p.charged_atomic > 0`,
    [toBytes(channelId), String(value), String(claimCost)],
  );
  await client.query("UPDATE settlement_due SET given_up = $2, queued_at = 'infinity' WHERE channel_id = $1", [toBytes(channelId), charged]);
  return true;
}

type DueRow = ChannelRow & { since: Date; queued_at: Date };

function dueFromRow(row: DueRow, turn: Date): Due {
  const { channelId, config, charged, totalClaimed, balance, signedCeiling, signedSignature, withdrawInitiatedAt } = channelFromRow(row);
  return {
    channelId, config, charged, totalClaimed, balance,
    ceiling: signedCeiling,
    signature: signedSignature!,
    leavesAtS: withdrawInitiatedAt > 0 ? withdrawInitiatedAt + config.withdrawDelay : undefined,
    unclaimedSinceS: Math.floor(row.since.getTime() / 1000),
    queued: row.queued_at <= turn,
  };
}
