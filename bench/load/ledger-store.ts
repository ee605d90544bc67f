// What the relayer's ledger says after a load, read as its operator would.
import type { Hex } from "viem";
import { toHex } from "../../relayer/src/db/codec.ts";
import type { Queryable } from "../../relayer/src/db/pool.ts";

export type LedgerState = { charged: Map<Hex, bigint>; reserved: bigint; chargedPayments: bigint; otherPayments: bigint };

export async function readLedger(db: Queryable): Promise<LedgerState> {
  const channels = await db.query<{ channel_id: Buffer; charged: bigint; reserved: bigint }>("SELECT channel_id, charged, reserved FROM channel WHERE request_count > 0");
  const { rows } = await db.query<{ charged: bigint; other: bigint }>("SELECT count(*) FILTER (WHERE state = 'charged') AS charged, count(*) FILTER (WHERE state <> 'charged') AS other FROM payment");
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
