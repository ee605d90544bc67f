// SQL of the anchors: which seals come under the next one, and the transaction that shows it.
import type { Address, Hex } from "viem";
import { toBytes, toHex } from "../../db/codec.ts";
import type { Queryable } from "../../db/pool.ts";

/** What the next anchor is over: all seals of transactions from `fromXid` up to, not including, `toXid`. */
export type Span = { fromXid: bigint; toXid: bigint; digests: Buffer[] };

/** The last anchor's day, when there is one. */
export async function lastDay(db: Queryable): Promise<bigint | undefined> {
  const { rows } = await db.query<{ day: bigint }>("SELECT day FROM audit_anchor ORDER BY day DESC LIMIT 1");
  return rows[0]?.day;
}

/**
 * Seals that are under no anchor yet and were made before a time: up to the first that was made later, or that may still appear.
 * Processes' clocks differ a little, so a seal at the turn of a day may come under the next one; none comes under two or none.
 */
export async function nextSpan(db: Queryable, beforeMs: number): Promise<Span> {
  const { rows } = await db.query<{ from_xid: string; to_xid: string; digests: Buffer[] | null }>(
    `WITH span AS (
       SELECT f.xid AS from_xid, coalesce(
         (SELECT s.xid FROM audit_seal s WHERE s.xid >= f.xid AND s.xid < pg_snapshot_xmin(pg_current_snapshot()) AND s.sealed_at_ms >= $1 ORDER BY s.xid LIMIT 1),
         pg_snapshot_xmin(pg_current_snapshot())) AS to_xid
       FROM (SELECT coalesce((SELECT to_xid FROM audit_anchor ORDER BY day DESC LIMIT 1), '0'::xid8) AS xid) f)
     SELECT from_xid::text, to_xid::text,
       (SELECT array_agg(s.digest::bytea ORDER BY s.xid, s.epoch_no, s.number) FROM audit_seal s WHERE s.xid >= span.from_xid AND s.xid < span.to_xid) AS digests
     FROM span`,
    [beforeMs],
  );
  const { from_xid, to_xid, digests } = rows[0]!;
  return { fromXid: BigInt(from_xid), toXid: BigInt(to_xid), digests: digests ?? [] };
}

/** @returns false when another process was faster: nothing may be sent then. */
export async function insertAnchor(client: Queryable, anchor: { day: bigint; fromXid: bigint; toXid: bigint; seals: number; root: Hex; contract: Address; txId: bigint }): Promise<boolean> {
  const { rowCount } = await client.query(
    `INSERT INTO audit_anchor (day, from_xid, to_xid, seals, root, contract, tx_id)
     SELECT $1::bigint, $2::text::xid8, $3::text::xid8, $4::bigint, $5::bytea, $6::bytea, $7::bigint
     WHERE NOT EXISTS (SELECT 1 FROM audit_anchor WHERE day >= $1::bigint OR to_xid > $2::text::xid8) ON CONFLICT (day) DO NOTHING`,
    [anchor.day, String(anchor.fromXid), String(anchor.toXid), anchor.seals, toBytes(anchor.root), toBytes(anchor.contract), anchor.txId],
  );
  return rowCount === 1;
}

export type Unshown = { day: bigint; root: Hex; contract: Buffer; txId: bigint };

/** Anchors whose transaction can no longer happen. */
export async function findUnshown(db: Queryable): Promise<Unshown[]> {
  const { rows } = await db.query<{ day: bigint; root: Buffer; contract: Buffer; tx_id: bigint }>(
    "SELECT a.day, a.root, a.contract, a.tx_id FROM audit_anchor a JOIN chain_tx t USING (tx_id) WHERE t.state IN ('reverted', 'dropped') ORDER BY a.day LIMIT 10",
  );
  return rows.map(({ day, root, contract, tx_id }) => ({ day, root: toHex(root), contract, txId: tx_id }));
}

/** @returns false when another process was faster. */
export async function replaceTransaction(client: Queryable, { day, txId }: Unshown, next: bigint): Promise<boolean> {
  const { rowCount } = await client.query("UPDATE audit_anchor SET tx_id = $3 WHERE day = $1 AND tx_id = $2", [day, txId, next]);
  return rowCount === 1;
}
