// SQL of the channel table; the one place where its rows become `Channel`.
import pg from "pg";
import type { Address, Hex } from "viem";
import type { ChannelConfig } from "../../../../sdk/src/typed-data.ts";
import { toAddress, toBytes, toHex } from "../../db/codec.ts";
import { inTransaction, type Db, type Queryable } from "../../db/pool.ts";
import { balanceAt, countable, demandsOn, type Ladder } from "./logic.ts";

/** What the chain says of a channel as of `syncedBlock`; amounts in atomic units, times in unix seconds. */
export type ChainView = {
  /** What counts of it. */
  balance: bigint;
  totalClaimed: bigint;
  withdrawAmount: bigint;
  /** 0 when no withdrawal is pending. */
  withdrawInitiatedAt: number;
  refundNonce: bigint;
  syncedBlock: bigint;
  /** Present while a part of the balance is not deep enough to count whatever its amount; then the payer's other channels decide too. */
  ladder?: Ladder;
};

export type Channel = Omit<ChainView, "ladder"> & {
  /** Deposits on the chain that are not deep enough to count; `balance` is without them. */
  pending: bigint;
  /** Deposits up to this block count, while some are pending; else 0. */
  countedBlock: bigint;
  channelId: Hex;
  config: ChannelConfig;
  charged: bigint;
  reserved: bigint;
  signedCeiling: bigint;
  signedSignature: Hex | undefined;
  broadcastCeiling: bigint;
  requestCount: bigint;
  frozenBy: string | undefined;
};

export type ChannelRow = {
  channel_id: Buffer; payer: Buffer; payer_authorizer: Buffer; receiver: Buffer; receiver_authorizer: Buffer; token: Buffer;
  withdraw_delay_s: number; salt: Buffer; balance: bigint; total_claimed: bigint; withdraw_amount: bigint;
  withdraw_initiated_at: bigint; refund_nonce: bigint; synced_block: bigint; charged: bigint; reserved: bigint;
  signed_ceiling: bigint; signed_signature: Buffer | null; broadcast_ceiling: bigint; request_count: bigint; frozen_by: string | null;
  pending_atomic: bigint; counted_block: bigint;
};

export function channelFromRow(row: ChannelRow): Channel {
  return {
    channelId: toHex(row.channel_id),
    config: {
      payer: toAddress(row.payer),
      payerAuthorizer: toAddress(row.payer_authorizer),
      receiver: toAddress(row.receiver),
      receiverAuthorizer: toAddress(row.receiver_authorizer),
      token: toAddress(row.token),
      withdrawDelay: row.withdraw_delay_s,
      salt: toHex(row.salt),
    },
    balance: row.balance,
    totalClaimed: row.total_claimed,
    withdrawAmount: row.withdraw_amount,
    withdrawInitiatedAt: Number(row.withdraw_initiated_at),
    refundNonce: row.refund_nonce,
    syncedBlock: row.synced_block,
    charged: row.charged,
    reserved: row.reserved,
    signedCeiling: row.signed_ceiling,
    signedSignature: row.signed_signature === null ? undefined : toHex(row.signed_signature),
    broadcastCeiling: row.broadcast_ceiling,
    requestCount: row.request_count,
    frozenBy: row.frozen_by ?? undefined,
    pending: row.pending_atomic,
    countedBlock: row.counted_block,
  };
}

/** A channel as its row would be if it were taken in now: what is claimed on chain counts as charged. */
export function unknownChannel(channelId: Hex, config: ChannelConfig, view: ChainView): Channel {
  const { ladder, ...state } = view;
  const { balance, pending, countedBlock } = ladder === undefined ? whole(view) : standing(view, ladder, config.payer, []);
  return {
    ...state, channelId, config, balance, pending, countedBlock, charged: view.totalClaimed, reserved: 0n, signedCeiling: 0n, signedSignature: undefined,
    broadcastCeiling: 0n, requestCount: 0n, frozenBy: undefined,
  };
}

/** What counts of a channel, as its row has it. `depths`: what is that deep, by step, while that is less than all. */
type Standing = { balance: bigint; pending: bigint; countedBlock: bigint; depths: bigint[] | null };

const whole = ({ balance }: ChainView): Standing => ({ balance, pending: 0n, countedBlock: 0n, depths: null });

function standing({ syncedBlock }: ChainView, ladder: Ladder, payer: Address, others: readonly bigint[], already = 0n): Standing {
  const { balance, pending, depth } = countable(ladder.rungs, demandsOn(ladder, payer, others), already);
  return { balance, pending, countedBlock: syncedBlock - BigInt(depth - 1), depths: ladder.steps.map((step) => balanceAt(ladder.rungs, step.depth)) };
}

export async function findChannel(db: Queryable, channelId: Hex): Promise<Channel | undefined> {
  const { rows } = await db.query<ChannelRow>({ name: "channel_find", text: "SELECT * FROM channel WHERE channel_id = $1", values: [toBytes(channelId)] });
  return rows[0] === undefined ? undefined : channelFromRow(rows[0]);
}

/** Inserts a channel we did not know; what is claimed on chain already counts as charged. Does nothing when it is known. */
export async function insertChannel(db: Queryable, channelId: Hex, config: ChannelConfig, view: ChainView): Promise<void> {
  await db.query({
    name: "channel_insert",
    text: `INSERT INTO channel (channel_id, payer, payer_authorizer, receiver, receiver_authorizer, token, withdraw_delay_s, salt,
             balance, total_claimed, withdraw_amount, withdraw_initiated_at, refund_nonce, synced_block, opening_charged, charged, history_wanted)
           VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $10, $10, true)
           ON CONFLICT (channel_id) DO NOTHING`,
    values: [toBytes(channelId), ...addresses(config), config.withdrawDelay, toBytes(config.salt), view.balance, view.totalClaimed,
      view.withdrawAmount, view.withdrawInitiatedAt, view.refundNonce, view.syncedBlock],
  });
}

/** Inserts the channel, or updates its view when it is known; what counts of young deposits is decided before anybody sees the row. */
export async function takeInChannel(db: Db, channelId: Hex, config: ChannelConfig, view: ChainView): Promise<void> {
  await inTransaction(db, async (client) => {
    // The turn first, then the row: whoever waits for the row then holds no turn that we wait for.
    if (view.ladder !== undefined) await client.query("SELECT pg_advisory_xact_lock($1, hashtext($2))", [PAYER_TURN, config.payer.toLowerCase()]);
    await insertChannel(client, channelId, config, view);
    await updateChainView(client, channelId, view);
  });
}

function addresses(config: ChannelConfig): Buffer[] {
  const list: Address[] = [config.payer, config.payerAuthorizer, config.receiver, config.receiverAuthorizer, config.token];
  return list.map(toBytes);
}

/**
 * Replaces the cached chain view by a read at the same block or a later one; a read at an earlier block changes nothing.
 * What somebody else claimed beyond our charges counts as charged: it can never be charged again.
 */
export async function updateChainView(db: Queryable, channelId: Hex, view: ChainView): Promise<boolean> {
  return settle(db, channelId, view, undefined);
}

/**
 * As updateChainView for many channels, at the start of a transaction: locked in id order, so that two of these cannot wait for each other, and
 * written at once, but for those with young deposits, of which each has to ask what its payer's other channels count.
 */
export async function updateChainViews(client: Queryable, views: ReadonlyMap<Hex, ChainView>): Promise<void> {
  const young = [...views].flatMap(([channelId, view]) => (view.ladder === undefined ? [] : [channelId]));
  if (young.length > 0) await takeTurns(client, young);
  await client.query("SELECT 1 FROM channel WHERE channel_id = ANY($1::bytea[]) ORDER BY channel_id FOR NO KEY UPDATE", [[...views.keys()].map(toBytes)]);
  const deep = [...views].filter(([, view]) => view.ladder === undefined);
  const column = (read: (view: ChainView) => bigint | number) => deep.map(([, view]) => String(read(view)));
  await client.query(
    `UPDATE channel c SET balance = v.balance, total_claimed = v.total, withdraw_amount = v.amount, withdraw_initiated_at = v.initiated, refund_nonce = v.nonce,
       synced_block = v.block, opening_charged = CASE WHEN v.total > c.charged THEN v.total ELSE c.opening_charged END, charged = GREATEST(c.charged, v.total),
       pending_atomic = 0, counted_block = v.block, depth_balances = NULL
     FROM unnest($1::bytea[], $2::numeric[], $3::numeric[], $4::numeric[], $5::bigint[], $6::numeric[], $7::bigint[]) AS v (channel_id, balance, total, amount, initiated, nonce, block)
     WHERE c.channel_id = v.channel_id AND c.synced_block <= v.block`,
    [deep.map(([id]) => toBytes(id)), column((view) => view.balance), column((view) => view.totalClaimed), column((view) => view.withdrawAmount),
      column((view) => view.withdrawInitiatedAt), column((view) => view.refundNonce), column((view) => view.syncedBlock)],
  );
  for (const [channelId, view] of views) if (view.ladder !== undefined) await updateChainView(client, channelId, view);
}

/**
 * Replaces the view by an earlier block's, after a reorganisation. `replaced` is the synced_block that was seen before
 * the chain was read: a newer read by somebody else is left alone.
 */
export async function rewindChainView(db: Queryable, channelId: Hex, view: ChainView, replaced: bigint): Promise<boolean> {
  return settle(db, channelId, view, replaced);
}

async function settle(db: Queryable, channelId: Hex, view: ChainView, replaced: bigint | undefined): Promise<boolean> {
  const { ladder } = view;
  if (ladder === undefined) return write(db, channelId, view, whole(view), replaced);
  const work = async (client: Queryable, wait: boolean): Promise<boolean> => {
    const payer = await payerOf(client, channelId);
    if (payer === undefined) return false;
    const { others, already } = await youngOf(client, payer, channelId, ladder, wait);
    return write(client, channelId, view, standing(view, ladder, payer, others, already), replaced);
  };
  // Inside somebody's transaction rows are locked already, and waiting for the payer's turn could be waiting for each other.
  return db instanceof pg.Pool ? inTransaction(db as Db, (client) => work(client, true)) : work(db, false);
}

/**
 * For transactions that write several views: waits for the turns of their payers. To be called before any channel is locked; without it a
 * young deposit whose payer somebody else is looking at would not count until the follower comes by.
 */
export async function takeTurns(client: Queryable, channelIds: readonly Hex[]): Promise<void> {
  await client.query(
    `SELECT pg_advisory_xact_lock($1, turn) FROM (SELECT DISTINCT hashtext('0x' || encode(payer, 'hex')) AS turn FROM channel WHERE channel_id = ANY($2::bytea[]) ORDER BY turn) payers`,
    [PAYER_TURN, channelIds.map(toBytes)],
  );
}

async function payerOf(db: Queryable, channelId: Hex): Promise<Address | undefined> {
  const { rows } = await db.query<{ payer: Buffer }>("SELECT payer FROM channel WHERE channel_id = $1", [toBytes(channelId)]);
  return rows[0] === undefined ? undefined : toAddress(rows[0].payer);
}

/** Any constant: turns of payers, beside other advisory locks. */
const PAYER_TURN = 16;
/** More than any deposit: nothing that is young counts. */
const TOO_MUCH = 1n << 128n;

/**
 * By step, what the payer's other channels count that is not that deep, and what this one counts. One process at a time asks for a
 * payer, or two deposits that are taken in at the same moment would both be the only one.
 */
async function youngOf(client: Queryable, payer: Address, channelId: Hex, { steps }: Ladder, wait: boolean): Promise<{ others: bigint[]; already: bigint }> {
  const turn = wait ? "pg_advisory_xact_lock($1, hashtext($2)) IS NOT NULL" : "pg_try_advisory_xact_lock($1, hashtext($2))";
  const { rows } = await client.query<{ ours: boolean }>(`SELECT ${turn} AS ours`, [PAYER_TURN, payer.toLowerCase()]);
  if (rows[0]?.ours !== true) return { others: steps.map(() => TOO_MUCH), already: 0n };
  // A row that was read under other steps says nothing of these: all of it is taken for young, until the follower comes by.
  const { rows: sums } = await client.query<{ step: number; others: bigint; already: bigint }>(
    `SELECT s.step, coalesce(sum(GREATEST(c.balance - CASE WHEN cardinality(c.depth_balances) = $3 THEN c.depth_balances[s.step] ELSE 0 END, 0)), 0) AS others,
       (SELECT balance FROM channel WHERE channel_id = $2) AS already
     FROM generate_series(1, $3::int) AS s (step) LEFT JOIN channel c ON c.payer = $1 AND c.channel_id <> $2 AND c.depth_balances IS NOT NULL
     GROUP BY s.step ORDER BY s.step`,
    [toBytes(payer), toBytes(channelId), steps.length],
  );
  return { others: sums.map(({ others }) => others), already: sums[0]?.already ?? 0n };
}

async function write(db: Queryable, channelId: Hex, view: ChainView, { balance, pending, countedBlock, depths }: Standing, replaced: bigint | undefined): Promise<boolean> {
  const { rowCount } = await db.query({
    name: "channel_sync",
    text: `UPDATE channel SET balance = $2, total_claimed = $3::numeric, withdraw_amount = $4, withdraw_initiated_at = $5, refund_nonce = $6,
             synced_block = $7, opening_charged = CASE WHEN $3::numeric > charged THEN $3::numeric ELSE opening_charged END, charged = GREATEST(charged, $3::numeric),
             pending_atomic = $8, counted_block = $9, depth_balances = $10
           WHERE channel_id = $1 AND CASE WHEN $11::bigint IS NULL THEN synced_block <= $7 ELSE synced_block = $11 END`,
    values: [toBytes(channelId), balance, view.totalClaimed, view.withdrawAmount, view.withdrawInitiatedAt, view.refundNonce, view.syncedBlock,
      pending, countedBlock, depths, replaced ?? null],
  });
  return rowCount === 1;
}

/** Which of these we keep a row of, and the block of its view. */
export async function knownChannels(db: Queryable, channelIds: readonly Hex[]): Promise<Map<Hex, bigint>> {
  const { rows } = await db.query<SyncedRow>("SELECT channel_id, synced_block FROM channel WHERE channel_id = ANY($1)", [channelIds.map(toBytes)]);
  return syncedFromRows(rows);
}

/** Channels whose view was read above `block`, and those with deposits that are young: with every block more of them may count. */
export async function channelsToRead(db: Queryable, block: bigint): Promise<Map<Hex, bigint>> {
  const { rows } = await db.query<SyncedRow>("SELECT channel_id, synced_block FROM channel WHERE synced_block > $1 UNION SELECT channel_id, synced_block FROM channel WHERE depth_balances IS NOT NULL", [block]);
  return syncedFromRows(rows);
}

/** Channels whose view was read above `block`. */
export async function channelsSyncedAbove(db: Queryable, block: bigint): Promise<Map<Hex, bigint>> {
  const { rows } = await db.query<SyncedRow>("SELECT channel_id, synced_block FROM channel WHERE synced_block > $1", [block]);
  return syncedFromRows(rows);
}

type SyncedRow = { channel_id: Buffer; synced_block: bigint };
const syncedFromRows = (rows: SyncedRow[]) => new Map(rows.map((row) => [toHex(row.channel_id), row.synced_block]));
