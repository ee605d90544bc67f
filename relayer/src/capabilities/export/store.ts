// SQL of the voucher export: the newest state of every channel of a receiver. Reads only. See README.md for what a position is.
import type { Address, Hex } from "viem";
import type { ChannelConfig } from "../../../../sdk/src/typed-data.ts";
import { toBytes } from "../../db/codec.ts";
import type { Queryable } from "../../db/pool.ts";
import { channelFromRow, type ChannelRow } from "../channels/store.ts";

/** Strictly after (xid, channelId); without a channel, before everything that transaction wrote. */
export type Position = { xid: bigint; channelId: Hex | undefined };

/** What may be claimed of one channel; amounts in atomic units. */
export type ClaimableState = {
  channelId: Hex;
  config: ChannelConfig;
  charged: bigint;
  ceiling: bigint;
  signature: Hex;
  requestCount: bigint;
  /** The transaction that wrote it. */
  xid: bigint;
};

export type Page = {
  states: ClaimableState[];
  /** Below this, every transaction is over: nothing new can appear there. */
  settledBelow: bigint;
  /** Above this, none has begun. */
  newest: bigint;
};

type Row = ChannelRow & { settled_below: string; newest: string; changed: string };

/** One statement, so that rows and horizon are of one snapshot. */
export async function claimableAfter(db: Queryable, receiver: Address, after: Position, limit: number): Promise<Page> {
  const { rows } = await db.query<Row>({
    name: "export_after",
    // Not named changed_xid: ORDER BY would take the text, and 1000 comes before 999 there.
    text: `SELECT c.*, c.changed_xid::text AS changed, pg_snapshot_xmin(s)::text AS settled_below, pg_snapshot_xmax(s)::text AS newest
           FROM pg_current_snapshot() s LEFT JOIN LATERAL (
             SELECT * FROM channel WHERE receiver = $1 AND (changed_xid, channel_id::bytea) > ($2::text::xid8, $3::bytea) AND signed_signature IS NOT NULL AND charged > 0
             ORDER BY changed_xid, channel_id LIMIT $4) c ON true
           ORDER BY c.changed_xid, c.channel_id`,
    values: [toBytes(receiver), String(after.xid), after.channelId === undefined ? Buffer.alloc(0) : toBytes(after.channelId), limit],
  });
  const states = rows.filter(({ channel_id }) => channel_id !== null).map(stateFromRow);
  return { states, settledBelow: BigInt(rows[0]!.settled_below), newest: BigInt(rows[0]!.newest) };
}

function stateFromRow(row: Row): ClaimableState {
  const { channelId, config, charged, signedCeiling, signedSignature, requestCount } = channelFromRow(row);
  return { channelId, config, charged, ceiling: signedCeiling, signature: signedSignature!, requestCount, xid: BigInt(row.changed) };
}
