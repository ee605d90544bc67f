// What the relayer's ledger says after a load, read as its operator would; and rows that make a ledger look old.
import type { Address, Hex } from "viem";
import { toBytes, toHex } from "../../relayer/src/db/codec.ts";
import { inTransaction, type Db, type Queryable } from "../../relayer/src/db/pool.ts";

export type LedgerState = { charged: Map<Hex, bigint>; reserved: bigint; chargedPayments: bigint; otherPayments: bigint };

/** Of these channels. */
export async function readLedger(db: Queryable, channelIds: Hex[]): Promise<LedgerState> {
  const ids = channelIds.map(toBytes);
  const channels = await db.query<{ channel_id: Buffer; charged: bigint; reserved: bigint }>("SELECT channel_id, charged, reserved FROM channel WHERE channel_id = ANY($1::bytea[])", [ids]);
  const { rows } = await db.query<{ charged: bigint; other: bigint }>(
    "SELECT count(*) FILTER (WHERE state = 'charged') AS charged, count(*) FILTER (WHERE state <> 'charged') AS other FROM payment WHERE channel_id = ANY($1::bytea[])",
    [ids],
  );
  return {
    charged: new Map(channels.rows.map((row) => [toHex(row.channel_id), row.charged])),
    reserved: channels.rows.reduce((sum, row) => sum + row.reserved, 0n),
    chargedPayments: rows[0]!.charged,
    otherPayments: rows[0]!.other,
  };
}

export async function serverVersion(db: Queryable): Promise<string> {
  const { rows } = await db.query<{ server_version: string }>("SHOW server_version");
  return rows[0]!.server_version;
}

export async function databaseBytes(db: Queryable): Promise<bigint> {
  const { rows } = await db.query<{ bytes: bigint }>("SELECT pg_database_size(current_database()) AS bytes");
  return rows[0]!.bytes;
}

export type Seed = {
  /** Rows with these numbers are added, both included. */
  from: number;
  to: number;
  /** Those up to this number have a charge that is not claimed; the others are all claimed. */
  unclaimed: number;
  receiver: Address;
  receiverAuthorizer: Address;
  token: Address;
  /** Atomic units. */
  price: bigint;
};

/**
 * Channels that were paid from once, each by a payer of its own, with the payment; set-based, triggers and foreign keys off. Their ids
 * are hashes like real ones, so that indexes are hit all over. No chain knows them: they are there to be in the way.
 */
export async function seedChannels(db: Db, { from, to, unclaimed, receiver, receiverAuthorizer, token, price }: Seed): Promise<void> {
  await inTransaction(db, async (client) => {
    await client.query("SET LOCAL session_replication_role = replica");
    await client.query("SET LOCAL synchronous_commit = off");
    await client.query(
      `INSERT INTO channel (channel_id, payer, payer_authorizer, receiver, receiver_authorizer, token, withdraw_delay_s, salt, balance, total_claimed,
         withdraw_amount, withdraw_initiated_at, refund_nonce, synced_block, opening_charged, charged, signed_ceiling, signed_signature, request_count, created_at)
       SELECT id, substring(id FROM 1 FOR 20), substring(id FROM 1 FOR 20), $4, $5, $6, 3600, sha256(id), $7::numeric * 100, CASE WHEN n <= $3 THEN 0 ELSE $7::numeric END,
         0, 0, 0, 1, 0, $7, $7, id || id || '\\x1b', 1, now() - interval '1 day'
       FROM (SELECT n, sha256(int8send(n)) AS id FROM generate_series($1::bigint, $2::bigint) n) seeded`,
      [from, to, unclaimed, toBytes(receiver), toBytes(receiverAuthorizer), toBytes(token), price],
    );
    // Triggers are off: what they would have queued for settlement.
    await client.query(
      `INSERT INTO settlement_due (channel_id, receiver, token, since, queued_at)
       SELECT c.channel_id, c.receiver, c.token, c.created_at, c.created_at FROM generate_series($1::bigint, LEAST($2::bigint, $3::bigint)) n JOIN channel c ON c.channel_id = sha256(int8send(n))`,
      [from, to, unclaimed],
    );
    await client.query(
      `INSERT INTO payment (payment_id, channel_id, payer, ceiling, signature, service, request_hash, price_atomic, charged_atomic, charged_cumulative,
         state, request_number, reserved_at, reserved_until, resolved_at, resource, output_hash, started_at, ended_at)
       SELECT 'pay_' || left(encode(id, 'hex'), 32), id, substring(id FROM 1 FOR 20), $3, id || id || '\\x1b', 'bench', id, $3, $3, $3, 'charged', 1,
         at, at + interval '1 minute', at, 'http://127.0.0.1/s/bench/', id, at, at
       FROM (SELECT sha256(int8send(n)) AS id, now() - interval '1 day' AS at FROM generate_series($1::bigint, $2::bigint) n) seeded`,
      [from, to, price],
    );
  });
  // What the triggers would have done.
  await db.query("INSERT INTO settlement_due (channel_id, receiver, token, since, queued_at) SELECT channel_id, receiver, token, created_at, created_at FROM channel WHERE charged > total_claimed ON CONFLICT DO NOTHING");
  // What autovacuum and the checkpointer would do in their own time; not while the clock runs.
  await db.query("VACUUM ANALYZE channel, payment, settlement_due");
  await db.query("CHECKPOINT");
}
