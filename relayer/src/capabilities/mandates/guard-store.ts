// SQL of voucher keys and the mandates they spend under.
import type { Address, Hex } from "viem";
import { toAddress, toBytes, toHex } from "../../db/codec.ts";
import type { Queryable } from "../../db/pool.ts";

export type Guard = { authorizer: Address; boundAt: Date };

/** Binds a voucher key to a mandate, and the channels of its principal under that key. @returns false when the key is bound to another one. */
export async function bindGuard(db: Queryable, principal: Address, authorizer: Address, mandateId: Hex, signature: Hex): Promise<boolean> {
  const { rows } = await db.query<{ bound: boolean }>("SELECT mandate_bind_guard($1, $2, $3, $4) AS bound", [toBytes(principal), toBytes(authorizer), toBytes(mandateId), toBytes(signature)]);
  return rows[0]!.bound;
}

export async function findGuard(db: Queryable, principal: Address, authorizer: Address): Promise<Hex | undefined> {
  const { rows } = await db.query<{ mandate_id: Buffer }>({
    name: "mandate_guard_find", text: "SELECT mandate_id FROM mandate_guard WHERE principal = $1 AND authorizer = $2", values: [toBytes(principal), toBytes(authorizer)],
  });
  return rows[0] === undefined ? undefined : toHex(rows[0].mandate_id);
}

export async function listGuards(db: Queryable, mandateId: Hex): Promise<Guard[]> {
  const { rows } = await db.query<{ authorizer: Buffer; bound_at: Date }>("SELECT authorizer, bound_at FROM mandate_guard WHERE mandate_id = $1 ORDER BY bound_at", [toBytes(mandateId)]);
  return rows.map((row) => ({ authorizer: toAddress(row.authorizer), boundAt: row.bound_at }));
}

/** Channels that spend under a mandate or one below it, and hold money. */
export type FundedChannel = { channelId: Hex; mandateId: Hex; payee: Address; balance: bigint; charged: bigint; claimed: bigint; withdrawing: boolean };

export async function fundedChannels(db: Queryable, mandateId: Hex, limit: number): Promise<FundedChannel[]> {
  const { rows } = await db.query<{ channel_id: Buffer; mandate_id: Buffer; receiver: Buffer; balance: bigint; charged: bigint; total_claimed: bigint; withdraw_initiated_at: bigint }>(
    `SELECT c.channel_id, c.mandate_id, c.receiver, c.balance + c.pending_atomic AS balance, c.charged, c.total_claimed, c.withdraw_initiated_at
     FROM mandate m JOIN mandate_guard g ON g.mandate_id = m.mandate_id JOIN channel c ON c.payer = g.principal AND c.mandate_id = m.mandate_id AND c.payer_authorizer = g.authorizer
     WHERE m.lineage @> ARRAY[$1::bytea] AND c.balance + c.pending_atomic > c.total_claimed ORDER BY c.channel_id LIMIT $2`,
    [toBytes(mandateId), limit],
  );
  return rows.map((row) => ({
    channelId: toHex(row.channel_id), mandateId: toHex(row.mandate_id), payee: toAddress(row.receiver), balance: row.balance, charged: row.charged, claimed: row.total_claimed, withdrawing: row.withdraw_initiated_at > 0n,
  }));
}
