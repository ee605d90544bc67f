// SQL of the event log. A position is (xid, event_id), see migrations/0010_events.sql. An event of a payment is its kind and the payment's name:
// the rest is read from the payment's row.
import type { Address } from "viem";
import { toBytes } from "../../db/codec.ts";
import type { Queryable } from "../../db/pool.ts";

/** Where a reader is: `<xid>-<event id>`. */
export type Position = { xid: bigint; eventId: bigint };
export type StoredEvent = Position & { at: Date; kind: string; data: Record<string, unknown> };

type Row = { transaction: string; event_id: bigint; at: Date; kind: string; data: Record<string, unknown> };

/** Below this every transaction is over: nothing new can appear there. */
const SETTLED = "xid < pg_snapshot_xmin(pg_current_snapshot())";

/** A party's events after a position, in order, as far as that order can no longer change. */
export async function eventsAfter(db: Queryable, party: Address, after: Position, limit: number): Promise<StoredEvent[]> {
  const { rows } = await db.query<Row>({
    name: "events_after",
    // Not named xid: ORDER BY would take the text, and 1000 comes before 999 there.
    text: `SELECT e.xid::text AS transaction, e.event_id, e.at, e.kind, CASE WHEN e.payment_id IS NULL THEN e.data ELSE payment_event_data(p, e.kind) END AS data
           FROM event e LEFT JOIN payment p ON p.payment_id = e.payment_id LEFT JOIN channel c ON c.channel_id = p.channel_id
           WHERE (e.xid, e.event_id) > ($1::text::xid8, $2) AND e.${SETTLED}
             AND $3 = ANY(CASE WHEN e.payment_id IS NULL THEN e.parties ELSE ARRAY[p.payer::bytea, coalesce(c.payer_authorizer, p.payer)::bytea, coalesce(c.receiver, p.receiver)::bytea] END)
           ORDER BY e.xid, e.event_id LIMIT $4`,
    values: [String(after.xid), after.eventId, toBytes(party), limit],
  });
  return rows.map((row) => ({ xid: BigInt(row.transaction), eventId: row.event_id, at: row.at, kind: row.kind, data: row.data }));
}

/** The newest position whose order can no longer change: where somebody who asks for nothing older begins. */
export async function newestPosition(db: Queryable): Promise<Position> {
  const { rows } = await db.query<{ xmin: string }>("SELECT pg_snapshot_xmin(pg_current_snapshot())::text AS xmin");
  return { xid: BigInt(rows[0]!.xmin) - 1n, eventId: 9_223_372_036_854_775_807n };
}

/** Forgets what is older; a reader that was away longer goes on from what is left. */
export async function deleteOld(db: Queryable, keptS: number, limit: number): Promise<void> {
  await db.query("DELETE FROM event WHERE (xid, event_id) IN (SELECT xid, event_id FROM event WHERE at < now() - $1 * interval '1 second' LIMIT $2)", [keptS, limit]);
}
